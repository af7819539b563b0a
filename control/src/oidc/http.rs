//! Requests to the provider: HTTPS, bounded, and no redirect is followed.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use openidconnect::url::{Host, Url};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Where Debian and Red Hat keep the certificate authorities that their administrators believe.
const SYSTEM_AUTHORITIES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Why a request has no answer.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// Somebody else could read or change it on the way.
    #[error("{0} is no https address")]
    Unsafe(String),
    /// No certificate authority is known.
    #[error(
        "cannot read certificate authorities from {}; install the package ca-certificates, or \
         name a file with --oidc-ca",
        .0.display()
    )]
    NoAuthorities(PathBuf),
    /// TLS cannot be spoken at all.
    #[error("cannot prepare TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The connection.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Whom.
        host: String,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("{0} did not answer in time")]
    Late(String),
}

/// A client.
#[derive(Clone)]
pub(crate) struct Http {
    connector: TlsConnector,
}

/// Whether nobody else can read what goes to this address: it is https, or this very host, as in
/// a trial.
pub(super) fn is_safe(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_here)
}

impl Http {
    /// A client for a provider on this very host, which speaks no TLS.
    ///
    /// # Errors
    /// [`HttpError::Tls`].
    pub(super) fn without_authorities() -> Result<Self, HttpError> {
        Self::believing(RootCertStore::empty())
    }

    /// A client that believes the authorities in `file`, or the system's.
    ///
    /// # Errors
    /// [`HttpError::NoAuthorities`].
    pub(super) fn new(file: Option<&Path>) -> Result<Self, HttpError> {
        let system = SYSTEM_AUTHORITIES.map(Path::new);
        let found = system.into_iter().find(|path| path.exists());
        let path = file.or(found).unwrap_or(system[0]);
        let unreadable = || HttpError::NoAuthorities(path.to_owned());
        let authorities = CertificateDer::pem_file_iter(path).map_err(|_| unreadable())?;
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(authorities.filter_map(Result::ok));
        if taken == 0 {
            return Err(unreadable());
        }
        Self::believing(roots)
    }

    fn believing(roots: RootCertStore) -> Result<Self, HttpError> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Sends one request on a connection of its own.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let text = request.uri().to_string();
        let url = Url::parse(&text).map_err(|_| HttpError::Unsafe(text.clone()))?;
        if !is_safe(&url) {
            return Err(HttpError::Unsafe(text));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let exchanged = timeout(PATIENCE, self.exchange(&url, request)).await;
        exchanged
            .map_err(|_| HttpError::Late(host.clone()))?
            .map_err(|error| HttpError::Unreachable {
                host,
                reason: error.to_string(),
            })
    }

    async fn exchange(&self, url: &Url, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or(443);
        let stream = TcpStream::connect((host, port)).await?;
        if url.scheme() == "http" {
            return talk(stream, url, request).await;
        }
        let name = ServerName::try_from(host.to_owned())?;
        let stream = self.connector.connect(name, stream).await?;
        talk(stream, url, request).await
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    request: HttpRequest,
) -> anyhow::Result<HttpResponse> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    parts.uri = path.parse()?;
    let authority =
        &url[openidconnect::url::Position::BeforeHost..openidconnect::url::Position::AfterPort];
    parts
        .headers
        .insert(HOST, HeaderValue::from_str(authority)?);
    let request = hyper::Request::from_parts(parts, Full::new(Bytes::from(body)));
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_BYTES).collect().await;
    driver.abort();
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    Ok(HttpResponse::from_parts(parts, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_very_host_is_spoken_to_without_tls() {
        let safe = |text: &str| is_safe(&Url::parse(text).expect("a URL"));
        for text in [
            "https://id.example.com",
            "http://127.0.0.1:1",
            "http://[::1]/x",
        ] {
            assert!(safe(text), "{text}");
        }
        for text in [
            "http://id.example.com",
            "http://localhost",
            "ftp://127.0.0.1",
        ] {
            assert!(!safe(text), "{text}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "nothing").expect("writes");
        assert!(matches!(
            Http::new(Some(&path)),
            Err(HttpError::NoAuthorities(_))
        ));
    }
}
