//! Requests that must not count.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use meshd_contract::identity::NodeId;
use meshd_contract::key::PrivateKey;
use meshd_contract::node_api::{MAX_CLOCK_SKEW, NODE_HEADER, Report, SIGNATURE_HEADER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{Control, Node, PATIENCE, connect, send};

async fn problem(answer: crate::harness::Answer) -> (u16, String) {
    (answer.status, answer.problem().0)
}

#[tokio::test]
async fn another_key_does_not_count() {
    let control = Control::start();
    let mut node = control.join("web1", "alice@example.com").await;
    node.key = PrivateKey::from_seed(&[1; 32]);
    let answer = node.report(&Report::default()).await;
    assert_eq!(problem(answer).await, (401, "bad-signature".to_owned()));
    let answer = node.documents(None).await.err().expect("is refused");
    assert_eq!(problem(answer).await, (401, "bad-signature".to_owned()));
}

#[tokio::test]
async fn one_node_cannot_speak_for_another() {
    let control = Control::start();
    let mut web1 = control.join("web1", "alice@example.com").await;
    let web2 = control.join("web2", "alice@example.com").await;
    web1.id = web2.id;
    let answer = web1.report(&Report::default()).await;
    assert_eq!(problem(answer).await, (401, "bad-signature".to_owned()));
    web1.id = Some(NodeId(999));
    let answer = web1.report(&Report::default()).await;
    assert_eq!(problem(answer).await, (401, "unknown-node".to_owned()));
}

#[tokio::test]
async fn a_skewed_clock_is_named_as_such() {
    let control = Control::start();
    let key = control.auth_key("alice@example.com");
    let skew = i64::try_from(MAX_CLOCK_SKEW).expect("fits") + 30;
    for ahead in [skew, -skew] {
        let mut node = Node::new(control.address);
        node.clock_ahead = ahead;
        let answer = node.register(&key, "web1").await;
        assert_eq!(answer.status, 401);
        let (kind, detail) = answer.problem();
        assert_eq!(kind, "clock-skew");
        assert!(detail.contains("set the clock"), "{detail}");
    }
    let mut node = Node::new(control.address);
    node.clock_ahead = skew - 60;
    assert_eq!(node.register(&key, "web1").await.status, 200);
}

#[tokio::test]
async fn a_request_that_changes_something_counts_once() {
    let control = Control::start();
    let mut node = control.join("web1", "alice@example.com").await;
    let mut twin = node.clone();
    node.follow().await.next().await.expect("an event");
    twin.follow()
        .await
        .next()
        .await
        .expect("a manager that was restarted");
    let body = serde_json::to_vec(&Report::default()).expect("JSON");
    let request = node.request("POST", "/v1/report", body);
    assert_eq!(send(control.address, request.clone()).await.status, 204);
    let answer = send(control.address, request).await;
    assert_eq!(problem(answer).await, (409, "replayed".to_owned()));
}

#[tokio::test]
async fn a_changed_or_unsigned_request_does_not_count() {
    let control = Control::start();
    let mut node = control.join("web1", "alice@example.com").await;
    let body = serde_json::to_vec(&Report::default()).expect("JSON");
    let mut request = node.request("POST", "/v1/report", body.clone());
    *request.body_mut() = Full::from(Bytes::from_static(b"{}"));
    let answer = send(control.address, request).await;
    assert_eq!(problem(answer).await, (401, "bad-signature".to_owned()));
    for header in [SIGNATURE_HEADER, NODE_HEADER] {
        let mut request = node.request("POST", "/v1/report", body.clone());
        request.headers_mut().remove(header);
        let answer = send(control.address, request).await;
        assert_eq!(problem(answer).await, (401, "unsigned".to_owned()));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_sentence() {
    let control = Control::start();
    let mut node = control.join("web1", "alice@example.com").await;
    let answer = node.send("POST", "/v1/report", vec![b' '; 100_000]).await;
    assert_eq!(problem(answer).await, (413, "too-large".to_owned()));
    let answer = node.send("POST", "/v1/report", b"{".to_vec()).await;
    assert_eq!(problem(answer).await, (400, "malformed".to_owned()));
    let answer = node.documents(Some("x")).await.err().expect("is refused");
    assert_eq!(problem(answer).await, (400, "malformed".to_owned()));
    for (method, path, expected) in [
        ("GET", "/v1/nowhere", (404, "not-found")),
        ("GET", "/v1/register", (405, "method")),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "control").body(Full::default());
        let answer = send(control.address, request.expect("a request")).await;
        let (status, kind) = problem(answer).await;
        assert_eq!((status, kind.as_str()), expected);
    }
}

/// Sends these texts, each when the server has had the time to answer what was sent before it; what
/// the server says until it ends the connection.
async fn converse(control: &Control, texts: &[&str]) -> String {
    let mut stream = connect(control.address).await.expect("a connection");
    for text in texts {
        stream.write_all(text.as_bytes()).await.expect("is sent");
        stream.flush().await.expect("is sent");
        for _ in 0..3 {
            control.admin(&["key"]);
        }
    }
    let mut said = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut said)).await;
    read.expect("an end").expect("a gentle end");
    said
}

#[tokio::test]
async fn a_request_that_is_refused_before_its_body_came_is_answered_and_so_is_the_next() {
    let control = Control::start();
    let head = "POST /api/v1/auth-keys HTTP/1.1\r\nhost: control\r\ncontent-length: 2\r\n";
    let first = format!("{head}\r\n");
    let last = format!("{head}connection: close\r\n\r\n{{}}");
    let said = converse(&control, &[&first, "{}", &last]).await;
    assert_eq!(said.matches("HTTP/1.1 401").count(), 2, "{said}");

    let held_back = format!("{head}expect: 100-continue\r\n\r\n");
    for without_body in [held_back, first] {
        let said = converse(&control, &[&without_body]).await;
        assert!(said.starts_with("HTTP/1.1 401"), "{said}");
        assert!(said.contains("connection: close"), "{said}");
    }
}
