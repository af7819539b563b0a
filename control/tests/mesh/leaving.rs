//! What happens when a node, or its user, is removed.

use std::time::{Duration, Instant};

use meshd_contract::network_document::NetworkDocument;
use meshd_contract::node_api::Report;
use meshd_contract::peer_document::PeerDocument;

use crate::harness::{Control, Events, Node};

/// Every user may become every account but root on the own hosts and on those of others.
const POLICY: &str = r#"{
    "tagOwners": { "tag:web": [] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "accept", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["autogroup:nonroot"] }],
}"#;

async fn mesh() -> (Control, Node, Node) {
    let control = Control::start();
    control.set_policy(POLICY);
    let laptop = control.join("laptop", "alice@example.com").await;
    let key = control.admin(&["authkeys", "create", "--tag", "web"]);
    let mut web1 = Node::new(control.address);
    assert_eq!(web1.register(&key, "web1").await.status, 200);
    (control, laptop, web1)
}

async fn both(
    node: &Node,
    events: &mut Events,
    control: &Control,
) -> (PeerDocument, NetworkDocument) {
    let peers = events.next().await.expect("an event");
    let network = events.next().await.expect("an event");
    let key = control.key();
    (node.open(&peers, &key), node.open(&network, &key))
}

fn is_empty((peers, network): &(PeerDocument, NetworkDocument)) -> bool {
    peers.peers.is_empty()
        && peers.rules.is_empty()
        && network.peers.is_empty()
        && network.filter.is_empty()
}

#[tokio::test]
async fn a_deleted_node_is_nobodys_peer_and_has_none() {
    let (control, mut laptop, mut web1) = mesh().await;
    let mut of_laptop = laptop.follow().await;
    let mut of_web1 = web1.follow().await;
    both(&laptop, &mut of_laptop, &control).await;
    let before = both(&web1, &mut of_web1, &control).await;
    assert!(!is_empty(&before));

    let deleted_at = Instant::now();
    control.admin(&["nodes", "delete", "laptop"]);
    let last = both(&laptop, &mut of_laptop, &control).await;
    let tunnel_end = deleted_at.elapsed();
    assert!(tunnel_end > Duration::from_millis(900), "{tunnel_end:?}");
    assert!(is_empty(&last));
    assert!(of_laptop.next().await.is_none(), "the stream ends");
    let after = both(&web1, &mut of_web1, &control).await;
    assert!(after.0.peers.is_empty() && after.1.peers.is_empty());
    assert!(after.0.rules.iter().all(|rule| rule.principals.is_empty()));

    let answer = laptop.report(&Report::default()).await;
    assert_eq!(
        (answer.status, answer.problem().0.as_str()),
        (410, "node-gone")
    );
    let id = format!("{}.{}", last.0.header.version, last.1.header.version);
    let answer = laptop.documents(Some(&id)).await.err().expect("is refused");
    assert_eq!(
        (answer.status, answer.problem().0.as_str()),
        (410, "node-gone")
    );
}

#[tokio::test]
async fn a_node_that_was_away_at_its_deletion_still_hears_of_it() {
    let (control, _, mut web1) = mesh().await;
    let mut events = web1.follow().await;
    events.next().await.expect("an event");
    let seen = events.next().await.expect("an event").id;
    drop(events);
    control.admin(&["nodes", "delete", "web1"]);
    let mut events = web1.documents(Some(&seen)).await.expect("opens");
    let last = both(&web1, &mut events, &control).await;
    assert!(is_empty(&last));
    assert!(events.next().await.is_none());
    let id = format!("{}.{}", last.0.header.version, last.1.header.version);
    let answer = web1.documents(Some(&id)).await.err().expect("is refused");
    assert_eq!(answer.status, 410);
}

#[tokio::test]
async fn a_deleted_user_takes_nodes_and_keys_along() {
    let (control, mut laptop, mut web1) = mesh().await;
    let unused = control.auth_key("alice@example.com");
    let mut of_laptop = laptop.follow().await;
    let mut of_web1 = web1.follow().await;
    both(&laptop, &mut of_laptop, &control).await;
    both(&web1, &mut of_web1, &control).await;

    let said = control.admin(&["users", "delete", "alice@example.com"]);
    assert!(said.contains("1 of the user's nodes"), "{said}");
    assert!(is_empty(&both(&laptop, &mut of_laptop, &control).await));
    assert!(of_laptop.next().await.is_none());
    assert!(both(&web1, &mut of_web1, &control).await.0.peers.is_empty());
    let mut other = Node::new(control.address);
    let (kind, _) = other.register(&unused, "other").await.problem();
    assert_eq!(kind, "auth-key-unknown");
}

#[tokio::test]
async fn a_node_can_log_out() {
    let (control, mut laptop, mut web1) = mesh().await;
    let mut of_web1 = web1.follow().await;
    both(&web1, &mut of_web1, &control).await;
    assert_eq!(
        laptop.send("POST", "/v1/logout", Vec::new()).await.status,
        204
    );
    assert!(both(&web1, &mut of_web1, &control).await.0.peers.is_empty());
    assert_eq!(
        laptop.send("POST", "/v1/logout", Vec::new()).await.status,
        410
    );
    assert!(!control.admin(&["nodes", "list"]).contains("laptop"));
}
