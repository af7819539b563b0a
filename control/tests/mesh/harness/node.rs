//! A host that wants to be, or is, a node.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use meshd_contract::document::{Document, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::key::{PrivateKey, PublicKey, WireGuardKey};
use meshd_contract::node_api::{
    JoinAnswer, JoinRequest, JoinWait, NODE_HEADER, RegisterRequest, RegisterResponse, Renewal,
    Report, SIGNATURE_HEADER, TIME_HEADER, renewal_text, request_text,
};
use meshd_contract::signed::{Expected, open};
use meshd_contract::time::Timestamp;

use super::client::{self, Answer, Broken, Event, Events};

/// A host with its keys.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) key: PrivateKey,
    pub(crate) wireguard_key: WireGuardKey,
    pub(crate) id: Option<NodeId>,
    /// How far its clock is ahead, in seconds.
    pub(crate) clock_ahead: i64,
    last_time: u64,
}

impl Node {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            key: PrivateKey::from_seed(&random()),
            wireguard_key: WireGuardKey(random()),
            id: None,
            clock_ahead: 0,
            last_time: 0,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id.expect("is registered")
    }

    pub(crate) async fn register(&mut self, auth_key: &str, name: &str) -> Answer {
        let body = self.registration(auth_key, name);
        let answer = self.send("POST", "/v1/register", body).await;
        if answer.status == 200 {
            self.id = Some(answer.json::<RegisterResponse>().node);
        }
        answer
    }

    /// What this host says when it registers.
    pub(crate) fn registration(&self, auth_key: &str, name: &str) -> Vec<u8> {
        let registration = RegisterRequest {
            auth_key: auth_key.to_owned(),
            node_key: self.key.public(),
            wireguard_key: self.wireguard_key,
            name: name.parse().expect("a name"),
        };
        serde_json::to_vec(&registration).expect("JSON")
    }

    /// Asks a person to let this host in.
    pub(crate) async fn ask_to_join(&mut self, name: &str, tags: &[&str]) -> Answer {
        let body = self.join_request(name, tags, None);
        self.send("POST", "/v1/join", body).await
    }

    /// What this host says when it asks a person, who may renew it.
    pub(crate) fn join_request(
        &self,
        name: &str,
        tags: &[&str],
        renews: Option<Renewal>,
    ) -> Vec<u8> {
        let request = JoinRequest {
            node_key: self.key.public(),
            wireguard_key: self.wireguard_key,
            name: name.parse().expect("a name"),
            tags: tags.iter().map(ToString::to_string).collect(),
            release: "1.2.3".to_owned(),
            nonce: 1,
            renews,
        };
        serde_json::to_vec(&request).expect("JSON")
    }

    /// This node's word that the host with these keys is itself.
    pub(crate) fn renewal(&self, new: &Self) -> Renewal {
        let text = renewal_text(self.id(), &new.key.public(), &new.wireguard_key);
        Renewal {
            node: self.id(),
            signature: STANDARD.encode(self.key.sign(&text)),
        }
    }

    /// The path of the page where a person lets this host in.
    pub(crate) async fn page_to_join(&mut self, name: &str, tags: &[&str]) -> String {
        let answer = self.ask_to_join(name, tags).await;
        page(&answer)
    }

    /// Waits once for the person.
    pub(crate) async fn wait_to_join(&mut self) -> Answer {
        let answer = self.about_join("/v1/join/wait").await;
        if answer.status == 200
            && let JoinAnswer::Joined(registered) = answer.json()
        {
            self.id = Some(registered.node);
        }
        answer
    }

    /// Says something about the request to join.
    pub(crate) async fn about_join(&mut self, path: &str) -> Answer {
        let body = serde_json::to_vec(&JoinWait {
            node_key: self.key.public(),
        });
        self.send("POST", path, body.expect("JSON")).await
    }

    pub(crate) async fn report(&mut self, report: &Report) -> Answer {
        let body = serde_json::to_vec(report).expect("JSON");
        self.send("POST", "/v1/report", body).await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let request = self.request(method, path, body);
        client::send(self.address, request).await
    }

    /// Opens the stream, resuming after `last`.
    pub(crate) async fn documents(&mut self, last: Option<&str>) -> Result<Events, Answer> {
        let opened = self.attempt_documents(last).await;
        opened.expect("an answer")
    }

    /// The same at a server that may be killed meanwhile.
    pub(crate) async fn attempt_documents(
        &mut self,
        last: Option<&str>,
    ) -> Result<Result<Events, Answer>, Broken> {
        let mut request = self.request("GET", "/v1/documents", Vec::new());
        if let Some(last) = last {
            let last = last.parse().expect("a header");
            request.headers_mut().insert("last-event-id", last);
        }
        client::open(self.address, request).await
    }

    /// The stream from the beginning, which must open.
    pub(crate) async fn follow(&mut self) -> Events {
        let opened = self.documents(None).await;
        opened.unwrap_or_else(|answer| panic!("{}", answer.text()))
    }

    /// A signed request; no two have the same time.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Request<Full<Bytes>> {
        let clock = now().saturating_add_signed(self.clock_ahead);
        self.last_time = clock.max(self.last_time + 1);
        let time = Timestamp(self.last_time);
        let text = request_text(method, path, self.id, time, &body);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "control")
            .header(TIME_HEADER, time.to_string())
            .header(SIGNATURE_HEADER, STANDARD.encode(self.key.sign(&text)));
        if let Some(node) = self.id {
            request = request.header(NODE_HEADER, node.to_string());
        }
        request.body(Full::from(body)).expect("a request")
    }

    /// Opens an event's document as this node does.
    pub(crate) fn open<D: Document>(&self, event: &Event, control: &PublicKey) -> D {
        assert_eq!(event.kind, D::KIND);
        let expected = Expected {
            node: self.id(),
            now: Timestamp(now()),
            at_least: Version(1),
        };
        open(event.data.as_bytes(), control, &expected).expect("a document that counts")
    }
}

/// The path of the page that a host was told of.
pub(crate) fn page(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    match answer.json() {
        JoinAnswer::Asked(page) => {
            let path = page.url.strip_prefix(super::ORIGIN);
            path.expect("an address of this control").to_owned()
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}
