//! How hosts become nodes, and what stands in their way.

use std::time::Duration;

use crate::harness::{Control, Node, now, send};
use meshd_contract::key::WireGuardKey;
use meshd_contract::node_api::{Identity, RegisterResponse};
use meshd_contract::signed::verified_body;
use sha2::{Digest, Sha256};

#[tokio::test]
async fn the_signed_identity_names_the_certificate() {
    let control = Control::start();
    let request = hyper::Request::get("/v1/identity").header("host", "control");
    let request = request.body(http_body_util::Full::default());
    let answer = send(control.address, request.expect("a request")).await;
    let body = verified_body(Identity::KIND, &answer.body, &control.key()).expect("is signed");
    let identity: Identity = serde_json::from_slice(body).expect("an identity");
    let hash = Sha256::digest(&answer.certificate);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(identity.tls_certificates, [hash]);
    assert_eq!(identity.control_key, control.key());
}

#[tokio::test]
async fn a_host_joins_once_per_key() {
    let control = Control::start();
    let key = control.auth_key("alice@example.com");
    let mut laptop = Node::new(control.address);
    let answer = laptop.register(&key, "laptop").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let first: RegisterResponse = answer.json();
    assert_eq!(first.addresses.v4.to_string(), "100.64.0.1");
    assert_eq!(first.addresses.v6.to_string(), "fd7a:115c:a1e0::1");

    laptop.id = None;
    let again: RegisterResponse = laptop.register(&key, "laptop").await.json();
    assert_eq!(again, first, "the answer may have been lost");

    let (kind, detail) = Node::new(control.address)
        .register(&key, "other")
        .await
        .problem();
    assert_eq!(kind, "auth-key-used");
    assert!(detail.contains("authkeys create"), "{detail}");
}

#[tokio::test]
async fn a_reusable_key_admits_many() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    let key = control.admin(&[
        "authkeys",
        "create",
        "--user",
        "alice@example.com",
        "--reusable",
        "--ephemeral",
    ]);
    for name in ["a1", "a2", "a3"] {
        let answer = Node::new(control.address).register(&key, name).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let nodes: serde_json::Value =
        serde_json::from_str(&control.admin(&["nodes", "list", "--json"])).expect("JSON");
    let nodes = nodes.as_array().expect("a list");
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["ephemeral"] == true));
}

#[tokio::test]
async fn expired_unknown_and_deleted_keys_are_told_apart() {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    let create = ["authkeys", "create", "--user", "alice@example.com"];
    let short = control.admin(&[&create[..], &["--expires", "1s"]].concat());
    let made_at = now();
    let mut host = Node::new(control.address);
    let (kind, _) = host.register("meshd-auth-x", "host").await.problem();
    assert_eq!(kind, "auth-key-unknown");

    let deleted = control.admin(&create);
    control.admin(&["authkeys", "delete", "2"]);
    let (kind, _) = host.register(&deleted, "host").await.problem();
    assert_eq!(kind, "auth-key-unknown");

    while now() <= made_at + 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (kind, _) = host.register(&short, "host").await.problem();
    assert_eq!(kind, "auth-key-expired");
}

#[tokio::test]
async fn a_taken_name_is_refused_and_leaves_the_key_unused() {
    let control = Control::start();
    control.join("web1", "alice@example.com").await;
    let key = control.auth_key("bob@example.com");
    let mut host = Node::new(control.address);
    let answer = host.register(&key, "web1").await;
    assert_eq!(answer.status, 409);
    let (kind, detail) = answer.problem();
    assert_eq!(kind, "name-taken");
    assert!(detail.contains("--name"), "{detail}");
    let (kind, _) = host.register(&key, "localhost").await.problem();
    assert_eq!(kind, "name-taken");
    assert_eq!(host.register(&key, "web2").await.status, 200);
}

#[tokio::test]
async fn a_wireguard_key_belongs_to_one_node() {
    let control = Control::start();
    let mut web1 = control.join("web1", "alice@example.com").await;
    let mut copy = Node::new(control.address);
    copy.wireguard_key = web1.wireguard_key;
    let key = control.auth_key("alice@example.com");
    let (kind, _) = copy.register(&key, "web2").await.problem();
    assert_eq!(kind, "wireguard-key-taken");

    web1.id = None;
    web1.wireguard_key = WireGuardKey([9; 32]);
    let (kind, detail) = web1.register(&key, "web1").await.problem();
    assert_eq!(kind, "wireguard-key-changed");
    assert!(detail.contains("nodes delete web1"), "{detail}");
}

#[tokio::test]
async fn numbers_and_addresses_are_not_given_again() {
    let control = Control::start();
    let first = control.join("web1", "alice@example.com").await;
    control.admin(&["nodes", "delete", "web1"]);
    let mut again = Node::new(control.address);
    again.key = first.key.clone();
    again.wireguard_key = first.wireguard_key;
    let key = control.auth_key("alice@example.com");
    let answer: RegisterResponse = again.register(&key, "web1").await.json();
    assert_ne!(answer.node, first.id());
    assert_eq!(answer.addresses.v4.to_string(), "100.64.0.2");
}
