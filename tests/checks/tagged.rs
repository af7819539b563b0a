//! A host with tags belongs to nobody who could sign in, so none of its logins waits for a check.

use meshd_lab::Owner;

use crate::waiting::mesh_with;

const WEB2: (&str, Owner<'static>) = ("web2", Owner::Tag("tag:web"));

/// Rules by which members may become alice on tag:web after a check, and this one before.
fn policy(first: &str) -> String {
    meshd_lab::policy_with(&format!(
        r#"{first}{{"action": "check", "src": ["autogroup:member"], "dst": ["tag:web"],
            "users": ["alice"]}}"#
    ))
}

#[test]
fn a_policy_that_would_ask_a_tagged_host_is_not_saved() {
    let (mesh, _) = mesh_with("", &[]);
    let before = mesh.meshd_control(&["policy", "get"]).expect("a policy");
    for source in [
        "tag:web",
        "autogroup:tagged",
        "alice@example.com\", \"tag:web",
    ] {
        let asks = policy(&format!(
            r#"{{"action": "check", "src": ["{source}"], "dst": ["tag:web"], "users": ["bob"]}},"#
        ));
        let refused = mesh.control_command(&["policy", "set", "-"]).input(asks);
        let refused = refused.output().expect("an end");
        assert_eq!(refused.status.code(), Some(1), "{source}");
        let why = "has no user who could pass a check";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    let after = mesh.meshd_control(&["policy", "get"]).expect("a policy");
    assert_eq!(before.stdout, after.stdout);
}

#[test]
fn a_tagged_host_is_denied_at_once_or_let_in_by_a_rule_of_its_own() {
    let (mesh, _) = mesh_with("", &[WEB2]);
    mesh.change_policy(&policy("")).expect("a policy");
    let log_in = || mesh.ssh("web2", &["alice@web1", "id -un"]).output();
    let denied = log_in().expect("an end");
    assert_eq!(denied.status.code(), Some(255), "{}", denied.stderr);
    let words = "meshd: policy does not permit you to SSH to this node";
    assert!(denied.stderr.contains(words), "{}", denied.stderr);
    assert!(!denied.stderr.contains("check"), "{}", denied.stderr);
    let own =
        r#"{"action": "accept", "src": ["tag:web"], "dst": ["tag:web"], "users": ["alice"]},"#;
    mesh.change_policy(&policy(own)).expect("a policy");
    let let_in = log_in().expect("an end");
    assert_eq!(let_in.stdout, "alice\n", "{}", let_in.stderr);
    assert!(!let_in.stderr.contains("check"), "{}", let_in.stderr);
}

#[test]
fn nobody_can_be_asked_ahead_for_a_tagged_host() {
    let (mesh, _) = mesh_with("", &[]);
    let check = mesh.host("web1").command("mesh").arg("check");
    let refused = check.output().expect("an end");
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    let why = "belongs to nobody who could pass it";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert!(!refused.stderr.contains("visit"), "{}", refused.stderr);
}
