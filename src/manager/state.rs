//! What the manager keeps of itself: its keys and its place in a mesh.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meshd_contract::identity::{NodeId, NodeName};
use meshd_contract::key::{PrivateKey, PublicKey, WireGuardKey};
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey as X25519PublicKey, StaticSecret};

use super::atomic;
use super::control::connection::Server;
use super::control_keys;
use super::error::Error;

/// The content of `state.json`, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The seed of the key that signs requests to control.
    pub node_key: Secret,
    /// The WireGuard key.
    pub wireguard_key: Secret,
    /// The control server's address.
    pub control: String,
    /// The key that it had when it was pinned.
    pub control_key: PublicKey,
    /// New keys that wait for a sign-in by the node's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<NewKeys>,
    /// The place in the mesh; none while a registration is not known to have succeeded.
    pub membership: Option<Membership>,
}

impl State {
    /// The control server with the keys that it has by now, by the rotations in the manager's
    /// `directory`.
    ///
    /// # Errors
    /// For an address that is none.
    pub fn server(&self, directory: &Path) -> Result<Server, Error> {
        Ok(Server {
            url: self.control.parse()?,
            keys: control_keys::load(directory, self.control_key),
        })
    }
}

/// Keys that are to take the place of those that a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKeys {
    /// The seed of the key that signs requests to control.
    pub node_key: Secret,
    /// The WireGuard key.
    pub wireguard_key: Secret,
}

impl NewKeys {
    /// New random ones.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate() -> Result<Self, Error> {
        Ok(Self {
            node_key: Secret::generate()?,
            wireguard_key: Secret::generate()?,
        })
    }
}

/// A node's place in a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The node's number.
    pub node: NodeId,
    /// Its name when it registered.
    pub name: NodeName,
    /// Whether the mesh is to be used: false after `mesh down`.
    pub up: bool,
}

/// 32 secret bytes; written as base64, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret([u8; 32]);

impl Secret {
    /// New random bytes.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// As the seed of a signing key.
    #[must_use]
    pub fn signing_key(&self) -> PrivateKey {
        PrivateKey::from_seed(&self.0)
    }

    /// As a private WireGuard key.
    #[must_use]
    pub fn wireguard_secret(&self) -> StaticSecret {
        StaticSecret::from(self.0)
    }

    /// The public half, as a WireGuard key.
    #[must_use]
    pub fn wireguard_public(&self) -> WireGuardKey {
        WireGuardKey(X25519PublicKey::from(&self.wireguard_secret()).to_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        STANDARD.encode(secret.0)
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text).map_err(|_| "a key is not base64")?;
        let bytes = bytes.try_into().map_err(|_| "a key is not 32 bytes long")?;
        Ok(Self(bytes))
    }
}

/// The file that holds the [`State`].
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file in this directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join("state.json"),
        }
    }

    /// Reads it; none where there is no file.
    ///
    /// # Errors
    /// [`Error::State`] for a file that cannot be read or understood.
    pub fn load(&self) -> Result<Option<State>, Error> {
        let unusable = |reason: String| Error::State {
            path: self.path.clone(),
            reason,
        };
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| unusable(describe(&error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Replaces it.
    ///
    /// # Errors
    /// [`Error::File`]; the old content is still there then.
    pub fn save(&self, state: &State) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(state)
            .map_err(|error| Error::file(&self.path, "written", error.into()))?;
        atomic::write(&self.path, &bytes, 0o600)
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(&self) -> Result<(), Error> {
        atomic::remove(&self.path)
    }
}

/// The place of the fault, but no content: serde's own words may quote a key.
fn describe(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            node_key: Secret::generate().expect("random bytes"),
            wireguard_key: Secret::generate().expect("random bytes"),
            control: "https://control:8443".to_owned(),
            control_key: PrivateKey::from_seed(&[1; 32]).public(),
            renewal: None,
            membership: None,
        }
    }

    #[test]
    fn a_state_survives_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::in_directory(directory.path());
        assert_eq!(file.load().expect("no file is no error"), None);
        let state = state();
        file.save(&state).expect("saves");
        assert_eq!(file.load().expect("loads"), Some(state));
    }

    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::in_directory(directory.path());
        let path = directory.path().join("state.json");
        fs::write(&path, r#"{"node_key": "c2VjcmV0"}"#).expect("writes");
        let message = file.load().expect_err("is refused").to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(!message.contains("c2VjcmV0"), "{message}");
        assert!(message.contains("mesh up"), "{message}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let state = state();
        let printed = format!("{state:?}");
        assert!(
            !printed.contains(&String::from(state.node_key)),
            "{printed}"
        );
    }

    #[test]
    fn the_public_half_is_the_one_that_wg_pubkey_prints() {
        let secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned();
        let secret = Secret::try_from(secret).expect("a key");
        let public = "w1iLzeOKki7EjIytfrqDFknexEC+TB07YioCZh0t8C0=";
        assert_eq!(secret.wireguard_public().to_string(), public);
    }
}
