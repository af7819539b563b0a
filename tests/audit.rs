//! Control's log of what nodes tell of logins.

use meshd_lab::{DEADLINE, Mesh, policy_with, wait_for};
use serde_json::Value;

fn entries(mesh: &Mesh, action: &str) -> Vec<Value> {
    let arguments = ["audit", "--output", "json", "--action", action];
    let printed = mesh.meshd_control(&arguments).expect("a log").stdout;
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The only entry of this action, as soon as it is there.
fn entry(mesh: &Mesh, action: &str) -> Value {
    let read = || {
        let mut found = entries(mesh, action);
        assert!(found.len() <= 1, "once: {found:#?}");
        found.pop()
    };
    wait_for(action, DEADLINE, read).expect("an entry")
}

#[test]
fn control_knows_who_was_let_in_turned_away_and_cut_off_also_after_it_was_away() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let denied = mesh.ssh("laptop", &["bob@web1", "true"]).output();
    assert_eq!(denied.expect("an end").status.code(), Some(255));
    let denied = entry(&mesh, "login.denied");
    assert_eq!(denied["target"], "web1");
    assert_eq!(denied["reported"], true);
    let details = &denied["details"];
    assert_eq!(details["login"], "bob");
    assert_eq!(details["peer_name"], "laptop");
    assert_eq!(details["peer_owner"], "alice@example.com");
    let reason = details["reason"].as_str().expect("a reason");
    assert!(reason.contains("policy does not permit"), "{reason}");

    // What happens while control is away is told when it is back.
    mesh.take_control().crash().expect("killed");
    let ssh = mesh.ssh("laptop", &["alice@web1", "true"]).output();
    assert!(ssh.expect("an end").status.success());
    mesh.start_control().expect("control");
    let accepted = entry(&mesh, "login.accepted");
    assert_eq!(accepted["details"]["login"], "alice");
    assert_eq!(accepted["details"]["rule"], "ssh[0]");
    let ended = entry(&mesh, "login.ended");
    let connection = &accepted["details"]["connection"];
    assert_eq!(&ended["details"]["connection"], connection);
    assert!(ended["id"].as_u64() > accepted["id"].as_u64());

    let mut ssh = mesh
        .ssh("laptop", &["alice@web1", "touch /tmp/here; sleep 1000"])
        .spawn()
        .expect("ssh");
    mesh.wait_for_file("web1", "/tmp/here").expect("it runs");
    mesh.change_policy(&policy_with("")).expect("saved");
    ssh.wait(DEADLINE).expect("an end");
    let revoked = entry(&mesh, "login.revoked");
    assert_eq!(revoked["details"]["login"], "alice");
    assert_ne!(&revoked["details"]["connection"], connection);
    assert!(entries(&mesh, "login.lost").is_empty());
}
