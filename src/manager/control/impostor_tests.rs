//! What a node tells whom: nothing secret to a server that has not proved that it is control.

use std::sync::Arc;

use meshd_contract::key::PrivateKey;
use meshd_contract::keyring::{Keyring, write_rotations};
use meshd_contract::node_api::{Identity, RegisterResponse};
use meshd_contract::signed::seal_text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::TLS13;

use super::connection::{Connection, Credentials, Server, identify};
use super::tls::certificate_hash;
use super::url::ControlUrl;
use crate::manager::control_keys::tests::{key, rotation};
use crate::manager::error::Error;

const SECRET: &str = "the-auth-key";
const REGISTERED: &str = r#"{"node": 7, "name": "web1",
    "addresses": {"v4": "100.64.0.1", "v6": "fd7a:115c:a1e0::1"}}"#;

fn control() -> PrivateKey {
    key(1)
}

struct Fake {
    url: ControlUrl,
    /// Everything that it was told.
    heard: JoinHandle<String>,
}

/// A server that says who it is, once, as `signer`, with its own certificate or another's, and then
/// gives these answers.
async fn fake(signer: PrivateKey, own_certificate: bool, answers: &[&str]) -> Fake {
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(vec!["control".to_owned()]).expect("makes one");
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let hash = certificate_hash(&certificate);
    let identity = Identity {
        control_key: signer.public(),
        tls_certificates: vec![if own_certificate {
            hash
        } else {
            "00".repeat(32)
        }],
        release: "1".to_owned(),
    };
    let body = serde_json::to_string(&identity).expect("is written");
    let identity = seal_text(Identity::KIND, &body, &signer);
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("is bound").port();
    let heard = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accepts");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tls = acceptor.accept(tcp).await.expect("shakes hands");
        let mut heard = String::new();
        for body in std::iter::once(identity).chain(answers) {
            let mut piece = vec![0; 16 << 10];
            let length = tls.read(&mut piece).await.unwrap_or(0);
            heard.push_str(&String::from_utf8_lossy(&piece[..length]));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            // Whoever has heard enough is gone by now.
            let _ = tls.write_all(format!("{head}{body}").as_bytes()).await;
        }
        heard
    });
    let url = format!("https://127.0.0.1:{port}").parse();
    Fake {
        url: url.expect("an address"),
        heard,
    }
}

/// Registers as a node does that believes the first key of control.
async fn register(url: &ControlUrl) -> Result<RegisterResponse, Error> {
    register_believing(control().public().into(), url).await
}

async fn register_believing(keys: Keyring, url: &ControlUrl) -> Result<RegisterResponse, Error> {
    let server = Server {
        url: url.clone(),
        keys,
    };
    let mut connection = Connection::open(&server).await?;
    let credentials = Credentials {
        key: PrivateKey::from_seed(&[2; 32]),
        node: None,
    };
    connection.post("/v1/register", &credentials, &SECRET).await
}

#[tokio::test]
async fn a_server_with_another_key_hears_no_auth_key() {
    let fake = fake(key(9), true, &[""]).await;
    let refused = register(&fake.url).await;
    assert!(
        matches!(refused, Err(Error::WrongControlKey { .. })),
        "{refused:?}"
    );
    let heard = fake.heard.await.expect("ends");
    assert!(
        heard.starts_with("GET /v1/identity") && !heard.contains(SECRET),
        "{heard}"
    );
}

#[tokio::test]
async fn a_server_that_repeats_the_identity_of_control_hears_no_auth_key() {
    let fake = fake(control(), false, &[""]).await;
    let refused = register(&fake.url).await;
    assert!(
        matches!(refused, Err(Error::WrongCertificate(_))),
        "{refused:?}"
    );
    let heard = fake.heard.await.expect("ends");
    assert!(!heard.contains(SECRET), "{heard}");
}

#[tokio::test]
async fn control_with_the_key_that_has_taken_the_first_ones_place_hears_it() {
    let fake = fake(key(2), true, &[&list(&[rotation(1, 2)]), REGISTERED]).await;
    let registered = register(&fake.url).await.expect("registers");
    assert_eq!(registered.node.0, 7);
    let heard = fake.heard.await.expect("ends");
    assert!(heard.contains("GET /v1/keys"), "{heard}");
}

#[tokio::test]
async fn whoever_has_stolen_a_key_that_was_replaced_hears_no_auth_key() {
    let mut keys = Keyring::from(control().public());
    assert!(keys.follow(&rotation(1, 2)));
    for (signer, rotations) in [
        (key(1), vec![rotation(1, 2)]),
        (key(9), vec![rotation(1, 9)]),
        (key(9), vec![rotation(1, 2), rotation(1, 9), rotation(9, 2)]),
    ] {
        let fake = fake(signer, true, &[&list(&rotations)]).await;
        let refused = register_believing(keys.clone(), &fake.url).await;
        assert!(
            matches!(refused, Err(Error::WrongControlKey { .. })),
            "{refused:?}"
        );
        let heard = fake.heard.await.expect("ends");
        assert!(!heard.contains(SECRET), "{heard}");
    }
}

fn list(rotations: &[String]) -> String {
    let list = write_rotations(rotations).expect("writes");
    String::from_utf8(list).expect("is JSON")
}

#[tokio::test]
async fn control_hears_it_and_answers() {
    let fake = fake(control(), true, &[REGISTERED]).await;
    let registered = register(&fake.url).await.expect("registers");
    assert_eq!(registered.node.0, 7);
    let heard = fake.heard.await.expect("ends");
    assert!(
        heard.contains(SECRET) && heard.contains("meshd-signature: "),
        "{heard}"
    );
}

#[tokio::test]
async fn a_first_look_tells_the_key_and_sees_through_a_repeated_identity() {
    let honest = fake(control(), true, &[""]).await;
    assert_eq!(
        identify(&honest.url).await.expect("a key").0,
        control().public()
    );
    let repeated = fake(control(), false, &[""]).await;
    let refused = identify(&repeated.url).await;
    assert!(
        matches!(refused, Err(Error::WrongCertificate(_))),
        "{refused:?}"
    );
}
