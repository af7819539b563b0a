//! The newest documents of this node: verified, kept on disk, and never replaced by older ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use meshd_contract::document::{Document, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::key::PublicKey;
use meshd_contract::keyring::{KeyRotation, Keyring};
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::paths;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed::{self, Expected, SignedError};
use meshd_contract::time::Timestamp;

use super::atomic;
use super::control::clock;
use super::control::stream::Versions;
use super::control_keys;
use super::error::Error;

/// The documents in a directory.
#[derive(Debug)]
pub struct Documents {
    directory: PathBuf,
    peers_path: PathBuf,
    network_path: PathBuf,
    pinned: PublicKey,
    keys: Keyring,
    node: NodeId,
    peers: Option<Version>,
    network: Option<NetworkDocument>,
}

/// What a new document changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it is not newer than what is there, or of a kind that this release does not know.
    None,
    /// There is a newer peer document.
    Peers,
    /// There is a newer network document.
    Network,
    /// Control signs with another key.
    Keys,
}

impl Documents {
    /// Reads what an earlier run left; what cannot be believed is as good as absent.
    #[must_use]
    pub fn load(directory: &Path, pinned: PublicKey, node: NodeId) -> Self {
        let (peers_path, network_path) = document_paths(directory);
        let mut documents = Self {
            directory: directory.to_owned(),
            peers_path,
            network_path,
            pinned,
            keys: control_keys::load(directory, pinned),
            node,
            peers: None,
            network: None,
        };
        documents.peers = documents
            .read::<PeerDocument>(&documents.peers_path)
            .map(|document| document.header.version);
        documents.network = documents.read(&documents.network_path);
        documents
    }

    /// Removes the files, as a node with a new number must.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn clear(directory: &Path) -> Result<(), Error> {
        let (peers, network) = document_paths(directory);
        atomic::remove(&peers)?;
        atomic::remove(&network)
    }

    /// The network document, expired or not.
    #[must_use]
    pub fn network(&self) -> Option<&NetworkDocument> {
        self.network.as_ref()
    }

    /// The versions that are there.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            peers: self.peers,
            network: self.network.as_ref().map(|network| network.header.version),
        }
    }

    /// Whether both documents are there.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.peers.is_some() && self.network.is_some()
    }

    /// Verifies a document that control sent and keeps it if it is newer.
    ///
    /// # Errors
    /// [`Error::Document`] for one that is not believed; [`Error::File`].
    pub fn take(&mut self, kind: &str, text: &str, now: Timestamp) -> Result<Change, Error> {
        match kind {
            PeerDocument::KIND => {
                let document: PeerDocument = self.open(text.as_bytes(), self.peers, now)?;
                if Some(document.header.version) == self.peers {
                    return Ok(Change::None);
                }
                atomic::write(&self.peers_path, text.as_bytes(), 0o644)?;
                self.peers = Some(document.header.version);
                Ok(Change::Peers)
            }
            NetworkDocument::KIND => {
                let seen = self.versions().network;
                let document: NetworkDocument = self.open(text.as_bytes(), seen, now)?;
                if Some(document.header.version) == seen {
                    return Ok(Change::None);
                }
                atomic::write(&self.network_path, text.as_bytes(), 0o644)?;
                self.network = Some(document);
                Ok(Change::Network)
            }
            KeyRotation::KIND => {
                let rotations = vec![text.to_owned()];
                if !control_keys::keep(&self.directory, self.pinned, rotations)? {
                    return Ok(Change::None);
                }
                self.keys = control_keys::load(&self.directory, self.pinned);
                Ok(Change::Keys)
            }
            other => {
                tracing::debug!(kind = other, "a kind of document that this release ignores");
                Ok(Change::None)
            }
        }
    }

    fn open<D: Document>(
        &self,
        text: &[u8],
        seen: Option<Version>,
        now: Timestamp,
    ) -> Result<D, SignedError> {
        let expected = Expected {
            node: self.node,
            now,
            at_least: seen.unwrap_or(Version(0)),
        };
        signed::open(text, self.keys.at(now), &expected)
    }

    /// An expired document still tells the version below which nothing counts.
    fn read<D: Document>(&self, path: &Path) -> Option<D> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "a document cannot be read");
                }
                return None;
            }
        };
        let at_any_time = Expected {
            node: self.node,
            now: Timestamp(0),
            at_least: Version(0),
        };
        signed::open(&text, self.keys.at(clock::now()), &at_any_time)
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "a stored document is ignored");
            })
            .ok()
    }
}

fn document_paths(directory: &Path) -> (PathBuf, PathBuf) {
    let beside = |path: &str| {
        let name = Path::new(path).file_name().unwrap_or_default();
        directory.join(name)
    };
    (
        beside(paths::PEER_DOCUMENT),
        beside(paths::NETWORK_DOCUMENT),
    )
}

#[cfg(test)]
mod tests {
    use meshd_contract::document::Header;
    use meshd_contract::identity::Owner;
    use meshd_contract::key::PrivateKey;

    use super::*;
    use crate::manager::names::tests::addresses;

    const NOW: Timestamp = Timestamp(100);

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[1; 32])
    }

    fn header(version: u64) -> Header {
        Header {
            node: NodeId(1),
            version: Version(version),
            issued_at: Timestamp(50),
            expires_at: Timestamp(200),
        }
    }

    fn network(version: u64) -> String {
        network_by(&key(), version)
    }

    fn network_by(signer: &PrivateKey, version: u64) -> String {
        let document = NetworkDocument {
            header: header(version),
            domain: "mesh.internal".to_owned(),
            name: "web1".parse().expect("a name"),
            addresses: addresses(1),
            owner: Owner::User("a@example.com".to_owned()),
            peers: Vec::new(),
            filter: Vec::new(),
            key_expires_at: None,
        };
        signed::seal(&document, signer).expect("signs")
    }

    fn peers(version: u64) -> String {
        let document = PeerDocument {
            header: header(version),
            name: "web1".parse().expect("a name"),
            addresses: addresses(1),
            peers: Vec::new(),
            rules: Vec::new(),
        };
        signed::seal(&document, &key()).expect("signs")
    }

    fn load(directory: &Path) -> Documents {
        Documents::load(directory, key().public(), NodeId(1))
    }

    #[test]
    fn documents_outlive_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut documents = load(directory.path());
        assert_eq!(
            documents.take("peers", &peers(3), NOW).ok(),
            Some(Change::Peers)
        );
        assert!(!documents.are_complete());
        assert_eq!(
            documents.take("network", &network(4), NOW).ok(),
            Some(Change::Network)
        );
        let again = load(directory.path());
        assert!(again.are_complete());
        assert_eq!(again.versions(), documents.versions());
        let stored = fs::read_to_string(directory.path().join("peers.signed"));
        assert_eq!(stored.expect("is there"), peers(3));
    }

    #[test]
    fn an_older_document_is_refused_across_restarts() {
        let directory = tempfile::tempdir().expect("a directory");
        load(directory.path())
            .take("network", &network(4), NOW)
            .expect("takes");
        let mut documents = load(directory.path());
        assert!(matches!(
            documents.take("network", &network(3), NOW),
            Err(Error::Document(SignedError::Older { .. }))
        ));
        assert_eq!(
            documents.take("network", &network(4), NOW).ok(),
            Some(Change::None)
        );
    }

    #[test]
    fn a_key_that_has_taken_the_pinned_ones_place_is_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut documents = load(directory.path());
        let by_the_next = network_by(&control_keys::tests::key(2), 5);
        assert!(documents.take("network", &by_the_next, NOW).is_err());
        let rotation = control_keys::tests::rotation(1, 2);
        let mut take =
            |kind: &str, text: &str, now| documents.take(kind, text, Timestamp(now)).ok();
        assert_eq!(take("network", &network(4), 99), Some(Change::Network));
        assert_eq!(take("key-rotation", &rotation, 99), Some(Change::Keys));
        assert_eq!(take("key-rotation", &rotation, 99), Some(Change::None));
        assert_eq!(take("network", &by_the_next, 100), Some(Change::Network));
        assert_eq!(take("network", &network(6), 100), None, "the old key ended");
        assert_eq!(
            load(directory.path()).versions().network,
            Some(Version(5)),
            "the next process believes it too"
        );
    }

    #[test]
    fn a_foreign_or_damaged_document_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut documents = load(directory.path());
        let damaged = network(4).replace("web1", "web2");
        assert!(documents.take("network", &damaged, NOW).is_err());
        assert!(documents.take("peers", &network(4), NOW).is_err());
        assert!(
            documents
                .take("network", &network(4), Timestamp(200))
                .is_err()
        );
        assert_eq!(documents.versions(), Versions::default());
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 0);
    }

    #[test]
    fn a_damaged_file_is_as_good_as_absent() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("network.signed"), "x").expect("writes");
        assert_eq!(load(directory.path()).versions(), Versions::default());
    }
}
