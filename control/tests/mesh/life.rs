//! How long a node is one.

use std::time::{Duration, Instant};

use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;

use crate::harness::{Control, Events, Node, PATIENCE, now};

const POLICY: &str = r#"{
    "tagOwners": { "tag:web": [] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "accept", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["alice"] }],
}"#;

async fn web1(control: &Control) -> Node {
    let key = control.admin(&["authkeys", "create", "--tag", "web"]);
    let mut web1 = Node::new(control.address);
    assert_eq!(web1.register(&key, "web1").await.status, 200);
    web1
}

/// When the key of the only peer expires, by the peer document and by the network document.
async fn expiries(
    node: &Node,
    events: &mut Events,
    control: &Control,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let key = control.key();
    let peers: PeerDocument = node.open(&events.next().await.expect("an event"), &key);
    let network: NetworkDocument = node.open(&events.next().await.expect("an event"), &key);
    (
        peers.peers[0].key_expires_at,
        network.peers[0].key_expires_at,
    )
}

#[tokio::test]
async fn the_key_of_a_users_node_expires_and_that_of_a_tagged_one_does_not() {
    let control = Control::start_with(&["--key-expiry", "1h"]);
    control.set_policy(POLICY);
    let before = now();
    let mut laptop = control.join("laptop", "alice@example.com").await;
    let mut web1 = web1(&control).await;
    let mut of_web1 = web1.follow().await;
    let (rights, packets) = expiries(&web1, &mut of_web1, &control).await;
    let rights = rights.expect("an end");
    assert!((before + 3_600..=now() + 3_600).contains(&rights.0));
    assert_eq!(packets, Some(rights.plus(2)), "the last word gets through");

    let mut of_laptop = laptop.follow().await;
    of_laptop.next().await.expect("the peer document");
    let network = of_laptop.next().await.expect("an event");
    let network: NetworkDocument = laptop.open(&network, &control.key());
    assert_eq!(network.peers[0].key_expires_at, None);
    assert_eq!(network.key_expires_at, Some(rights), "its own");
}

#[tokio::test]
async fn an_admin_sets_when_a_key_expires() {
    let control = Control::start();
    control.set_policy(POLICY);
    control.join("laptop", "alice@example.com").await;
    let listed = control.admin(&["nodes", "list"]);
    assert!(
        listed.contains("in 180d") || listed.contains("in 179d"),
        "{listed}"
    );
    let mut web1 = web1(&control).await;
    let mut events = web1.follow().await;
    expiries(&web1, &mut events, &control).await;

    let said = control.admin(&["nodes", "expiry", "laptop", "never"]);
    assert!(said.contains("never expires"), "{said}");
    let never = expiries(&web1, &mut events, &control).await;
    assert_eq!(never, (None, None));
    let said = control.admin(&["nodes", "expiry", "laptop", "now"]);
    assert!(said.contains("has expired"), "{said}");
    let (rights, _) = expiries(&web1, &mut events, &control).await;
    assert!(rights.is_some_and(|end| end <= Timestamp(now())));
    let listed = control.admin(&["nodes", "list"]);
    assert!(listed.contains("expired"), "{listed}");
    let refused = control.refused(&["nodes", "expiry", "laptop", "soon"]);
    assert!(refused.contains("now, never, or"), "{refused}");
    let refused = control.refused(&["nodes", "expiry", "nobody", "now"]);
    assert!(refused.contains("there is no node nobody"), "{refused}");
}

#[tokio::test]
async fn an_ephemeral_node_is_removed_when_it_has_gone_and_not_while_it_listens() {
    let control = Control::start_with(&["--ephemeral-timeout", "2s"]);
    let _ = control.auth_key("alice@example.com");
    let mut nodes = Vec::new();
    for name in ["stays", "goes"] {
        let ephemeral = ["authkeys", "create", "--ephemeral", "--user"];
        let key = control.admin(&[&ephemeral[..], &["alice@example.com"]].concat());
        let mut node = Node::new(control.address);
        assert_eq!(node.register(key.trim(), name).await.status, 200);
        let events = node.follow().await;
        nodes.push((node, events));
    }
    control.join("lasting", "alice@example.com").await;
    drop(nodes.pop());
    let began = Instant::now();
    while control.admin(&["nodes", "list"]).contains("goes") {
        assert!(began.elapsed() < PATIENCE, "it stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let listed = control.admin(&["nodes", "list"]);
    for name in ["stays", "lasting"] {
        assert!(listed.contains(name), "{listed}");
    }
}
