//! Who may use it, and how often.

use std::fs;

use serde_json::json;

use super::{Program, problem};
use crate::harness::Control;

#[tokio::test]
async fn a_key_counts_for_its_scopes_until_it_is_deleted() {
    let control = Control::start();
    let reader = Program::with(&control, "nodes:read,users:read");
    assert_eq!(reader.get("/nodes").await.status, 200);
    assert_eq!(reader.get("/users").await.status, 200);
    for path in ["/auth-keys", "/policy", "/audit"] {
        let refused = reader.get(path).await;
        assert_eq!(refused.status, 403, "{path}");
        assert_eq!(problem(&refused), "scope-missing");
    }
    let refused = reader
        .json("POST", "/users", json!({ "login": "bob@example.com" }))
        .await;
    assert_eq!(problem(&refused), "scope-missing");
    assert!(refused.problem().1.contains("users:write"));
    assert_eq!(control.admin(&["users", "list", "--json"]).trim(), "[]");

    let writer = Program::with(&control, "users:write");
    assert_eq!(
        writer.get("/users").await.status,
        200,
        "who may write may read"
    );
    let listed = control.admin(&["apikeys", "list"]);
    assert!(listed.contains("users:read,nodes:read"), "{listed}");
    control.admin(&["apikeys", "delete", "1"]);
    let refused = reader.get("/nodes").await;
    assert_eq!(refused.status, 401);
    assert_eq!(problem(&refused), "api-key-unknown");
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(writer.get("/users").await.status, 200);
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_that_counts() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    let auth_key = control.auth_key("alice@example.com");
    for key in ["", "meshd-api-", auth_key.as_str()] {
        let stranger = Program {
            address: control.address,
            key: key.to_owned(),
        };
        let paths = ["/users", "/nodes", "/auth-keys", "/policy", "/audit"];
        for path in paths {
            let refused = stranger.get(path).await;
            assert_eq!(refused.status, 401, "{path}");
            assert!(!refused.text().contains("alice"), "{}", refused.text());
        }
    }
    let short = control.admin(&[
        "apikeys",
        "create",
        "--scope",
        "users:read",
        "--expires",
        "1s",
    ]);
    let program = Program {
        address: control.address,
        key: short.trim().to_owned(),
    };
    let expired = async || program.get("/users").await.status == 401;
    let end = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while !expired().await {
        assert!(tokio::time::Instant::now() < end, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_not_stored() {
    let control = Control::start();
    let program = Program::of(&control);
    assert!(program.key.starts_with("meshd-api-"), "{}", program.key);
    assert_eq!(program.get("/users").await.status, 200);
    let shown = control.admin(&["apikeys", "list", "--json"]) + &control.admin(&["audit"]);
    assert!(!shown.contains(&program.key));
    for entry in fs::read_dir(control.state()).expect("a directory") {
        let content = fs::read(entry.expect("an entry").path()).expect("reads");
        let key = program.key.as_bytes();
        let found = content.windows(key.len()).any(|part| part == key);
        assert!(!found, "the key is on the disk");
    }
    let keys: serde_json::Value =
        serde_json::from_str(&control.admin(&["apikeys", "list", "--json"])).expect("JSON");
    assert!(keys[0]["used_at"].is_u64(), "{keys}");
    let refused = control.run(&["apikeys", "create", "--scope", "nodes:delete"]);
    assert_eq!(refused.status.code(), Some(2));
    let refused = control.refused(&["apikeys", "delete", "7"]);
    assert!(refused.contains("apikeys list"), "{refused}");
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait_and_others_are_not() {
    let control = Control::start_with(&["--api-rate", "1"]);
    let (hasty, calm) = (
        Program::with(&control, "users:read"),
        Program::with(&control, "users:read"),
    );
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(hasty.get("/users").await);
    }
    let refused = statuses.iter().find(|answer| answer.status == 429);
    let refused = refused.expect("is refused at last");
    assert_eq!(problem(refused), "too-many-requests");
    assert!(refused.header("retry-after").parse::<u64>().is_ok());
    assert!(statuses[..5].iter().all(|answer| answer.status == 200));
    assert_eq!(calm.get("/users").await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_and_of_the_right_kind() {
    let control = Control::start();
    let program = Program::of(&control);
    let json = [("content-type", "application/json")];
    let long = program
        .send("POST", "/users", &json, vec![b' '; 65_537])
        .await;
    assert_eq!((long.status, problem(&long).as_str()), (413, "too-large"));
    let other = program.send("POST", "/users", &[], b"{}".to_vec()).await;
    assert_eq!(
        (other.status, problem(&other).as_str()),
        (415, "media-type")
    );
    for body in [
        "",
        "{",
        "[]",
        r#"{"login":"a@b","admin":true}"#,
        r#"{"login":1}"#,
    ] {
        let refused = program.send("POST", "/users", &json, body.into()).await;
        assert_eq!(
            (refused.status, problem(&refused).as_str()),
            (400, "malformed"),
            "{body}"
        );
    }
    let plain = [("content-type", "text/plain")];
    let text = vec![b' '; (8 << 20) + 1];
    let long = program.send("POST", "/policy/check", &plain, text).await;
    assert_eq!(long.status, 413);
    let binary = program
        .send("POST", "/policy/check", &plain, vec![0xff])
        .await;
    assert_eq!(problem(&binary), "malformed");
    let nowhere = program.get("/nothing").await;
    assert_eq!(
        (nowhere.status, problem(&nowhere).as_str()),
        (404, "not-found")
    );
    let method = program.delete("/users").await;
    assert_eq!((method.status, problem(&method).as_str()), (405, "method"));
    assert_eq!(method.header("cache-control"), "no-store");
}
