//! Commands: each refusal is a sentence, and changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use crate::harness::Control;

#[tokio::test]
async fn users_and_keys_are_checked() {
    let control = Control::start();
    let refused = control.refused(&["users", "create", "alice"]);
    assert!(refused.contains("e-mail address"), "{refused}");
    control.admin(&["users", "create", "alice@example.com", "--role", "admin"]);
    let refused = control.refused(&["users", "create", "alice@example.com"]);
    assert!(refused.contains("already"), "{refused}");
    let refused = control.refused(&["users", "delete", "bob@example.com"]);
    assert!(refused.contains("users list"), "{refused}");
    let refused = control.refused(&["authkeys", "create", "--user", "bob@example.com"]);
    assert!(refused.contains("users list"), "{refused}");
    let refused = control.refused(&["authkeys", "create", "--tag", "tag:unknown"]);
    assert!(refused.contains("tagOwners"), "{refused}");
    assert_eq!(control.admin(&["authkeys", "list", "--json"]).trim(), "[]");
    let users = control.admin(&["users", "list", "--json"]);
    let users: serde_json::Value = serde_json::from_str(&users).expect("JSON");
    assert_eq!(users[0]["login"], "alice@example.com");
    assert_eq!(users[0]["role"], "admin");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_not_stored() {
    let control = Control::start();
    let secret = control.auth_key("alice@example.com");
    assert!(secret.starts_with("meshd-auth-"), "{secret}");
    let listed =
        control.admin(&["authkeys", "list"]) + &control.admin(&["authkeys", "list", "--json"]);
    assert!(!listed.contains(&secret));
    for entry in fs::read_dir(control.state()).expect("a directory") {
        let content = fs::read(entry.expect("an entry").path()).expect("reads");
        let found = content
            .windows(secret.len())
            .any(|w| w == secret.as_bytes());
        assert!(!found, "the secret is on the disk");
    }
}

#[tokio::test]
async fn a_wrong_policy_is_refused_with_every_place_and_not_saved() {
    let control = Control::start();
    let before = control.admin(&["policy", "get"]);
    let file = control
        .policy_file("{\n  \"acls\": [\n    { \"action\": \"accept\" \"src\": [] }\n  ]\n}\n");
    for command in ["check", "set"] {
        let refused = control.refused(&["policy", command, &file]);
        assert!(refused.contains("line 3, column 26"), "{refused}");
    }
    let file = control.policy_file(
        "{\n  \"acls\": [{ \"action\": \"deny\", \"src\": [\"tag:x\"], \"dst\": [\"*:*\"] }],\n  \"nonsense\": 1\n}\n",
    );
    let refused = control.refused(&["policy", "set", &file]);
    for place in ["line 2", "line 3"] {
        assert!(refused.contains(place), "{refused}");
    }
    assert_eq!(control.admin(&["policy", "get"]), before);
}

#[tokio::test]
async fn a_policy_whose_tests_fail_is_not_saved() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    control.admin(&["users", "create", "bob@example.com"]);
    let before = control.admin(&["policy", "get"]);
    let policy = r#"{
        "tagOwners": { "tag:web": [] },
        "acls": [{ "action": "accept", "src": ["alice@example.com"], "dst": ["tag:web:22"] }],
        "tests": [{ "src": "SRC", "accept": ["tag:web:22"] }],
    }"#;
    let file = control.policy_file(&policy.replace("SRC", "bob@example.com"));
    let refused = control.refused(&["policy", "set", &file]);
    assert!(refused.contains("tests[0]"), "{refused}");
    assert_eq!(control.admin(&["policy", "get"]), before);
    let good = policy.replace("SRC", "alice@example.com");
    control.admin(&["policy", "check", &control.policy_file(&good)]);
    control.set_policy(&good);
    assert_eq!(control.admin(&["policy", "get"]), good);
}

#[tokio::test]
async fn a_saved_policy_whose_tests_fail_later_only_warns() {
    let mut control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    control.set_policy(
        r#"{
        "tagOwners": { "tag:web": [] },
        "acls": [{ "action": "accept", "src": ["alice@example.com"], "dst": ["tag:web:22"] }],
        "tests": [{ "src": "alice@example.com", "accept": ["tag:web:22"] }],
    }"#,
    );
    control.restart_after_kill();
    assert!(!control.has_logged("would be refused today"));
    control.admin(&["users", "delete", "alice@example.com"]);
    let before = control.admin(&["policy", "get"]);
    control.restart_after_kill();
    assert!(control.has_logged("would be refused today"));
    assert!(control.has_logged("tests[0]"));
    assert_eq!(control.admin(&["policy", "get"]), before);
}

#[tokio::test]
async fn names_are_unique_after_a_rename_too() {
    let control = Control::start();
    control.join("web1", "alice@example.com").await;
    control.join("web2", "alice@example.com").await;
    let refused = control.refused(&["nodes", "rename", "web1", "web2"]);
    assert!(refused.contains("choose another"), "{refused}");
    let refused = control.refused(&["nodes", "rename", "web3", "web4"]);
    assert!(refused.contains("nodes list"), "{refused}");
    let refused = control.refused(&["nodes", "rename", "web1", "Web_1"]);
    assert!(refused.contains("lower-case"), "{refused}");
    control.admin(&["nodes", "rename", "1", "web3"]);
    let listed = control.admin(&["nodes", "list"]);
    assert!(
        listed.contains("web3") && !listed.contains("web1"),
        "{listed}"
    );
}

#[tokio::test]
async fn a_second_server_is_told_why_it_cannot_start() {
    let control = Control::start();
    let serve = |state: &str, socket: &str, listen: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_meshd-control"))
            .args([
                "serve", "--state", state, "--socket", socket, "--listen", listen,
            ])
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = elsewhere.path().join("state");
    let other = other.to_str().expect("UTF-8");
    let state = control.state();
    let state = state.to_str().expect("UTF-8");
    let socket = control.socket();
    let socket = socket.to_str().expect("UTF-8");

    let said = serve(other, socket, &control.address.to_string());
    assert!(said.contains("--listen"), "{said}");
    let said = serve(state, socket, "127.0.0.1:0");
    assert!(said.contains("already uses"), "{said}");
    let said = serve(other, socket, "127.0.0.1:0");
    assert!(said.contains("--socket"), "{said}");
    control.admin(&["key"]);
}

#[tokio::test]
async fn other_users_of_the_host_are_refused() {
    let control = Control::start();
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&control.socket()), 0o600);
    assert_eq!(mode(&control.state()), 0o700);
    for entry in fs::read_dir(control.state()).expect("a directory") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
    // To become somebody else takes root. Who is not root has seen the modes.
    if geteuid().is_root() {
        let program = control.program_for_others();
        let ask = || {
            let mut command = Command::new(&program);
            command.arg("--socket").arg(control.socket());
            let output = command
                .args(["users", "list"])
                .uid(65_534)
                .gid(65_534)
                .output();
            let output = output.expect("runs");
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).expect("UTF-8")
        };
        let said = ask();
        assert!(said.contains("use sudo"), "{said}");
        fs::set_permissions(control.socket(), Permissions::from_mode(0o666)).expect("chmod");
        let said = ask();
        assert!(said.contains("only root"), "{said}");
    }
}

#[test]
fn without_a_server_a_command_says_how_to_start_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshd-control"))
        .args(["--socket", "/nonexistent/admin.sock", "users", "list"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("systemctl start meshd-control"), "{said}");
}
