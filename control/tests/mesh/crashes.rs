//! What a killed control must not lose, and what it must not take back.

use std::time::Duration;

use meshd_contract::peer_document::PeerDocument;

use crate::harness::{Control, Node};

#[tokio::test]
async fn versions_do_not_go_back_after_a_kill() {
    let mut control = Control::start();
    let mut node = control.join("web1", "alice@example.com").await;
    let mut events = node.follow().await;
    let first = events.next().await.expect("an event");
    events.next().await.expect("an event");
    control.admin(&["nodes", "rename", "web1", "web2"]);
    let second = events.next().await.expect("an event");
    let last = events.next().await.expect("an event").id;
    let second: PeerDocument = node.open(&second, &control.key());
    assert_eq!(second.header.version.0, 2);

    control.restart_after_kill();
    node.address = control.address;
    let mut events = node.follow().await;
    let again = events.next().await.expect("an event");
    let again: PeerDocument = node.open(&again, &control.key());
    assert_eq!(again, second, "nothing changed, so it is the same document");
    drop(events);

    let mut events = node.documents(Some(&last)).await.expect("opens");
    control.admin(&["nodes", "rename", "web1", "web3"].map(|word| match word {
        "web1" => "web2",
        other => other,
    }));
    let third = events.next().await.expect("an event");
    let third: PeerDocument = node.open(&third, &control.key());
    assert_eq!(third.header.version.0, 3);
    assert!(first.id < last);
}

#[tokio::test]
async fn a_kill_in_a_burst_loses_nothing_that_was_acknowledged() {
    let mut control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    let create = [
        "authkeys",
        "create",
        "--user",
        "alice@example.com",
        "--reusable",
    ];
    let key = control.admin(&create);
    let address = control.address;
    let (acknowledged, mut names) = tokio::sync::mpsc::unbounded_channel();
    let mut hosts = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (key, acknowledged) = (key.clone(), acknowledged.clone());
        hosts.spawn(async move {
            let name = format!("host{n}");
            let mut node = Node::new(address);
            // A host whose connection broke knows nothing; it is not asked about.
            if node.register(&key, &name).await.status == 200 {
                let _ = acknowledged.send((name, node));
            }
        });
    }
    drop(acknowledged);
    let mut joined = Vec::new();
    while joined.len() < 15 {
        joined.push(names.recv().await.expect("hosts join"));
    }
    control.restart_after_kill();
    while hosts.join_next().await.is_some() {}
    while let Some(one) = names.recv().await {
        joined.push(one);
    }

    let listed = control.admin(&["nodes", "list", "--json"]);
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).expect("JSON");
    for (name, node) in &mut joined {
        let found = listed.iter().find(|entry| entry["name"] == name.as_str());
        let found = found.unwrap_or_else(|| panic!("{name} is lost"));
        assert_eq!(found["id"], node.id().0);
        node.address = control.address;
        let mut events = node.follow().await;
        events.next().await.expect("an event");
    }
    let mut addresses: Vec<String> = listed
        .iter()
        .map(|entry| entry["addresses"]["v4"].to_string())
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), listed.len(), "every address is one node's");
    tokio::time::timeout(Duration::from_secs(10), names.recv())
        .await
        .expect("the burst is over");
}

#[tokio::test]
async fn an_unfinished_deletion_is_finished_after_a_kill() {
    let mut control = Control::start();
    let mut node = control.join("web1", "alice@example.com").await;
    let mut events = node.follow().await;
    events.next().await.expect("an event");
    let seen = events.next().await.expect("an event").id;
    assert_eq!(
        node.send("POST", "/v1/logout", Vec::new()).await.status,
        204
    );
    control.restart_after_kill();
    node.address = control.address;
    let mut events = node.documents(Some(&seen)).await.expect("opens");
    let last = events.next().await.expect("an event");
    let peers: PeerDocument = node.open(&last, &control.key());
    assert!(peers.header.version.0 > 1);
    let last = events.next().await.expect("an event");
    assert_eq!(last.kind, "network");
    assert!(events.next().await.is_none());
}
