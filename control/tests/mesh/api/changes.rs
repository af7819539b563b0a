//! Users, nodes, auth keys, and what the audit log says of it.

use meshd_contract::check::LoginClass;
use meshd_contract::node_api::{AheadRequest, CheckState};
use serde_json::{Value, json};

use super::{Program, problem};
use crate::harness::{Control, Node, now};

#[tokio::test]
async fn users_are_made_changed_and_removed() {
    let control = Control::start();
    let program = Program::of(&control);
    let made = program
        .json(
            "POST",
            "/users",
            json!({ "login": "alice@example.com", "role": "admin" }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let again = program
        .json("POST", "/users", json!({ "login": "alice@example.com" }))
        .await;
    assert_eq!(
        (again.status, problem(&again).as_str()),
        (409, "user-exists")
    );
    let unfit = program
        .json("POST", "/users", json!({ "login": "alice" }))
        .await;
    assert_eq!((unfit.status, problem(&unfit).as_str()), (422, "unfit"));

    let last = program.delete("/users/alice@example.com").await;
    assert_eq!((last.status, problem(&last).as_str()), (409, "last-admin"));
    let role = json!({ "role": "member" });
    let last = program
        .json("PATCH", "/users/alice@example.com", role.clone())
        .await;
    assert_eq!(problem(&last), "last-admin");
    let bob = json!({ "login": "b/ob@example.com", "role": "owner" });
    assert_eq!(program.json("POST", "/users", bob).await.status, 201);
    let changed = program
        .json("PATCH", "/users/alice@example.com", role)
        .await;
    assert_eq!(changed.json::<Value>()["role"], "member");
    let shown: Value = program.get("/users/b%2Fob@example.com").await.json();
    assert_eq!(shown["role"], "owner");
    assert_eq!(program.delete("/users/alice@example.com").await.status, 204);
    let gone = program.get("/users/alice@example.com").await;
    assert_eq!((gone.status, problem(&gone).as_str()), (404, "not-found"));
    let users: Value = program.get("/users").await.json();
    assert_eq!(users["users"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn nodes_are_listed_by_pages_and_changed() {
    let control = Control::start();
    let program = Program::of(&control);
    for name in ["web1", "web2", "web3"] {
        control.join(name, "alice@example.com").await;
    }
    let page: Value = program.get("/nodes?limit=2").await.json();
    let names = |page: &Value| -> Vec<String> {
        let nodes = page["nodes"].as_array().expect("a list").iter();
        nodes
            .map(|node| node["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(
        (names(&page), &page["next"]),
        (vec!["web1".into(), "web2".into()], &json!(2))
    );
    let page: Value = program.get("/nodes?limit=2&after=2").await.json();
    assert_eq!(
        (names(&page), &page["next"]),
        (vec!["web3".into()], &Value::Null)
    );
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=-1",
        "before=1",
        "limit=1&limit=2",
    ] {
        let refused = program.get(&format!("/nodes?{query}")).await;
        assert_eq!(
            (refused.status, problem(&refused).as_str()),
            (400, "malformed"),
            "{query}"
        );
    }

    let end = now() + 3_600;
    let change = json!({ "name": "db1", "key_expires_at": end, "approved": true });
    let changed: Value = program.json("PATCH", "/nodes/web2", change).await.json();
    assert_eq!(
        (&changed["name"], &changed["key_expires_at"]),
        (&json!("db1"), &json!(end))
    );
    assert_eq!(changed["owner"], json!({ "user": "alice@example.com" }));
    let kept: Value = program.json("PATCH", "/nodes/2", json!({})).await.json();
    assert_eq!(kept, changed, "what is left out stays");
    let never = json!({ "key_expires_at": null });
    let changed: Value = program.json("PATCH", "/nodes/2", never).await.json();
    assert!(changed["key_expires_at"].is_null());
    let taken = program
        .json("PATCH", "/nodes/2", json!({ "name": "web1" }))
        .await;
    assert_eq!(
        (taken.status, problem(&taken).as_str()),
        (409, "name-taken")
    );
    for change in [
        json!({ "name": "7" }),
        json!({ "name": null }),
        json!({ "approved": false }),
    ] {
        let refused = program.json("PATCH", "/nodes/2", change).await;
        assert_eq!(problem(&refused), "malformed");
    }
    assert_eq!(program.delete("/nodes/db1").await.status, 204);
    assert_eq!(program.get("/nodes/2").await.status, 404);
    let shown: Value = program.get("/nodes/web3").await.json();
    assert_eq!(shown["id"], 3);
}

#[tokio::test]
async fn an_auth_key_that_a_program_makes_lets_a_host_join() {
    let control = Control::start();
    let program = Program::of(&control);
    control.admin(&["users", "create", "alice@example.com"]);
    let made = program
        .json(
            "POST",
            "/auth-keys",
            json!({ "owner": { "user": "alice@example.com" }, "expires_in": 60.0 }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made: Value = made.json();
    let secret = made["secret"].as_str().expect("a secret");
    let joined = Node::new(control.address).register(secret, "web1").await;
    assert_eq!(joined.status, 200, "{}", joined.text());
    let keys: Value = program.get("/auth-keys").await.json();
    assert!(keys["auth_keys"][0]["used_at"].is_u64(), "{keys}");
    assert!(!keys.to_string().contains(secret));
    for (owner, status, kind) in [
        (json!({ "user": "bob@example.com" }), 409, "conflict"),
        (json!({ "tags": ["tag:web"] }), 409, "unknown-tag"),
        (json!({ "tags": [] }), 400, "malformed"),
        (
            json!({ "user": "a@b", "tags": ["tag:web"] }),
            400,
            "malformed",
        ),
    ] {
        let refused = program
            .json("POST", "/auth-keys", json!({ "owner": owner }))
            .await;
        assert_eq!(
            (refused.status, problem(&refused).as_str()),
            (status, kind),
            "{owner}"
        );
    }
    assert_eq!(program.delete("/auth-keys/1").await.status, 204);
    assert_eq!(program.delete("/auth-keys/1").await.status, 404);
    assert_eq!(program.delete("/auth-keys/x").await.status, 404);
}

#[tokio::test]
async fn the_log_names_the_key_and_is_read_by_pages() {
    let control = Control::start();
    let program = Program::of(&control);
    for name in ["a", "b", "c"] {
        let user = json!({ "login": format!("{name}@example.com") });
        assert_eq!(program.json("POST", "/users", user).await.status, 201);
    }
    let mut seen = Vec::new();
    let mut path = "/audit?action=user&limit=2".to_owned();
    loop {
        let page: Value = program.get(&path).await.json();
        seen.extend(page["entries"].as_array().expect("a list").clone());
        let Some(next) = page["next"].as_u64() else {
            break;
        };
        path = format!("/audit?action=user&limit=2&after={next}");
    }
    let shown = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
        (text("actor"), text("action"), text("target"))
    };
    let expected = ["a", "b", "c"].map(|name| {
        let user = format!("{name}@example.com");
        ("api-key:1".to_owned(), "user.create".to_owned(), user)
    });
    assert_eq!(seen.iter().map(shown).collect::<Vec<_>>(), expected);
    let newest: Value = program
        .get("/audit?order=newest-first&limit=1")
        .await
        .json();
    assert_eq!(shown(&newest["entries"][0]), expected[2]);
    let none: Value = program.get("/audit?until=1").await.json();
    assert_eq!(none, json!({ "entries": [], "next": null }));
    for query in ["limit=501", "order=random", "since=-1", "limit=", "x=1"] {
        let refused = program.get(&format!("/audit?{query}")).await;
        assert_eq!(problem(&refused), "malformed", "{query}");
    }
}

#[tokio::test]
async fn what_an_owner_has_approved_is_listed() {
    let control = Control::start_for_people(&[]);
    let program = Program::with(&control, "nodes:read");
    let (mut alice, _) = control.person("alice@example.com", "member").await;
    let mut laptop = control.join("laptop", "alice@example.com").await;
    let none: Value = program.get("/nodes/laptop/approvals").await.json();
    assert_eq!(none, json!({ "approvals": [] }));

    let wish = AheadRequest {
        seconds: 900,
        target: Some("tag:web".to_owned()),
        class: LoginClass::Nonroot,
        turn: 1,
    };
    let body = serde_json::to_vec(&wish).expect("JSON");
    let asked = laptop.send("POST", "/v1/checks/ahead", body).await;
    let CheckState::Waiting { id, prompt } = asked.json() else {
        panic!("{}", asked.text());
    };
    let path = format!("/check/{id}");
    assert_eq!(alice.open(&path).await.status, 200, "{}", alice.page);
    let number = prompt.number.to_string();
    let answer = alice.submit(&path, &[("choice", &number)]).await;
    assert!(answer.text().contains("Approved"), "{}", answer.text());

    let listed: Value = program.get("/nodes/1/approvals").await.json();
    let approval = &listed["approvals"][0];
    assert_eq!(approval["owner"], "alice@example.com");
    assert_eq!(approval["class"], "nonroot");
    assert_eq!(approval["target"], "tag:web");
    assert_eq!(approval["is_ahead"], true);
    let until = approval["expires_at"].as_u64().expect("a time");
    assert!((now() + 800..=now() + 900).contains(&until), "{approval}");
    assert_eq!(program.get("/nodes/web1/approvals").await.status, 404);
    let all: Value = program.get("/approvals").await.json();
    assert_eq!(all["approvals"][0]["source"], laptop.id().0);

    let path = "/nodes/laptop/approvals";
    let refused = program.send("DELETE", path, &[], Vec::new()).await;
    assert_eq!(refused.status, 403, "it may only read");
    let writer = Program::with(&control, "nodes:write,users:write");
    for path in [path, "/users/alice@example.com/approvals"] {
        let revoked = writer.send("DELETE", path, &[], Vec::new()).await;
        assert_eq!(revoked.status, 204, "{path}: {}", revoked.text());
    }
    for path in ["/nodes/web1/approvals", "/users/bob@example.com/approvals"] {
        let none = writer.send("DELETE", path, &[], Vec::new()).await;
        assert_eq!(none.status, 404, "{path}");
    }
    let none: Value = program.get("/approvals").await.json();
    assert_eq!(none, json!({ "approvals": [] }));
    let log = control.admin(&["audit", "--action", "check.revoke"]);
    assert!(log.contains("laptop") && log.contains("api-key:"), "{log}");
}
