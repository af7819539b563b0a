//! The host's SSH keys: the system's own where there are any, so that a name that moved from sshd
//! to meshd raises no warning, else one made once.

use std::io;
use std::path::{Path, PathBuf};

use meshd_contract::paths;
use signature::Signer;
use ssh_key::private::KeypairData;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey, Signature};
use thiserror::Error;

use crate::state_file;

/// Where the system's keys are.
pub const SYSTEM_DIRECTORY: &str = "/etc/ssh";

/// The system's keys that are served, in the order of preference; RSA is not.
const SYSTEM_KEYS: [&str; 2] = [
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ecdsa_key",
];

const MAX_KEY_FILE: usize = 16 << 10;

/// Why there is no host key to serve with.
#[derive(Debug, Error)]
pub enum HostKeyError {
    /// A file cannot be read or written.
    #[error("cannot use the host key {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file's content is no key of OpenSSH, or has a passphrase.
    #[error("cannot use the host key {path}: {source}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: ssh_key::Error,
    },
    /// The signature could not be made.
    #[error("cannot sign with the host key: {0}")]
    Sign(ssh_key::Error),
}

/// Private host keys. Only this process has them; the session process asks for signatures.
#[derive(Debug)]
pub struct HostKeys(Vec<PrivateKey>);

impl HostKeys {
    /// None at all: the session process tells the client so.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads the system's keys, or the broker's own where the system has none.
    ///
    /// # Errors
    /// [`HostKeyError`]: a key that is there but not usable is an error, since to serve another
    /// one would look like an attack to every client.
    pub fn load() -> Result<Self, HostKeyError> {
        let system: Vec<PrivateKey> = SYSTEM_KEYS
            .iter()
            .filter(|path| Path::new(path).exists())
            .map(|path| read(path.as_ref()))
            .collect::<Result<_, _>>()?;
        let served: Vec<PrivateKey> = system.into_iter().filter(is_served).collect();
        if served.is_empty() {
            Ok(Self(vec![read(&own_key())?]))
        } else {
            Ok(Self(served))
        }
    }

    /// Like [`HostKeys::load`], and makes the broker's own key if no key is there at all.
    ///
    /// # Errors
    /// [`HostKeyError`].
    pub fn load_or_make() -> Result<Self, HostKeyError> {
        let path = own_key();
        let none = !path.exists() && !SYSTEM_KEYS.iter().any(|path| Path::new(path).exists());
        if none {
            make(&path)?;
        }
        Self::load()
    }

    /// Those that the listener has published, as clients expect no other.
    ///
    /// # Errors
    /// As [`HostKeys::load`].
    pub fn load_published() -> Result<Self, HostKeyError> {
        let published = std::fs::read_to_string(paths::HOST_KEYS).unwrap_or_default();
        let mut found = Self::load()?.0;
        if own_key().exists() {
            found.push(read(&own_key())?);
        }
        let (mut known, mut lines) = (Vec::new(), Vec::new());
        for key in found {
            let line = public_line(&key)?;
            if published.lines().any(|published| published == line) && !lines.contains(&line) {
                known.push(key);
                lines.push(line);
            }
        }
        if known.is_empty() {
            return Self::load();
        }
        Ok(Self(known))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The public halves as SSH encodes them (RFC 4253, section 6.6).
    ///
    /// # Errors
    /// [`HostKeyError::Sign`], never for a key that could be read.
    pub fn public_blobs(&self) -> Result<Vec<Vec<u8>>, HostKeyError> {
        let blobs = self.0.iter().map(|key| key.public_key().to_bytes());
        blobs.collect::<Result<_, _>>().map_err(HostKeyError::Sign)
    }

    /// The public halves in the form of `ssh_host_*_key.pub`, one a line, without comments.
    ///
    /// # Errors
    /// [`HostKeyError::Sign`], never for a key that could be read.
    pub fn public_lines(&self) -> Result<String, HostKeyError> {
        let mut lines = String::new();
        for key in &self.0 {
            lines.push_str(&public_line(key)?);
            lines.push('\n');
        }
        Ok(lines)
    }

    /// Signs an exchange hash; the signature's blob as SSH sends it.
    ///
    /// # Errors
    /// [`HostKeyError::Sign`] when there is no such key.
    pub fn sign(&self, key: usize, hash: &[u8]) -> Result<Vec<u8>, HostKeyError> {
        let key = self
            .0
            .get(key)
            .ok_or(HostKeyError::Sign(ssh_key::Error::PublicKey))?;
        let signature: Signature = key
            .try_sign(hash)
            .map_err(|_| HostKeyError::Sign(ssh_key::Error::Crypto))?;
        Vec::<u8>::try_from(signature).map_err(HostKeyError::Sign)
    }
}

fn public_line(key: &PrivateKey) -> Result<String, HostKeyError> {
    let mut public = key.public_key().clone();
    public.set_comment("");
    let line = public.to_openssh().map_err(HostKeyError::Sign)?;
    Ok(line.trim_end().to_owned())
}

fn is_served(key: &PrivateKey) -> bool {
    let p256 = Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    };
    key.algorithm() == Algorithm::Ed25519 || key.algorithm() == p256
}

fn own_key() -> PathBuf {
    Path::new(paths::BROKER_STATE).join("ssh_host_ed25519_key")
}

fn read(path: &Path) -> Result<PrivateKey, HostKeyError> {
    let shown = || path.display().to_string();
    let text = state_file::read_roots(path, MAX_KEY_FILE).map_err(|source| HostKeyError::File {
        path: shown(),
        source,
    })?;
    let key = PrivateKey::from_openssh(text).map_err(|source| HostKeyError::Key {
        path: shown(),
        source,
    })?;
    if matches!(key.key_data(), KeypairData::Encrypted(_)) {
        return Err(HostKeyError::Key {
            path: shown(),
            source: ssh_key::Error::Encrypted,
        });
    }
    Ok(key)
}

fn make(path: &Path) -> Result<(), HostKeyError> {
    let shown = path.display().to_string();
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
        .and_then(|key| key.to_openssh(LineEnding::LF));
    let text = key.map_err(|source| HostKeyError::Key {
        path: shown.clone(),
        source,
    })?;
    state_file::replace(path, text.as_bytes(), 0o600).map_err(|source| HostKeyError::File {
        path: shown,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_read_again_and_signs() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        make(&path).expect("makes");
        let keys = HostKeys(vec![read(&path).expect("reads")]);
        let blob = keys.sign(0, &[7; 32]).expect("signs");
        assert_eq!(&blob[4..15], b"ssh-ed25519");
        assert_eq!(blob.len(), 4 + 11 + 4 + 64);
        assert!(keys.sign(1, &[7; 32]).is_err());
        assert!(
            keys.public_lines()
                .expect("lines")
                .starts_with("ssh-ed25519 AAAA")
        );
    }

    #[test]
    fn a_key_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        make(&path).expect("makes");
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o622);
        std::fs::set_permissions(&path, open).expect("changes");
        assert!(matches!(read(&path), Err(HostKeyError::File { .. })));
    }
}
