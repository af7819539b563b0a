//! What a node hears, and when.

use meshd_contract::identity::NodeId;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::node_api::Report;
use meshd_contract::peer_document::PeerDocument;

use crate::harness::{Control, Events, Node};

/// Alice may become alice on hosts with tag:web; everybody reaches everybody.
const ALICE: &str = r#"{
    // Hosts that serve.
    "tagOwners": { "tag:web": ["alice@example.com"] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"] }],
}"#;

/// Nobody may become anybody; everybody reaches everybody.
const NOBODY: &str = r#"{
    "tagOwners": { "tag:web": ["alice@example.com"] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [],
}"#;

struct Pair {
    control: Control,
    laptop: Node,
    web1: Node,
}

/// A laptop of Alice's and a host with tag:web.
async fn pair() -> Pair {
    let control = Control::start();
    control.set_policy(ALICE);
    let laptop = control.join("laptop", "alice@example.com").await;
    let key = control.admin(&["authkeys", "create", "--tag", "tag:web"]);
    let mut web1 = Node::new(control.address);
    assert_eq!(web1.register(&key, "web1").await.status, 200);
    Pair {
        control,
        laptop,
        web1,
    }
}

impl Pair {
    async fn peers(&self, events: &mut Events) -> PeerDocument {
        let event = events.next().await.expect("an event");
        self.web1.open(&event, &self.control.key())
    }

    async fn network(&self, events: &mut Events) -> NetworkDocument {
        let event = events.next().await.expect("an event");
        self.web1.open(&event, &self.control.key())
    }
}

#[tokio::test]
async fn a_node_is_told_whom_it_may_trust() {
    let mut pair = pair().await;
    let mut events = pair.web1.clone().follow().await;
    let peers = pair.peers(&mut events).await;
    assert_eq!(peers.name.as_str(), "web1");
    let ids: Vec<NodeId> = peers.peers.iter().map(|peer| peer.node).collect();
    assert_eq!(ids, [pair.laptop.id()]);
    assert_eq!(peers.peers[0].wireguard_key, pair.laptop.wireguard_key);
    assert_eq!(peers.rules.len(), 1);
    assert!(peers.rules[0].principals.contains(&pair.laptop.id()));

    let network = pair.network(&mut events).await;
    assert_eq!(network.domain, "mesh.internal");
    let ids: Vec<NodeId> = network.peers.iter().map(|peer| peer.node).collect();
    assert_eq!(ids, [pair.laptop.id()]);
    assert!(!network.filter.is_empty());

    let mut events = pair.laptop.follow().await;
    let first = events.next().await.expect("an event");
    let peers: PeerDocument = pair.laptop.open(&first, &pair.control.key());
    assert!(peers.peers.is_empty() && peers.rules.is_empty());
}

#[tokio::test]
async fn a_policy_change_reaches_the_nodes_that_it_concerns() {
    let mut pair = pair().await;
    let mut events = pair.web1.follow().await;
    pair.peers(&mut events).await;
    pair.network(&mut events).await;
    let mut laptop = pair.laptop.follow().await;
    laptop.next().await.expect("an event");
    let before = laptop.next().await.expect("an event").id;

    pair.control.set_policy(NOBODY);
    let peers = pair.peers(&mut events).await;
    assert!(peers.peers.is_empty() && peers.rules.is_empty());
    assert_eq!(peers.header.version.0, 2);

    pair.control.admin(&["nodes", "rename", "web1", "web2"]);
    let peers = pair.peers(&mut events).await;
    assert_eq!(peers.name.as_str(), "web2");
    let renamed = laptop.next().await.expect("an event");
    let network: NetworkDocument = pair.laptop.open(&renamed, &pair.control.key());
    assert_eq!(network.peers[0].name.as_str(), "web2");
    let versions = |id: &str| {
        id.split_once('.')
            .map(|(p, n)| (p.to_owned(), n.to_owned()))
    };
    let (peers_before, network_before) = versions(&before).expect("two versions");
    assert_eq!(
        versions(&renamed.id),
        Some((
            peers_before,
            (network_before.parse::<u64>().expect("a number") + 1).to_string()
        )),
        "the policy change did not concern the laptop"
    );
}

#[tokio::test]
async fn a_stream_goes_on_where_the_last_one_ended() {
    let mut pair = pair().await;
    let mut events = pair.web1.follow().await;
    events.next().await.expect("an event");
    let last = events.next().await.expect("an event").id;
    drop(events);

    let mut events = pair.web1.documents(Some(&last)).await.expect("opens");
    pair.control.set_policy(NOBODY);
    let peers = pair.peers(&mut events).await;
    assert_eq!(peers.header.version.0, 2, "nothing came twice");
    drop(events);

    pair.control.set_policy(ALICE);
    let mut events = pair.web1.documents(Some("1.1")).await.expect("opens");
    let peers = pair.peers(&mut events).await;
    assert!(peers.header.version.0 >= 3);
    assert_eq!(peers.rules.len(), 1);
}

#[tokio::test]
async fn a_node_that_has_seen_more_than_control_knows_is_overtaken() {
    let mut pair = pair().await;
    let mut events = pair.web1.documents(Some("41.7")).await.expect("opens");
    assert_eq!(pair.peers(&mut events).await.header.version.0, 42);
    assert_eq!(pair.network(&mut events).await.header.version.0, 8);
}

#[tokio::test]
async fn a_report_reaches_the_peers() {
    let mut pair = pair().await;
    let mut events = pair.web1.follow().await;
    pair.peers(&mut events).await;
    pair.network(&mut events).await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVQd6tEBkUuAvAyLAyBSuIXsLuKGVCAeFAh9NLhnOd2";
    let mut report = Report {
        endpoints: ["192.0.2.7:51820", "100.64.0.9:51820"]
            .map(|endpoint| endpoint.parse().expect("an endpoint"))
            .to_vec(),
        wireguard_port: 51820,
        ssh_host_keys: vec![key.to_owned()],
        release: "0.1.0".to_owned(),
    };
    assert_eq!(pair.laptop.report(&report).await.status, 204);
    let network = pair.network(&mut events).await;
    let laptop = &network.peers[0];
    let endpoints: Vec<String> = laptop.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["192.0.2.7:51820"], "loopback is nowhere");
    assert_eq!(laptop.ssh_host_keys, [key]);

    report.ssh_host_keys = vec![format!("{key}\n* {key}")];
    let (kind, _) = pair.laptop.report(&report).await.problem();
    assert_eq!(kind, "malformed");
}

#[tokio::test]
async fn a_new_stream_ends_the_old_one() {
    let mut pair = pair().await;
    let mut old = pair.web1.follow().await;
    old.next().await.expect("an event");
    old.next().await.expect("an event");
    let mut new = pair.web1.follow().await;
    new.next().await.expect("an event");
    assert!(old.next().await.is_none());
}

#[tokio::test]
async fn documents_are_renewed_before_they_expire() {
    let control = Control::start_with(&["--document-lifetime", "4s"]);
    let mut node = control.join("web1", "alice@example.com").await;
    let mut events = node.follow().await;
    let first = events.next().await.expect("an event");
    let first: PeerDocument = node.open(&first, &control.key());
    assert_eq!(first.header.expires_at, first.header.issued_at.plus(4));
    events.next().await.expect("an event");
    let second = events.next().await.expect("an event");
    let second: PeerDocument = node.open(&second, &control.key());
    assert!(second.header.version > first.header.version);
    assert!(second.header.issued_at < first.header.expires_at);
    assert_eq!(second.rules, first.rules);
}

#[tokio::test]
async fn a_stream_ends_when_control_stops() {
    let mut pair = pair().await;
    let mut events = pair.web1.follow().await;
    pair.peers(&mut events).await;
    pair.network(&mut events).await;
    assert_eq!(pair.control.terminate(), Some(0));
    assert!(events.next().await.is_none());
    assert!(!pair.control.socket().exists());
}
