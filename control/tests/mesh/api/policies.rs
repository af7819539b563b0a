//! The policy: nobody replaces what they have not seen.

use serde_json::Value;

use super::{Program, problem};
use crate::harness::{Answer, Control};

const OPEN: &str = r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }] }"#;
const CLOSED: &str = r#"{ "acls": [] }"#;

async fn put(program: &Program, path: &str, seen: Option<&str>, text: &str) -> Answer {
    let mut headers = vec![("content-type", "application/hujson")];
    headers.extend(seen.map(|seen| ("if-match", seen)));
    program.send("PUT", path, &headers, text.into()).await
}

#[tokio::test]
async fn only_the_policy_that_was_seen_is_replaced() {
    let control = Control::start();
    let program = Program::of(&control);
    let shown = program.get("/policy").await;
    assert_eq!(shown.text(), control.admin(&["policy", "get"]));
    let first = shown.header("etag").to_owned();

    let blind = put(&program, "/policy", None, OPEN).await;
    assert_eq!(
        (blind.status, problem(&blind).as_str()),
        (428, "no-precondition")
    );
    let saved = put(&program, "/policy", Some(&first), OPEN).await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    let second = saved.header("etag").to_owned();
    assert_ne!(first, second);
    assert_eq!(program.get("/policy").await.header("etag"), second);
    for late in [first.as_str(), "W/\"1\"", "1", "\"99\""] {
        let late = put(&program, "/policy", Some(late), CLOSED).await;
        assert_eq!(
            (late.status, problem(&late).as_str()),
            (412, "policy-changed")
        );
    }
    assert_eq!(control.admin(&["policy", "get"]), OPEN);
    control.set_policy(CLOSED);
    let late = put(&program, "/policy", Some(&second), OPEN).await;
    assert_eq!(late.status, 412, "a command has changed it meanwhile");
    assert_eq!(put(&program, "/policy", Some("*"), OPEN).await.status, 200);
    assert_eq!(control.admin(&["policy", "get"]), OPEN);
}

#[tokio::test]
async fn of_two_who_have_seen_the_same_policy_one_replaces_it() {
    let control = Control::start();
    let program = Program::of(&control);
    let seen = program.get("/policy").await.header("etag").to_owned();
    let (one, other) = tokio::join!(
        put(&program, "/policy", Some(&seen), OPEN),
        put(&program, "/policy", Some(&seen), CLOSED),
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
async fn a_wrong_policy_is_refused_with_every_place() {
    let control = Control::start();
    let program = Program::of(&control);
    let before = control.admin(&["policy", "get"]);
    let wrong = "{\n  \"acls\": 7,\n  \"nonsense\": 1\n}";
    let refused = put(&program, "/policy", Some("*"), wrong).await;
    assert_eq!(
        (refused.status, problem(&refused).as_str()),
        (422, "policy-refused")
    );
    let plain = [("content-type", "text/plain; charset=utf-8")];
    let checked = program
        .send("POST", "/policy/check", &plain, wrong.into())
        .await;
    for answer in [refused, checked] {
        let problems = answer.json::<Value>()["problems"].to_string();
        for place in ["line 2", "line 3"] {
            assert!(problems.contains(place), "{problems}");
        }
    }
    assert_eq!(control.admin(&["policy", "get"]), before);
    let checked = program
        .send("POST", "/policy/check", &plain, OPEN.into())
        .await;
    assert_eq!(
        checked.json::<Value>(),
        serde_json::json!({ "warnings": [] })
    );
    assert_eq!(control.admin(&["policy", "get"]), before);
}

#[tokio::test]
async fn a_policy_that_cuts_an_admin_has_to_be_meant() {
    let control = Control::start();
    let program = Program::of(&control);
    control.admin(&["users", "create", "alice@example.com", "--role", "admin"]);
    control.set_policy(OPEN);
    control.join("laptop", "alice@example.com").await;
    control.join("web1", "bob@example.com").await;
    let refused = put(&program, "/policy", Some("*"), CLOSED).await;
    assert_eq!(
        (refused.status, problem(&refused).as_str()),
        (409, "would-cut")
    );
    let loss = "alice@example.com could no longer send a packet to web1";
    assert_eq!(refused.json::<Value>()["problems"][0], loss);
    assert_eq!(control.admin(&["policy", "get"]), OPEN);
    let saved = put(&program, "/policy?allow_cuts=true", Some("*"), CLOSED).await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    assert_eq!(saved.json::<Value>()["warnings"][0], loss);
    assert_eq!(control.admin(&["policy", "get"]), CLOSED);
}
