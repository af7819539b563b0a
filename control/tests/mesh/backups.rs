//! Copies, and what is there again when one is put back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use meshd_contract::peer_document::PeerDocument;

use crate::harness::Control;

/// Moves everything but the copies away, as after the loss of a disk.
fn lose(control: &Control, names: &[&str]) {
    for name in names {
        let _ = fs::remove_file(control.state().join(name));
    }
}

const DATABASE: [&str; 3] = ["control.db", "control.db-wal", "control.db-shm"];

fn back_up(control: &Control) -> PathBuf {
    PathBuf::from(control.admin(&["backup"]).trim())
}

fn restore(copy: &Path, control: &Control) -> Result<(), String> {
    let (copy, state) = (copy.to_str().expect("a path"), control.state());
    let state = state.to_str().expect("a path");
    let output = control.run(&["restore", "--state", state, copy]);
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[tokio::test]
async fn a_restored_mesh_goes_on_above_what_its_nodes_have_seen() {
    let mut control = Control::start();
    let key = control.key();
    let mut node = control.join("web1", "alice@example.com").await;
    let mut events = node.follow().await;
    events.next().await.expect("an event");
    events.next().await.expect("an event");
    let copy = back_up(&control);
    for file in ["control.db", "control.key", "tls.key"] {
        let mode = fs::metadata(copy.join(file))
            .expect(file)
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
    control.admin(&["users", "create", "later@example.com"]);
    control.admin(&["nodes", "rename", "web1", "web2"]);
    events.next().await.expect("an event");
    let seen = events.next().await.expect("an event").id;
    drop(events);

    control.kill();
    lose(
        &control,
        &[&DATABASE[..], &["control.key", "tls.crt", "tls.key"]].concat(),
    );
    restore(&copy, &control).expect("restored");
    control.restart_after_kill();
    node.address = control.address;
    assert_eq!(control.key(), key);
    assert!(!control.admin(&["users", "list"]).contains("later@"));
    let mut events = node.documents(Some(&seen)).await.expect("opens");
    let again: PeerDocument = node.open(&events.next().await.expect("an event"), &key);
    assert_eq!(again.name.as_str(), "web1");
    assert!(again.header.version.0 > 2, "{}", again.header.version);
}

#[test]
fn a_backup_takes_no_ones_place_and_what_is_none_is_refused() {
    let mut control = Control::start();
    let copy = back_up(&control);
    let running = restore(&copy, &control).expect_err("it runs");
    assert!(running.contains("already uses"), "{running}");
    control.kill();
    let occupied = restore(&copy, &control).expect_err("there is a mesh");
    assert!(occupied.contains("holds a mesh already"), "{occupied}");
    lose(&control, &DATABASE);
    let place = copy.parent().expect("a directory");
    let nothing = restore(place, &control).expect_err("no backup");
    assert!(nothing.contains("is no backup of control"), "{nothing}");
    let database = copy.join("control.db");
    let sound = fs::read(&database).expect("a copy");
    fs::write(&database, &sound[..sound.len() / 2]).expect("writes");
    restore(&copy, &control).expect_err("half a database");
    fs::write(&database, sound).expect("writes");
    restore(&copy, &control).expect("restored");
    control.restart_after_kill();
}
