//! How a person lets a host in.

use meshd_contract::network_document::NetworkDocument;
use meshd_contract::node_api::JoinAnswer;
use meshd_contract::peer_document::PeerDocument;

use crate::harness::{Browser, Control, Events, Node, ORIGIN};

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

const POLICY: &str = r#"{
    "tagOwners": { "tag:web": ["alice@example.com"], "tag:db": [] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "accept", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["alice"] }],
}"#;

async fn approve(browser: &mut Browser, path: &str) -> u16 {
    assert_eq!(browser.open(path).await.status, 200, "{}", browser.page);
    let answer = browser.submit(path, &[("decision", "approve")]).await;
    answer.status
}

async fn peers(node: &Node, events: &mut Events, control: &Control) -> (usize, usize) {
    let key = control.key();
    let rights: PeerDocument = node.open(&events.next().await.expect("an event"), &key);
    let network: NetworkDocument = node.open(&events.next().await.expect("an event"), &key);
    (rights.peers.len(), network.peers.len())
}

#[tokio::test]
async fn the_person_sees_who_asks_and_the_host_becomes_theirs() {
    let control = Control::start_for_people(&[]);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let mut laptop = Node::new(control.address);
    let path = laptop.page_to_join("laptop", &[]).await;
    let mut stranger = Browser::new(&control);
    let answer = stranger.open(&path).await;
    assert!(
        answer
            .header("location")
            .starts_with("/sign-in?next=%2Fjoin%2F")
    );

    assert_eq!(alice.open(&path).await.status, 200);
    let fingerprint = laptop.key.public().fingerprint();
    for shown in [
        "laptop",
        fingerprint.as_str(),
        "127.0.0.1",
        "meshd 1.2.3",
        ALICE,
    ] {
        assert!(alice.page.contains(shown), "{shown}: {}", alice.page);
    }
    let mut waiting = laptop.clone();
    let wait = tokio::spawn(async move { waiting.wait_to_join().await });
    assert_eq!(approve(&mut alice, &path).await, 200);
    let told = wait.await.expect("ends");
    let JoinAnswer::Joined(registered) = told.json() else {
        panic!("{}", told.text());
    };
    assert!(!registered.needs_approval);
    let listed = control.admin(&["nodes", "list"]);
    assert!(
        listed.contains("laptop") && listed.contains(ALICE),
        "{listed}"
    );

    let answer = alice.open(&path).await;
    assert_eq!(answer.status, 409);
    assert!(
        answer.text().contains("let in already"),
        "{}",
        answer.text()
    );
    assert_eq!(
        laptop.wait_to_join().await.status,
        200,
        "the answer may have been lost"
    );
    laptop.follow().await;
    assert!(alice.open("/").await.text().contains("laptop"));
}

#[tokio::test]
async fn a_host_is_turned_away_and_told_so() {
    let control = Control::start_for_people(&[]);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let mut host = Node::new(control.address);
    let path = host.page_to_join("laptop", &[]).await;
    alice.open(&path).await;
    assert_eq!(
        alice.submit(&path, &[("decision", "refuse")]).await.status,
        200
    );
    let (kind, _) = host.wait_to_join().await.problem();
    assert_eq!(kind, "join-refused");
    assert_eq!(approve_again(&mut alice, &path).await, 409);
    assert!(!control.admin(&["nodes", "list"]).contains("laptop"));
}

async fn approve_again(browser: &mut Browser, path: &str) -> u16 {
    assert_eq!(browser.open("/").await.status, 200);
    let answer = browser.submit(path, &[("decision", "approve")]).await;
    answer.status
}

#[tokio::test]
async fn nobody_is_let_in_by_a_forged_form() {
    let control = Control::start_for_people(&[]);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let mut host = Node::new(control.address);
    let path = host.page_to_join("laptop", &[]).await;
    alice.open(&path).await;
    let csrf = alice.hidden()["csrf"].clone();
    let fields = [("decision", "approve"), ("csrf", csrf.as_str())];
    let answer = alice
        .post(&path, &[("origin", "https://evil.example")], &fields)
        .await;
    assert_eq!(answer.status, 403);
    let answer = alice.post(&path, &[("origin", ORIGIN)], &fields[..1]).await;
    assert_eq!(answer.status, 403);
    let JoinAnswer::Waiting = host.wait_to_join().await.json() else {
        panic!("somebody has decided");
    };
}

#[tokio::test]
async fn a_host_that_leaves_is_not_let_in() {
    let control = Control::start_for_people(&[]);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let mut host = Node::new(control.address);
    let path = host.page_to_join("laptop", &[]).await;
    assert_eq!(host.about_join("/v1/join/leave").await.status, 204);
    let answer = alice.open(&path).await;
    assert_eq!(answer.status, 409);
    assert!(
        answer.text().contains("does not wait any more"),
        "{}",
        answer.text()
    );
    assert_eq!(approve_again(&mut alice, &path).await, 409);
    let newer = host.page_to_join("laptop", &[]).await;
    assert_ne!(newer, path);
    assert_eq!(approve(&mut alice, &newer).await, 200);
}

#[tokio::test]
async fn a_request_outlives_control() {
    let mut control = Control::start_for_people(&[]);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let mut host = Node::new(control.address);
    let path = host.page_to_join("laptop", &[]).await;
    control.restart_after_kill();
    alice.moved_to(&control);
    host.address = control.address;
    assert_eq!(approve(&mut alice, &path).await, 200);
    assert_eq!(host.wait_to_join().await.status, 200);
    assert!(host.id.is_some());
}

#[tokio::test]
async fn only_owners_of_a_tag_give_it() {
    let control = Control::start_for_people(&[]);
    control.set_policy(POLICY);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let (mut bob, _) = control.person(BOB, "member").await;
    let mut web1 = Node::new(control.address);
    let path = web1.page_to_join("web1", &["tag:web"]).await;
    bob.open(&path).await;
    assert!(
        bob.page.contains("does not make you an owner of tag:web"),
        "{}",
        bob.page
    );
    let answer = bob.submit(&path, &[("decision", "approve")]).await;
    assert_eq!(answer.status, 403);
    assert_eq!(approve(&mut alice, &path).await, 200);
    assert_eq!(web1.wait_to_join().await.status, 200);
    let listed = control.admin(&["nodes", "list"]);
    assert!(
        listed.contains("tag:web") && listed.contains("never"),
        "{listed}"
    );

    let mut db1 = Node::new(control.address);
    let path = db1.page_to_join("db1", &["tag:db"]).await;
    alice.open(&path).await;
    let answer = alice.submit(&path, &[("decision", "approve")]).await;
    assert_eq!(answer.status, 403, "the tag is the administrators'");
    let answer = Node::new(control.address).ask_to_join("x", &["web"]).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn a_host_that_is_not_approved_is_nobodys_peer() {
    let control = Control::start_for_people(&["--approve-devices"]);
    control.set_policy(POLICY);
    let (mut alice, _) = control.person(ALICE, "member").await;
    let (mut admin, _) = control.person("admin@example.com", "admin").await;
    let key = control.admin(&["authkeys", "create", "--tag", "web"]);
    let mut web1 = Node::new(control.address);
    assert_eq!(web1.register(&key, "web1").await.status, 200);
    let mut of_web1 = web1.follow().await;
    assert_eq!(peers(&web1, &mut of_web1, &control).await, (0, 0));

    let mut laptop = Node::new(control.address);
    let path = laptop.page_to_join("laptop", &[]).await;
    assert_eq!(approve(&mut alice, &path).await, 200);
    assert!(
        alice.page.contains("administrator has to approve"),
        "{}",
        alice.page
    );
    let JoinAnswer::Joined(registered) = laptop.wait_to_join().await.json() else {
        panic!("it waits");
    };
    assert!(registered.needs_approval);
    let mut of_laptop = laptop.follow().await;
    assert_eq!(peers(&laptop, &mut of_laptop, &control).await, (0, 0));
    assert!(control.admin(&["nodes", "list"]).contains("not approved"));

    assert_eq!(alice.open("/devices").await.status, 403);
    admin.open("/devices").await;
    assert!(admin.page.contains("laptop"), "{}", admin.page);
    let answer = admin.submit("/devices", &[("decision", "approve")]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(peers(&web1, &mut of_web1, &control).await, (1, 1));
    let network = of_laptop.next().await.expect("an event");
    let network: NetworkDocument = laptop.open(&network, &control.key());
    assert_eq!(network.peers.len(), 1);

    let mut phone = Node::new(control.address);
    let path = phone.page_to_join("phone", &[]).await;
    assert_eq!(approve(&mut alice, &path).await, 200);
    control.admin(&["nodes", "approve", "phone"]);
    let mut own = Node::new(control.address);
    let path = own.page_to_join("own", &[]).await;
    assert_eq!(approve(&mut admin, &path).await, 200);
    assert!(!control.admin(&["nodes", "list"]).contains("not approved"));
}

#[tokio::test]
async fn a_request_is_signed_by_its_own_key_and_bounded() {
    let control = Control::start_for_people(&[]);
    let mut host = Node::new(control.address);
    host.page_to_join("laptop", &[]).await;
    let mut other = Node::new(control.address);
    let body = serde_json::json!({ "node_key": host.key.public() });
    let body = body.to_string().into_bytes();
    let answer = other.send("POST", "/v1/join/leave", body).await;
    assert_eq!(answer.problem().0, "bad-signature");
    let unknown = other.wait_to_join().await;
    assert_eq!(unknown.problem().0, "join-over");

    let mut kinds = Vec::new();
    for n in 0..25 {
        let answer = Node::new(control.address)
            .ask_to_join(&format!("host{n}"), &[])
            .await;
        if answer.status != 200 {
            kinds.push(answer.problem().0);
        }
    }
    assert!(kinds.len() >= 5, "{kinds:?}");
    assert!(kinds.iter().all(|kind| kind == "too-often"), "{kinds:?}");
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_at_once() {
    let control = Control::start_for_people(&[]);
    control.join("laptop", ALICE).await;
    let answer = Node::new(control.address).ask_to_join("laptop", &[]).await;
    assert_eq!(answer.problem().0, "name-taken");
}
