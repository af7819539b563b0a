//! The log of who changed what, and of what nodes tell.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use meshd_contract::identity::NodeId;
use meshd_contract::login_event::{LoginEvent, LoginEventKind};
use meshd_contract::node_api::{LoginReport, MAX_LOGIN_EVENTS};
use meshd_contract::time::Timestamp;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};

use crate::harness::{Control, Node, PATIENCE, now};

fn entries(control: &Control, arguments: &[&str]) -> Vec<Value> {
    let all = [&["audit", "--output", "json"], arguments].concat();
    let printed = control.admin(&all);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn actions(control: &Control, arguments: &[&str]) -> Vec<String> {
    let entries = entries(control, arguments);
    let action = |entry: &Value| entry["action"].as_str().expect("a text").to_owned();
    entries.iter().map(action).collect()
}

async fn database(control: &Control) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(control.state().join("control.db"));
    options.connect().await.expect("opens")
}

#[tokio::test]
async fn every_change_is_noted_with_who_made_it() {
    let mut control = Control::start();
    let root = format!("unix:{}", nix::unistd::geteuid());
    let before = now();
    control.admin(&["users", "create", "alice@example.com"]);
    control.admin(&["users", "role", "alice@example.com", "admin"]);
    let mut laptop = control.join("laptop", "alice@example.com").await;
    control.admin(&["nodes", "rename", "laptop", "desk"]);
    control.admin(&["nodes", "expiry", "desk", "30d"]);
    control.set_policy(r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }] }"#);
    let gone = laptop.send("POST", "/v1/logout", b"null".to_vec()).await;
    assert_eq!(gone.status, 204);
    control.join("phone", "alice@example.com").await;
    control.admin(&["nodes", "delete", "phone"]);
    control.admin(&["authkeys", "delete", "1"]);
    control.admin(&["backup"]);
    control.admin(&["users", "create", "bob@example.com"]);
    control.admin(&["users", "delete", "bob@example.com"]);

    let expected = [
        ("control", "policy.set", "1"),
        (&root, "user.create", "alice@example.com"),
        (&root, "user.role", "alice@example.com"),
        (&root, "auth-key.create", "1"),
        ("node:1", "node.join", "laptop"),
        (&root, "node.rename", "laptop"),
        (&root, "node.expiry", "desk"),
        (&root, "policy.set", "2"),
        ("node:1", "node.logout", "desk"),
        (&root, "auth-key.create", "2"),
        ("node:2", "node.join", "phone"),
        (&root, "node.delete", "phone"),
        (&root, "auth-key.delete", "1"),
        (&root, "backup.make", ""),
        (&root, "user.create", "bob@example.com"),
        (&root, "user.delete", "bob@example.com"),
    ];
    let noted = entries(&control, &[]);
    assert_eq!(noted.len(), expected.len(), "{noted:#?}");
    for (entry, (actor, action, target)) in noted.iter().zip(expected) {
        assert_eq!(entry["actor"], actor, "{entry}");
        assert_eq!(entry["action"], action, "{entry}");
        assert!(target.is_empty() || entry["target"] == target, "{entry}");
        assert_eq!(entry["reported"], false, "{entry}");
        let at = entry["at"].as_u64().expect("a time");
        assert!((before - 1..=now()).contains(&at), "{entry}");
    }
    assert_eq!(noted[4]["details"]["auth_key"], 1);
    assert_eq!(noted[5]["details"]["new"], "desk");
    assert_eq!(noted[7]["details"]["over"], 1);

    control.restart_after_kill();
    assert_eq!(entries(&control, &[]), noted);
    let text = control.admin(&["audit", "--action", "user.role"]);
    let line = format!("Z {root} user.role alice@example.com new=\"admin\" old=\"member\"\n");
    assert!(text.ends_with(&line), "{text}");
}

#[tokio::test]
async fn what_is_refused_is_not_noted() {
    let control = Control::start();
    let before = entries(&control, &[]);
    control.refused(&["users", "delete", "nobody@example.com"]);
    control.refused(&["users", "create", "nobody"]);
    control.refused(&["nodes", "delete", "web1"]);
    control.refused(&["authkeys", "delete", "7"]);
    control.refused(&["policy", "set", &control.policy_file("{")]);
    let answer = Node::new(control.address).register("wrong", "web1").await;
    assert_eq!(answer.status, 403);
    assert_eq!(entries(&control, &[]), before);
}

#[tokio::test]
async fn entries_are_chosen_by_action_time_and_number() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    control.admin(&["users", "role", "alice@example.com", "admin"]);
    control.auth_key("alice@example.com");
    assert_eq!(
        actions(&control, &[]),
        ["policy.set", "user.create", "user.role", "auth-key.create"]
    );
    assert_eq!(
        actions(&control, &["--action", "user"]),
        ["user.create", "user.role"]
    );
    assert_eq!(actions(&control, &["--action", "user.role"]), ["user.role"]);
    assert!(actions(&control, &["--action", "use"]).is_empty());
    assert_eq!(
        actions(&control, &["--limit", "2"]),
        ["user.role", "auth-key.create"]
    );
    assert_eq!(
        actions(&control, &["--limit", "1", "--action", "user"]),
        ["user.role"]
    );
    assert!(actions(&control, &["--limit", "0"]).is_empty());
    assert_eq!(actions(&control, &["--since", "1h"]).len(), 4);
    assert!(actions(&control, &["--until", "1h"]).is_empty());
    assert!(actions(&control, &["--since", "2200-01-01"]).is_empty());
    assert_eq!(
        actions(&control, &["--until", "2200-01-01T00:00:00Z"]).len(),
        4
    );
    let refused = control.run(&["audit", "--since", "yesterday"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test]
async fn more_entries_than_fit_a_page_are_all_printed() {
    let control = Control::start();
    let mut database = database(&control).await;
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
         INSERT INTO audit (at, actor, action, target, reported, details) \
         SELECT 7, 'control', 'test.many', i, 0, '{}' FROM n",
    )
    .execute(&mut database)
    .await
    .expect("adds");
    let numbers = |arguments: &[&str]| -> Vec<String> {
        let entries = entries(&control, arguments);
        let target = |entry: &Value| entry["target"].as_str().expect("a text").to_owned();
        entries.iter().map(target).collect()
    };
    let range = |from: u32| (from..=1200).map(|i| i.to_string()).collect::<Vec<_>>();
    assert_eq!(numbers(&["--action", "test"]), range(1));
    assert_eq!(numbers(&["--action", "test", "--limit", "700"]), range(501));
}

#[tokio::test]
async fn new_entries_are_followed() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    let mut following = Command::new(env!("CARGO_BIN_EXE_meshd-control"))
        .arg("--socket")
        .arg(control.socket())
        .args(["audit", "--follow", "--limit", "1", "--action", "user"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let (sender, printed) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let next = || printed.recv_timeout(PATIENCE).expect("a line in time");
    assert!(next().ends_with("user.create alice@example.com role=\"member\""));
    control.auth_key("alice@example.com");
    control.admin(&["users", "create", "bob@example.com"]);
    assert!(next().contains("user.create bob@example.com"));
    following.kill().expect("kills");
    following.wait().expect("waits");
    reader.join().expect("ends");
}

#[tokio::test]
async fn the_log_is_only_ever_added_to() {
    let control = Control::start();
    let before = entries(&control, &[]);
    let mut database = database(&control).await;
    for change in [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (id, at, actor, action, target, reported, details) \
         VALUES (1, 1, 'nobody', 'none', '', 0, '{}')",
    ] {
        let error = sqlx::query(change).execute(&mut database).await;
        let error = error.expect_err("is refused").to_string();
        assert!(error.contains("only ever added to"), "{error}");
    }
    assert_eq!(entries(&control, &[]), before);
    let count = sqlx::query("SELECT COUNT(*) AS n FROM audit").fetch_one(&mut database);
    let count: i64 = count.await.expect("reads").get("n");
    assert_eq!(count, 1);
}

fn event(kind: LoginEventKind, connection: &str, peer: NodeId) -> LoginEvent {
    LoginEvent {
        kind,
        at: Timestamp(5),
        connection: connection.to_owned(),
        peer,
        address: [100, 64, 0, 9].into(),
        login: Some("alice".to_owned()),
        rule: None,
        reason: None,
    }
}

async fn tells(node: &mut Node, run: u32, first: u64, events: &[LoginEvent]) -> u16 {
    let report = LoginReport {
        run,
        first,
        events: events.to_vec(),
    };
    let body = serde_json::to_vec(&report).expect("JSON");
    node.send("POST", "/v1/logins", body).await.status
}

#[tokio::test]
async fn what_a_node_tells_is_noted_once_and_as_its_word() {
    let mut control = Control::start();
    let mut web1 = control.join("web1", "alice@example.com").await;
    let laptop = control.join("laptop", "bob@example.com").await;
    let accepted = event(LoginEventKind::Accepted, "c1", laptop.id());
    let denied = LoginEvent {
        login: Some("ro\not".to_owned()),
        reason: Some("x".repeat(9_999)),
        ..event(LoginEventKind::Denied, "c2", NodeId(0))
    };
    let both = [accepted, denied];
    assert_eq!(tells(&mut web1, 7, 1, &both).await, 204);
    // The answer was lost, and control was killed: the node tells it again, and more.
    control.restart_after_kill();
    web1.address = control.address;
    let more = [
        both.as_slice(),
        &[event(LoginEventKind::Ended, "c1", laptop.id())],
    ]
    .concat();
    assert_eq!(tells(&mut web1, 7, 1, &more).await, 204);
    assert_eq!(tells(&mut web1, 7, 2, &more[1..]).await, 204);
    let noted = entries(&control, &["--action", "login"]);
    let told: Vec<_> = noted.iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(told, ["login.accepted", "login.denied", "login.ended"]);
    for entry in &noted {
        assert_eq!(entry["actor"], "node:1");
        assert_eq!(entry["target"], "web1");
        assert_eq!(entry["reported"], true);
        assert_eq!(entry["details"]["address"], "100.64.0.9");
    }
    assert_eq!(noted[0]["details"]["peer_name"], "laptop");
    assert_eq!(noted[0]["details"]["peer_owner"], "bob@example.com");
    assert_eq!(noted[1]["details"]["login"], "ro?ot");
    assert_eq!(
        noted[1]["details"]["reason"].as_str().map(str::len),
        Some(256)
    );
    assert!(noted[1]["details"]["peer_name"].is_null());

    let text = control.admin(&["audit", "--action", "login.ended"]);
    assert!(text.trim_end().ends_with("(as the node reports)"), "{text}");
    // The manager's next run begins to count again; what it lost in between is known to be lost.
    let late = [event(LoginEventKind::Ended, "c3", laptop.id())];
    assert_eq!(tells(&mut web1, 8, 4, &late).await, 204);
    let lost = entries(&control, &["--action", "login.lost"]);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0]["details"]["count"], 3);
    assert_eq!(entries(&control, &["--action", "login.ended"]).len(), 2);
}

#[tokio::test]
async fn a_node_that_tells_nonsense_is_refused() {
    let control = Control::start();
    let mut web1 = control.join("web1", "alice@example.com").await;
    let one = event(LoginEventKind::Accepted, "c1", NodeId(1));
    assert_eq!(
        tells(&mut web1, 7, 0, std::slice::from_ref(&one)).await,
        400
    );
    let many = vec![one.clone(); MAX_LOGIN_EVENTS + 1];
    assert_eq!(tells(&mut web1, 7, 1, &many).await, 400);
    let answer = web1.send("POST", "/v1/logins", b"{}".to_vec()).await;
    assert_eq!(answer.problem().0, "malformed");
    let end = [one.clone(), one];
    assert_eq!(tells(&mut web1, 7, u64::MAX, &end).await, 204);
    let mut stranger = Node::new(control.address);
    stranger.id = web1.id;
    assert_eq!(tells(&mut stranger, 7, 1, &end).await, 401);
    control.admin(&["nodes", "delete", "web1"]);
    assert_eq!(tells(&mut web1, 8, 1, &end).await, 410);
}

#[tokio::test]
async fn a_full_report_of_the_longest_events_fits() {
    let control = Control::start();
    let mut web1 = control.join("web1", "alice@example.com").await;
    let longest = LoginEvent {
        connection: "\"".repeat(256),
        login: Some("\\".repeat(256)),
        rule: Some("\"".repeat(256)),
        reason: Some("\\".repeat(256)),
        ..event(LoginEventKind::Denied, "", NodeId(u64::MAX))
    };
    let all = vec![longest.tidied(); MAX_LOGIN_EVENTS];
    assert_eq!(tells(&mut web1, 7, 1, &all).await, 204);
    assert_eq!(
        entries(&control, &["--action", "login"]).len(),
        MAX_LOGIN_EVENTS
    );
}

#[tokio::test]
async fn what_people_do_on_pages_is_noted_as_theirs() {
    let control = Control::start_for_people(&["--approve-devices"]);
    let (mut bob, _) = control.person("bob@example.com", "member").await;
    let (mut alice, _) = control.person("alice@example.com", "admin").await;
    for (name, decision) in [("laptop", "approve"), ("unknown", "refuse")] {
        let path = Node::new(control.address).page_to_join(name, &[]).await;
        assert_eq!(bob.open(&path).await.status, 200, "{}", bob.page);
        let answer = bob.submit(&path, &[("decision", decision)]).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(alice.open("/devices").await.status, 200, "{}", alice.page);
    let answer = alice.submit("/devices", &[("decision", "approve")]).await;
    assert_eq!(answer.status, 303);

    let root = format!("unix:{}", nix::unistd::geteuid());
    let noted = entries(&control, &[]);
    let shown: Vec<[&str; 3]> = noted[1..]
        .iter()
        .map(|entry| ["actor", "action", "target"].map(|of| entry[of].as_str().expect("a text")))
        .collect();
    let (by_alice, by_bob) = ("user:alice@example.com", "user:bob@example.com");
    let expected = [
        [root.as_str(), "user.create", "bob@example.com"],
        [root.as_str(), "user.invite", "bob@example.com"],
        [by_bob, "account.set", "bob@example.com"],
        [by_bob, "sign-in", "bob@example.com"],
        [root.as_str(), "user.create", "alice@example.com"],
        [root.as_str(), "user.invite", "alice@example.com"],
        [by_alice, "account.set", "alice@example.com"],
        [by_alice, "sign-in", "alice@example.com"],
        [by_bob, "node.join", "laptop"],
        [by_bob, "join.refuse", "unknown"],
        [by_alice, "node.approve", "laptop"],
    ];
    assert_eq!(shown, expected);
}
