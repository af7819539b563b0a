//! The certificate that control serves with: one it made for itself, or one from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::state_dir::{StateDir, StateError, read_secret, write_secret};

/// What is needed to serve TLS, and the certificate's hash for control's signed identity.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Makes TLS connections of TCP connections.
    pub(crate) acceptor: TlsAcceptor,
    /// SHA-256 of the server's certificate (DER), lower-case hex.
    pub(crate) certificate_hash: String,
}

/// Why TLS cannot be served.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// Control's own directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file that is not readable, or not PEM.
    #[error("cannot read {} as PEM: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// No certificate in the file.
    #[error("{} holds no certificate; give a PEM file with the certificate first", .0.display())]
    NoCertificate(PathBuf),
    /// The two do not fit together, or the key is of a kind that TLS does not know.
    #[error("this certificate and key cannot serve TLS: {0}")]
    Unusable(#[from] rustls::Error),
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

impl Tls {
    /// Reads the certificate chain and its key from PEM files.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be read or do not fit together.
    pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| TlsError::Pem { path, error }
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed(certificate))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
        let first = chain
            .first()
            .ok_or_else(|| TlsError::NoCertificate(certificate.to_owned()))?;
        let certificate_hash = hex(&Sha256::digest(first));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_no_client_auth()
                .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate_hash,
        })
    }

    /// The certificate that control made for itself at its first start.
    ///
    /// Nodes believe it because its hash stands in control's signed identity, so that neither its
    /// names nor its dates matter.
    ///
    /// # Errors
    /// [`TlsError`] when it can neither be read nor made.
    pub(crate) fn own(state: &StateDir) -> Result<Self, TlsError> {
        let (certificate, key) = state.own_certificate();
        // The certificate is written last: with it, both are there.
        if !certificate.exists() {
            let made = rcgen::generate_simple_self_signed(names())?;
            write_secret(&key, made.signing_key.serialize_pem().as_bytes())?;
            write_secret(&certificate, made.cert.pem().as_bytes())?;
        }
        read_secret(&key)?;
        Self::from_files(&certificate, &key)
    }
}

fn names() -> Vec<String> {
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|name| name.into_string().ok());
    let is_dns = |name: &String| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    let mut names = vec!["localhost".to_owned()];
    names.extend(host.filter(is_dns));
    names
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_certificate_stays_the_same() {
        let base = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(base.path()).expect("opens");
        let first = Tls::own(&state).expect("makes one").certificate_hash;
        let second = Tls::own(&state).expect("reads it").certificate_hash;
        assert_eq!(first, second);
        assert_eq!(first.len(), 64);
    }

    #[test]
    fn a_certificate_needs_its_own_key() {
        let base = tempfile::tempdir().expect("a directory");
        let path = |name: &str| base.path().join(name);
        for n in ["1", "2"] {
            let made = rcgen::generate_simple_self_signed(names()).expect("makes one");
            write_secret(&path(&format!("{n}.crt")), made.cert.pem().as_bytes()).expect("writes");
            let key = made.signing_key.serialize_pem();
            write_secret(&path(&format!("{n}.key")), key.as_bytes()).expect("writes");
        }
        assert!(Tls::from_files(&path("1.crt"), &path("1.key")).is_ok());
        let crossed = Tls::from_files(&path("1.crt"), &path("2.key"));
        assert!(matches!(crossed.err(), Some(TlsError::Unusable(_))));
        let swapped = Tls::from_files(&path("1.key"), &path("1.crt"));
        assert!(swapped.is_err());
    }
}
