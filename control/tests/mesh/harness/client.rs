//! HTTPS requests and event streams, each on a connection of its own.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use meshd_contract::node_api::Problem;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The server's certificate, DER.
    pub(crate) certificate: Vec<u8>,
}

impl Answer {
    /// The only header of this name; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values
            .next()
            .map_or("", |value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("JSON of this kind")
    }

    /// The problem's kind without its prefix, and its sentence.
    pub(crate) fn problem(&self) -> (String, String) {
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status);
        let kind = problem.kind.strip_prefix("urn:meshd:problem:");
        (kind.expect("a URN").to_owned(), problem.detail)
    }
}

/// Why there is no answer.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    attempt(address, request).await.expect("an answer")
}

/// The same, to a server that may be killed meanwhile.
pub(crate) async fn attempt(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Broken> {
    let (response, certificate) = timeout(PATIENCE, exchange(address, request)).await??;
    answer(response, certificate).await
}

/// A stream of server-sent events.
pub(crate) struct Events {
    body: Incoming,
    unread: String,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

/// Opens a stream, or reads the answer that says why not, at a server that may be killed meanwhile.
pub(crate) async fn open(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Result<Events, Answer>, Broken> {
    let (response, certificate) = timeout(PATIENCE, exchange(address, request)).await??;
    if response.status() == 200 {
        return Ok(Ok(Events {
            body: response.into_body(),
            unread: String::new(),
        }));
    }
    Ok(Err(answer(response, certificate).await?))
}

impl Events {
    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let event = parse(event);
                self.unread = rest.to_owned();
                if let Some(event) = event {
                    return Some(event);
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("an event in time")?;
            let data = frame.ok()?.into_data().expect("data");
            self.unread += std::str::from_utf8(&data).expect("UTF-8");
        }
    }
}

fn parse(text: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut data = Vec::new();
    for line in text.lines() {
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        match field {
            "event" => event.kind = value.to_owned(),
            "id" => event.id = value.to_owned(),
            "data" => data.push(value),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (!data.is_empty()).then_some(event)
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Vec<u8>), Broken> {
    let mut connection = Connection::open(address).await?;
    let response = connection.sender.send_request(request).await?;
    Ok((response, connection.certificate))
}

/// A connection whose bytes are the test's own.
pub(crate) async fn connect(address: SocketAddr) -> Result<TlsStream<TcpStream>, Broken> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    Ok(CONNECTOR.connect(name, stream).await?)
}

/// A connection for one request after the other.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    certificate: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Broken> {
        let stream = connect(address).await?;
        let certificate = stream.get_ref().1.peer_certificates().ok_or("no chain")?[0].to_vec();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            certificate,
        })
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Broken> {
        let response = timeout(PATIENCE, self.sender.send_request(request)).await??;
        answer(response, self.certificate.clone()).await
    }
}

async fn answer(response: Response<Incoming>, certificate: Vec<u8>) -> Result<Answer, Broken> {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = timeout(PATIENCE, response.into_body().collect()).await??;
    Ok(Answer {
        status,
        headers,
        body: body.to_bytes(),
        certificate,
    })
}

/// No session is resumed: each connection may be that of another node.
static CONNECTOR: LazyLock<TlsConnector> = LazyLock::new(|| {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
});

/// Believes every certificate, as a node does that compares its hash afterwards.
#[derive(Debug)]
struct AnyName(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
