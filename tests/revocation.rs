//! A right that ends, ends what was begun with it.

mod site;
#[path = "revocation/ways.rs"]
mod ways;

use std::io::Read;

use meshd_lab::{DEADLINE, Mesh, Running, policy_for_alice};

const REVOKED: &str = "Access revoked.";

/// A session that does not want to end: it ignores every polite signal and leaves children in
/// sessions of their own.
const STUBBORN: &str = "trap '' HUP TERM INT; setsid sleep 1001 & nohup sleep 1002 & \
                        (setsid sh -c 'trap \"\" HUP TERM; sleep 1003; sleep 1004' &) ; \
                        touch /tmp/there; while :; do sleep 1005; done";

fn stubborn_session(mesh: &Mesh) -> Running {
    let session = mesh.ssh("laptop", &["alice@web1", STUBBORN]).spawn();
    mesh.wait_for_file("web1", "/tmp/there").expect("a session");
    session.expect("ssh")
}

fn assert_revoked(mesh: &Mesh, mut session: Running) {
    session.wait(DEADLINE).expect("the client is told");
    let mut said = String::new();
    let mut stderr = session.stderr.take().expect("its errors");
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.contains(REVOKED), "{said}");
    mesh.wait_until_empty("web1", "alice")
        .expect("everything has ended");
}

#[test]
fn removing_the_rule_ends_the_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    let session = stubborn_session(&mesh);
    mesh.change_policy(&policy_for_alice(&["bob"]))
        .expect("saved");
    assert_revoked(&mesh, session);
    let again = mesh.ssh("laptop", &["alice@web1", "true"]).output();
    assert_eq!(again.expect("an end").status.code(), Some(255));
}

#[test]
fn removing_the_node_ends_the_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    let session = stubborn_session(&mesh);
    mesh.meshd_control(&["nodes", "delete", "laptop"])
        .expect("removed");
    // Its tunnel is gone with it, so nobody can tell the client.
    mesh.wait_until_empty("web1", "alice")
        .expect("everything has ended");
    drop(session);
}

#[test]
fn the_end_of_a_nodes_key_ends_the_session_with_a_word() {
    let mesh = Mesh::of_two().expect("a mesh");
    let session = stubborn_session(&mesh);
    let expiry = ["nodes", "expiry", "laptop"];
    mesh.meshd_control(&[&expiry[..], &["1s"]].concat())
        .expect("set");
    assert_revoked(&mesh, session);
    let again = mesh.ssh("laptop", &["alice@web1", "true"]).output();
    assert_eq!(again.expect("an end").status.code(), Some(255));
    mesh.meshd_control(&[&expiry[..], &["never"]].concat())
        .expect("set");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("a peer again");
    let again = mesh.ssh("laptop", &["alice@web1", "echo on"]).succeed();
    assert_eq!(again.expect("a login").stdout, "on\n");
}

#[test]
fn removing_the_user_ends_the_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    let session = stubborn_session(&mesh);
    mesh.meshd_control(&["users", "delete", "alice@example.com"])
        .expect("removed");
    mesh.wait_until_empty("web1", "alice")
        .expect("everything has ended");
    drop(session);
}

#[test]
fn a_terminal_shows_why_it_ended() {
    let mesh = Mesh::of_two().expect("a mesh");
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1"])
        .spawn_on(&terminal)
        .expect("ssh");
    terminal.expect("alice@web1", DEADLINE).expect("a prompt");
    mesh.set_policy(&policy_for_alice(&[])).expect("saved");
    terminal.expect(REVOKED, DEADLINE).expect("the reason");
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(255));
    mesh.wait_until_empty("web1", "alice")
        .expect("everything has ended");
}

#[test]
fn another_right_that_ends_leaves_the_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.set_policy(&policy_for_alice(&["alice", "bob"]))
        .expect("saved");
    let mut session = stubborn_session(&mesh);
    mesh.change_policy(&policy_for_alice(&["alice"]))
        .expect("saved");
    let denied = mesh.ssh("laptop", &["bob@web1", "true"]).output();
    assert_eq!(denied.expect("an end").status.code(), Some(255));
    assert_eq!(session.ended(), None);
}

#[test]
fn a_session_older_than_the_time_to_log_in_is_killed_too() {
    let mesh = Mesh::of_two().expect("a mesh");
    // The worker adds a margin of 5 seconds.
    let limits = "[limits]\nlogin_grace = 1\n";
    mesh.host("web1")
        .write(meshd_contract::paths::SSH_CONFIG, limits)
        .expect("limits");
    let aged = format!("sleep 7; {STUBBORN}");
    let session = mesh.ssh("laptop", &["alice@web1", &aged]).spawn();
    mesh.wait_for_file("web1", "/tmp/there")
        .expect("an old session");
    mesh.change_policy(&policy_for_alice(&["bob"]))
        .expect("saved");
    assert_revoked(&mesh, session.expect("ssh"));
}

#[test]
fn a_new_channel_of_an_old_connection_has_the_rights_of_the_newest_rule() {
    let mesh = Mesh::of_two().expect("a mesh");
    let master = ["-o", "ControlMaster=yes", "-o", "ControlPath=/tmp/master"];
    let waits = ["alice@web1", "touch /tmp/there; sleep 1000"];
    let master = mesh.ssh("laptop", &[&master[..], &waits].concat()).spawn();
    let _master = master.expect("ssh");
    mesh.wait_for_file("web1", "/tmp/there").expect("a session");
    let forced = r#"{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"],
        "users": ["alice"], "command": "echo forced"}"#;
    mesh.change_policy(&meshd_lab::policy_with(forced))
        .expect("saved");
    // By the old connection or not at all.
    let old = ["-o", "ControlPath=/tmp/master", "-o", "ProxyCommand=false"];
    let asks = ["alice@web1", "echo free"];
    let output = mesh.ssh("laptop", &[&old[..], &asks].concat()).succeed();
    assert_eq!(output.expect("a channel").stdout, "forced\n");
}
