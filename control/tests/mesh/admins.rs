//! Those who administer the mesh cannot lock themselves out by mistake.

use crate::harness::{Control, Node};

const OPEN: &str = r#"{
    "tagOwners": { "tag:web": [] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["root", "alice"] }],
}"#;

/// A mesh with the admin alice, who has a laptop, and web1, which belongs to nobody.
async fn mesh() -> Control {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com", "--role", "admin"]);
    control.set_policy(OPEN);
    control.join("laptop", "alice@example.com").await;
    let key = control.admin(&["authkeys", "create", "--tag", "web"]);
    let answer = Node::new(control.address).register(&key, "web1").await;
    assert_eq!(answer.status, 200);
    control
}

fn role_of(control: &Control, login: &str) -> String {
    let users = control.admin(&["users", "list", "--json"]);
    let users: Vec<serde_json::Value> = serde_json::from_str(&users).expect("JSON");
    let user = users.iter().find(|user| user["login"] == login);
    user.expect("is there")["role"]
        .as_str()
        .expect("a text")
        .to_owned()
}

#[tokio::test]
async fn the_last_admin_can_neither_be_removed_nor_demoted() {
    let control = Control::start();
    let (alice, bob) = ("alice@example.com", "bob@example.com");
    control.admin(&["users", "create", alice, "--role", "admin"]);
    control.admin(&["users", "create", bob, "--role", "it-admin"]);
    for attempt in [
        ["users", "role", alice, "member"].as_slice(),
        &["users", "role", alice, "it-admin"],
        &["users", "delete", alice],
    ] {
        let refused = control.refused(attempt);
        assert!(refused.contains("users role LOGIN admin"), "{refused}");
    }
    control.admin(&["users", "role", alice, "owner"]);
    assert_eq!(role_of(&control, alice), "owner");
    control.admin(&["users", "role", bob, "admin"]);
    control.admin(&["users", "role", alice, "member"]);
    assert_eq!(role_of(&control, alice), "member");
    let refused = control.refused(&["users", "delete", bob]);
    assert!(refused.contains("only user with the role"), "{refused}");
    control.admin(&["users", "delete", alice]);
    let refused = control.refused(&["users", "role", alice, "admin"]);
    assert!(refused.contains("users list"), "{refused}");
    let refused = control.run(&["users", "role", bob, "king"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test]
async fn a_mesh_without_admins_may_lose_its_users() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    control.admin(&["users", "delete", "alice@example.com"]);
    assert_eq!(control.admin(&["users", "list", "--json"]).trim(), "[]");
}

#[tokio::test]
async fn a_policy_that_cuts_an_admin_has_to_be_meant() {
    let control = mesh().await;
    let losses = [
        (
            OPEN.replace("*:*", "*:443"),
            "alice@example.com could no longer log in to web1",
        ),
        (
            OPEN.replace("\"root\", ", ""),
            "alice@example.com could no longer log in as root to web1",
        ),
        (
            OPEN.replace("\"*:*\"", "\"tag:web:80\""),
            "alice@example.com could no longer log in to web1",
        ),
        (
            OPEN.replace("\"src\": [\"*\"]", "\"src\": [\"tag:web\"]"),
            "alice@example.com could no longer send a packet to web1",
        ),
    ];
    for (policy, loss) in losses {
        let file = control.policy_file(&policy);
        let refused = control.refused(&["policy", "set", &file]);
        assert!(refused.contains(loss), "{refused}");
        assert!(refused.contains("--yes"), "{refused}");
        assert_eq!(control.admin(&["policy", "get"]), OPEN);
        let checked = control.run(&["policy", "check", &file]);
        assert!(checked.status.success());
        let warned = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(warned.contains(loss), "{warned}");

        let saved = control.run(&["policy", "set", "--yes", &file]);
        assert!(saved.status.success());
        let warned = String::from_utf8_lossy(&saved.stderr).into_owned();
        assert!(warned.contains(loss), "{warned}");
        assert_eq!(control.admin(&["policy", "get"]), policy);
        control.set_policy(OPEN);
    }
}

#[tokio::test]
async fn a_policy_that_narrows_or_cuts_others_is_saved() {
    let control = mesh().await;
    control.join("desk", "bob@example.com").await;
    let narrower = OPEN.replace("*:*", "tag:web:22");
    control.admin(&["policy", "set", "--yes", &control.policy_file(&narrower)]);
    let without_bob = narrower.replace("\"src\": [\"*\"]", "\"src\": [\"alice@example.com\"]");
    control.set_policy(&without_bob);
    assert_eq!(control.admin(&["policy", "get"]), without_bob);
}
