//! How control's key is replaced.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Full;
use meshd_contract::key::PublicKey;
use meshd_contract::keyring::{KeyRotation, Keyring};
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;

use crate::harness::{Control, send};

/// What control tells everybody of the rotations of its key.
async fn told(control: &Control) -> Vec<u8> {
    let request = hyper::Request::get("/v1/keys").header("host", "control");
    let request = request.body(Full::default()).expect("a request");
    let answer = send(control.address, request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body.to_vec()
}

/// Where whoever believes `first` ends up.
async fn followed(control: &Control, first: PublicKey) -> Keyring {
    let mut keys = Keyring::from(first);
    keys.follow_list(&told(control).await);
    keys
}

fn listed(control: &Control) -> Vec<serde_json::Value> {
    serde_json::from_str(&control.admin(&["keys", "list", "--json"])).expect("JSON")
}

#[tokio::test]
async fn a_connected_node_hears_of_the_new_key_before_what_it_signs() {
    let control = Control::start();
    let old = control.key();
    let node = control.join("web1", "alice@example.com").await;
    let mut events = node.clone().follow().await;
    let peers: PeerDocument = node.open(&events.next().await.expect("an event"), &old);
    events.next().await.expect("an event");

    let printed = control.admin(&["keys", "rotate"]);
    let new = control.key();
    assert_ne!(new, old);
    assert!(printed.contains(&new.to_string()), "{printed}");
    let rotation = events.next().await.expect("an event");
    assert_eq!(
        (rotation.kind.as_str(), rotation.id.as_str()),
        (KeyRotation::KIND, "")
    );
    let mut keys = Keyring::from(old);
    assert!(keys.follow(&rotation.data));
    assert_eq!(*keys.current(), new);
    let again: PeerDocument = node.open(&events.next().await.expect("an event"), &new);
    assert_eq!(again.header.version.0, peers.header.version.0 + 1);
    let _: NetworkDocument = node.open(&events.next().await.expect("an event"), &new);

    // As long as a document counts: none of the old key is cut short.
    let now = crate::harness::now();
    let counting = |days: u64| keys.at(Timestamp(now + days * 86_400)).into_iter().count();
    assert_eq!((counting(6), counting(8)), (2, 1));

    let mut events = node.clone().follow().await;
    let first = events.next().await.expect("an event");
    assert_eq!(first.kind, KeyRotation::KIND, "it may have been missed");
    let _: PeerDocument = node.open(&events.next().await.expect("an event"), &new);
}

#[tokio::test]
async fn a_node_that_missed_rotations_is_led_to_the_newest_key() {
    let control = Control::start();
    let first = control.key();
    assert_eq!(told(&control).await, b"[]");
    for _time in 0..3 {
        control.admin(&["keys", "rotate", "--overlap", "none"]);
    }
    let keys = followed(&control, first).await;
    assert_eq!(*keys.current(), control.key());
    let counting = keys.at(Timestamp(crate::harness::now())).into_iter();
    assert_eq!(counting.count(), 1, "the one before it does not count");

    let listed = listed(&control);
    assert_eq!(listed.len(), 4);
    assert_eq!(listed[0]["key"], first.to_string());
    assert_eq!(listed[0]["since"], serde_json::Value::Null);
    assert_eq!(listed[3]["key"], control.key().to_string());
    assert_eq!(listed[3]["ends_at"], serde_json::Value::Null);
    let table = control.admin(&["keys", "list"]);
    assert_eq!(table.matches("expired").count(), 3, "{table}");
    let log = control.admin(&["audit", "--action", "key.rotate", "--output", "json"]);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.contains(&first.fingerprint()), "{log}");
}

#[tokio::test]
async fn a_second_rotation_ends_the_key_before_the_last() {
    let control = Control::start();
    let first = control.key();
    control.admin(&["keys", "rotate", "--overlap", "30d"]);
    let second = control.key();
    control.admin(&["keys", "rotate", "--overlap", "1h"]);
    let keys = followed(&control, first).await;
    let counting = keys.at(Timestamp(crate::harness::now())).into_iter();
    assert_eq!(
        counting.copied().collect::<Vec<_>>(),
        [control.key(), second]
    );
    let table = control.admin(&["keys", "list"]);
    assert!(
        table
            .lines()
            .nth(1)
            .is_some_and(|row| row.contains("expired")),
        "{table}"
    );
}

/// Each kill comes at another moment of the rotation; control's file and database never disagree.
#[tokio::test]
async fn kills_during_rotations_lose_no_key() {
    let mut control = Control::start();
    let first = control.key();
    for round in 0..12 {
        let mut rotate = control.command(&["keys", "rotate"]);
        let rotate = rotate.stdout(Stdio::null()).stderr(Stdio::null());
        let mut rotate = rotate.spawn().expect("starts");
        tokio::time::sleep(Duration::from_millis(2 * round)).await;
        control.restart_after_kill();
        let acknowledged = rotate.wait().expect("ends").success();
        let key = control.key();
        let listed = listed(&control);
        assert_eq!(listed.last().expect("a key")["key"], key.to_string());
        assert_eq!(*followed(&control, first).await.current(), key);
        let next = control.state().join("control.key.next");
        assert!(
            !next.exists(),
            "round {round}, acknowledged: {acknowledged}"
        );
    }
    let before = listed(&control).len();
    control.admin(&["keys", "rotate"]);
    control.restart_after_kill();
    assert_eq!(listed(&control).len(), before + 1, "it was acknowledged");
}

#[tokio::test]
async fn the_key_of_an_older_backup_is_refused_with_a_newer_database() {
    let mut control = Control::start();
    let file = control.state().join("control.key");
    let old = fs::read(&file).expect("reads");
    control.admin(&["keys", "rotate"]);
    let key = control.key();
    let copy = control.admin(&["backup"]);
    control.kill();
    let new = fs::read(&file).expect("reads");
    assert_ne!(new, old);
    let copied = fs::read(format!("{}/control.key", copy.trim())).expect("reads");
    assert_eq!(copied, new, "a backup has the key that its database names");

    fs::write(&file, old).expect("writes");
    let state = control.state();
    let state = state.to_str().expect("a path");
    let refused = control.refused(&["serve", "--listen", "127.0.0.1:0", "--state", state]);
    assert!(refused.contains("same backup"), "{refused}");
    fs::write(&file, new).expect("writes");
    control.restart_after_kill();
    assert_eq!(control.key(), key);
}
