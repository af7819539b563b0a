//! One HTTPS connection to a control server that has proved who it is.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use meshd_contract::identity::NodeId;
use meshd_contract::key::{PrivateKey, PublicKey};
use meshd_contract::keyring::{Keyring, read_rotations};
use meshd_contract::node_api::{
    Identity, NODE_HEADER, Problem, SIGNATURE_HEADER, TIME_HEADER, request_text,
};
use meshd_contract::signed;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::clock;
use super::tls;
use super::url::ControlUrl;
use crate::manager::error::Error;

/// How long control may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer other than a stream, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A control server and the key that it must have, or have handed its place over from.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub url: ControlUrl,
    /// Its key; those before it count for documents only.
    pub keys: Keyring,
}

/// What a node signs its requests with.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Its key.
    pub key: PrivateKey,
    /// Its number; none while it registers.
    pub node: Option<NodeId>,
}

/// A connection to a [`Server`] after it has proved that it has its key.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    url: ControlUrl,
    followed: Vec<String>,
}

/// The key that a control server proves to have, whichever it is, and the rotations that it tells
/// of, none of them verified.
///
/// # Errors
/// [`Error`] where there is no control server.
pub async fn identify(url: &ControlUrl) -> Result<(PublicKey, Vec<String>), Error> {
    let (mut connection, certificate) = Connection::connect(url).await?;
    let text = connection.identity_text().await?;
    let claimed = claimed_key(&text).ok_or_else(|| connection.answer_error("no identity"))?;
    connection.check_identity(&text, &claimed, &certificate)?;
    Ok((claimed, connection.rotations().await?))
}

/// What a text says of its own signer; worth nothing until it is verified with that key.
fn claimed_key(text: &[u8]) -> Option<PublicKey> {
    let body = text.splitn(3, |byte| *byte == b'\n').nth(2)?;
    let identity: Identity = serde_json::from_slice(body).ok()?;
    Some(identity.control_key)
}

impl Connection {
    /// Connects, and insists on the server's key before anything else is said.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::WrongControlKey`] or [`Error::WrongCertificate`].
    pub async fn open(server: &Server) -> Result<Self, Error> {
        let (mut connection, certificate) = Self::connect(&server.url).await?;
        let text = connection.identity_text().await?;
        let mut keys = server.keys.clone();
        if signed::verified_body(Identity::KIND, &text, keys.current()).is_err() {
            connection.followed = keys.follow_all(connection.rotations().await?);
        }
        connection.check_identity(&text, keys.current(), &certificate)?;
        Ok(connection)
    }

    /// The rotations that have led from the key that was expected to the one that the server has.
    #[must_use]
    pub fn followed(&self) -> &[String] {
        &self.followed
    }

    /// Sends a signed request with a JSON body and reads the JSON answer.
    ///
    /// # Errors
    /// [`Error`], with control's own sentence where it refuses.
    pub async fn post<B: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        credentials: &Credentials,
        body: &B,
    ) -> Result<A, Error> {
        let answer = self.post_bytes(path, credentials, body).await?;
        serde_json::from_slice(&answer).map_err(|error| self.answer_error(&error.to_string()))
    }

    /// The same for a request whose answer is empty.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn post_for_nothing<B: Serialize>(
        &mut self,
        path: &str,
        credentials: &Credentials,
        body: &B,
    ) -> Result<(), Error> {
        self.post_bytes(path, credentials, body).await.map(drop)
    }

    /// Sends a signed request whose answer is a stream, and returns the stream.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_stream(
        &mut self,
        path: &str,
        credentials: &Credentials,
        headers: &[(&'static str, String)],
    ) -> Result<Response<Incoming>, Error> {
        let mut request = self.signed(Method::GET, path, credentials, Vec::new())?;
        for (name, value) in headers {
            let value = value.parse().map_err(|_| self.answer_error("no header"))?;
            request.headers_mut().insert(*name, value);
        }
        let response = self.send(request).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn connect(url: &ControlUrl) -> Result<(Self, String), Error> {
        let unreachable = |reason: String| Error::Unreachable {
            url: url.to_string(),
            reason,
        };
        let opened = timeout(DEADLINE, connect_tls(url)).await;
        let stream = opened
            .map_err(|_| unreachable(format!("no answer within {} s", DEADLINE.as_secs())))?
            .map_err(unreachable)?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().map(tls::certificate_hash);
        let certificate = certificate.ok_or_else(|| Error::WrongCertificate(url.to_string()))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        tokio::spawn(async move {
            // Its end is seen by whoever waits for an answer.
            let _ = driver.await;
        });
        let connection = Self {
            sender,
            url: url.clone(),
            followed: Vec::new(),
        };
        Ok((connection, certificate))
    }

    /// What the server tells of the rotations of its key; nothing if it knows of no such thing.
    async fn rotations(&mut self) -> Result<Vec<String>, Error> {
        let request = self.request(Method::GET, "/v1/keys", Vec::new())?;
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK => {
                let list = self.read(response).await?;
                Ok(read_rotations(&list).unwrap_or_default())
            }
            StatusCode::NOT_FOUND => {
                self.read(response).await?;
                Ok(Vec::new())
            }
            _ => Err(self.refusal(response).await),
        }
    }

    async fn identity_text(&mut self) -> Result<Bytes, Error> {
        let request = self.request(Method::GET, "/v1/identity", Vec::new())?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        self.read(response).await
    }

    fn check_identity(&self, text: &[u8], key: &PublicKey, certificate: &str) -> Result<(), Error> {
        let wrong_key = || Error::WrongControlKey {
            url: self.url.to_string(),
            expected: key.fingerprint(),
        };
        let body = signed::verified_body(Identity::KIND, text, key).map_err(|_| wrong_key())?;
        let identity: Identity =
            serde_json::from_slice(body).map_err(|error| self.answer_error(&error.to_string()))?;
        if identity.control_key != *key {
            return Err(wrong_key());
        }
        let listed = identity
            .tls_certificates
            .iter()
            .any(|hash| hash == certificate);
        if listed {
            Ok(())
        } else {
            Err(Error::WrongCertificate(self.url.to_string()))
        }
    }

    async fn post_bytes<B: Serialize>(
        &mut self,
        path: &str,
        credentials: &Credentials,
        body: &B,
    ) -> Result<Bytes, Error> {
        let body =
            serde_json::to_vec(body).map_err(|error| self.answer_error(&error.to_string()))?;
        let request = self.signed(Method::POST, path, credentials, body)?;
        let response = self.send(request).await?;
        if response.status().is_success() {
            return self.read(response).await;
        }
        Err(self.refusal(response).await)
    }

    fn signed(
        &self,
        method: Method,
        path: &str,
        credentials: &Credentials,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let time = clock::now();
        let text = request_text(method.as_str(), path, credentials.node, time, &body);
        let signature = STANDARD.encode(credentials.key.sign(&text));
        let mut request = self.request(method, path, body)?;
        let mut add = |name: &'static str, value: String| {
            if let Ok(value) = value.parse() {
                request.headers_mut().insert(name, value);
            }
        };
        if let Some(node) = credentials.node {
            add(NODE_HEADER, node.to_string());
        }
        add(TIME_HEADER, time.to_string());
        add(SIGNATURE_HEADER, signature);
        Ok(request)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.url.authority())
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.answer_error(&error.to_string()))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let answered = timeout(DEADLINE, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        });
        match answered.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, Error> {
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
        match timeout(DEADLINE, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.answer_error(&error.to_string())),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        let detail = serde_json::from_slice::<Problem>(&body).map_or_else(
            |_| format!("the control server at {} answered {status}", self.url),
            |problem| printable(&problem.detail),
        );
        Error::Problem {
            status: status.as_u16(),
            detail,
        }
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable {
            url: self.url.to_string(),
            reason: reason.to_owned(),
        }
    }

    fn answer_error(&self, reason: &str) -> Error {
        Error::Answer {
            url: self.url.to_string(),
            reason: reason.to_owned(),
        }
    }
}

async fn connect_tls(url: &ControlUrl) -> Result<TlsStream<TcpStream>, String> {
    let tcp = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| error.to_string())?;
    // Requests are single small writes that should not wait for more.
    let _ = tcp.set_nodelay(true);
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| error.to_string())?;
    let connector = tls::connector().map_err(|error| error.to_string())?;
    let stream = connector.connect(name, tcp).await;
    stream.map_err(|error| format!("no TLS: {error}"))
}

/// A sentence from the network ends on a terminal and in a log.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(key: &PrivateKey) -> String {
        let identity = Identity {
            control_key: key.public(),
            tls_certificates: vec!["00".to_owned()],
            release: "1".to_owned(),
        };
        let body = serde_json::to_string(&identity).expect("is written");
        signed::seal_text(Identity::KIND, &body, key)
    }

    #[test]
    fn the_claimed_key_is_the_one_in_the_text() {
        let key = PrivateKey::from_seed(&[1; 32]);
        assert_eq!(claimed_key(identity(&key).as_bytes()), Some(key.public()));
        assert_eq!(claimed_key(b"meshd-signed 1 identity\n"), None);
    }

    #[test]
    fn sentences_from_the_network_hold_no_control_characters() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a[2Jb");
        assert_eq!(printable(&"a".repeat(1000)).len(), 500);
    }
}
