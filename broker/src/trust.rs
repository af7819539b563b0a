//! What root pinned, and the peer document that it makes believable.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshd_contract::check::CheckGrant;
use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::key::PublicKey;
use meshd_contract::keyring::{Keyring, MAX_ROTATIONS_BYTES};
use meshd_contract::paths;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed::{self, Expected, MAX_DOCUMENT_BYTES, SignedError};
use meshd_contract::time::Timestamp;
use meshd_contract::trust::Trust;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::state_file;

/// Why there is no peer document to decide by.
#[derive(Debug, Error)]
pub enum TrustError {
    /// `mesh up` has not run here, or its file was changed.
    #[error("cannot read {path}: {source}; run `mesh up` as root to join a mesh")]
    Pin {
        /// The file.
        path: String,
        /// What the system or the parser said.
        source: io::Error,
    },
    /// The manager has not stored a document.
    #[error("cannot read {path}: {source}; is the manager (meshd) running and joined?")]
    Document {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The document is not to be believed.
    #[error("the peer document is refused: {0}")]
    Refused(#[from] SignedError),
    /// A check grant is not to be believed.
    #[error("the check grant is refused: {0}")]
    Grant(#[source] SignedError),
    /// What was seen cannot be kept.
    #[error("cannot keep the newest version and key of control in {path}: {source}")]
    Seen {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The files that belief rests on.
#[derive(Debug, Clone)]
pub struct Files {
    /// What root pinned at join.
    pub trust: PathBuf,
    /// The newest peer document, written by the manager.
    pub peer_document: PathBuf,
    /// The rotations of control's key, written by the manager.
    pub key_rotations: PathBuf,
    /// Root's own directory.
    pub state: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            trust: paths::TRUST.into(),
            peer_document: paths::PEER_DOCUMENT.into(),
            key_rotations: paths::KEY_ROTATIONS.into(),
            state: paths::BROKER_STATE.into(),
        }
    }
}

/// What this node has acted on: nothing older counts any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The key that root had pinned.
    control_key: PublicKey,
    node: NodeId,
    /// The highest version of the peer document.
    version: Version,
    /// Where the rotations of the pinned key have led to; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Keyring>,
}

impl Seen {
    /// Nothing yet.
    fn nothing(trust: &Trust) -> Self {
        Self {
            control_key: trust.control_key,
            node: trust.node,
            version: Version(0),
            keys: None,
        }
    }

    /// As far as it was seen as what `trust` names: of control with the key that was pinned then, or
    /// with the one that has taken its place. A node with a new number counts versions anew, but a
    /// key that was replaced stays so.
    fn of(self, trust: &Trust) -> Self {
        let replaced = self.keys.as_ref().map(Keyring::current);
        let known = [Some(&self.control_key), replaced];
        if !known.contains(&Some(&trust.control_key)) {
            return Self::nothing(trust);
        }
        let version = match self.node == trust.node {
            true => self.version,
            false => Version(0),
        };
        Self {
            node: trust.node,
            version,
            ..self
        }
    }

    fn keyring(&self) -> Keyring {
        let pinned = || Keyring::from(self.control_key);
        self.keys.clone().unwrap_or_else(pinned)
    }
}

impl Files {
    /// Reads, verifies and remembers the newest peer document.
    ///
    /// # Errors
    /// [`TrustError`]; nothing is remembered then.
    pub fn peer_document(&self, now: Timestamp) -> Result<PeerDocument, TrustError> {
        let trust = self.pinned()?;
        self.locked(|seen_path| {
            let seen = self.newest_seen(seen_path, &trust)?;
            let document = self.verified(&seen, seen.version, now)?;
            remember(seen_path, seen, document.header.version)?;
            Ok(document)
        })
    }

    /// Reads and verifies the newest peer document for one who has acted on version `than`; the
    /// second value says why the version could not be remembered, if it could not: no reason to
    /// hold on to a right that the document has ended.
    ///
    /// # Errors
    /// [`TrustError`] when the document is not to be believed.
    pub fn newer_document(
        &self,
        than: Version,
        now: Timestamp,
    ) -> Result<(PeerDocument, Option<TrustError>), TrustError> {
        let trust = self.pinned()?;
        let seen = self.seen(&trust).unwrap_or_else(|_| Seen::nothing(&trust));
        let document = self.verified(&seen, than, now)?;
        let remembered = self.locked(|seen_path| {
            let seen = self.newest_seen(seen_path, &trust)?;
            remember(seen_path, seen, document.header.version)
        });
        Ok((document, remembered.err()))
    }

    /// Writes down which key of control counts, so that one that was replaced stays so.
    ///
    /// # Errors
    /// [`TrustError`]; nothing is remembered then.
    pub fn remember_keys(&self) -> Result<(), TrustError> {
        let trust = self.pinned()?;
        self.locked(|seen_path| self.newest_seen(seen_path, &trust).map(drop))
    }

    /// Verifies control's word that a check was passed.
    ///
    /// # Errors
    /// [`TrustError`] when it is not to be believed, such as one for another node.
    pub fn check_grant(&self, text: &str, now: Timestamp) -> Result<CheckGrant, TrustError> {
        let trust = self.pinned()?;
        let expected = Expected {
            node: trust.node,
            now,
            at_least: Version(0),
        };
        let keyring = self.seen(&trust)?.keyring();
        signed::open(text.as_bytes(), keyring.at(now), &expected).map_err(TrustError::Grant)
    }

    /// What was seen, with the rotations since then, which are written down: a key that was replaced
    /// must not come back, whatever comes next. To be called with the lock.
    fn newest_seen(&self, seen_path: &Path, trust: &Trust) -> Result<Seen, TrustError> {
        let mut seen = read_seen(seen_path, trust)?;
        if self.follow_rotations(&mut seen) {
            write_seen(seen_path, &seen)?;
        }
        Ok(seen)
    }

    /// The same for one who writes nothing down.
    fn seen(&self, trust: &Trust) -> Result<Seen, TrustError> {
        let mut seen = read_seen(&self.seen_path(), trust)?;
        self.follow_rotations(&mut seen);
        Ok(seen)
    }

    /// Takes the key that has taken the place of the newest one that was seen, as often as that has
    /// happened; whether it has.
    fn follow_rotations(&self, seen: &mut Seen) -> bool {
        // The manager's file is worth what control's keys have signed in it, and nothing otherwise.
        let Ok(list) = state_file::read_regular(&self.key_rotations, MAX_ROTATIONS_BYTES) else {
            return false;
        };
        let mut keyring = seen.keyring();
        let followed = !keyring.follow_list(&list).is_empty();
        if followed {
            seen.keys = Some(keyring);
        }
        followed
    }

    fn verified(
        &self,
        seen: &Seen,
        at_least: Version,
        now: Timestamp,
    ) -> Result<PeerDocument, TrustError> {
        let text = state_file::read_regular(&self.peer_document, MAX_DOCUMENT_BYTES).map_err(
            |source| TrustError::Document {
                path: show(&self.peer_document),
                source,
            },
        )?;
        let expected = Expected {
            node: seen.node,
            now,
            at_least,
        };
        Ok(signed::open(&text, seen.keyring().at(now), &expected)?)
    }

    fn pinned(&self) -> Result<Trust, TrustError> {
        state_file::read_roots(&self.trust, 64 << 10)
            .and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from))
            .map_err(|source| TrustError::Pin {
                path: show(&self.trust),
                source,
            })
    }

    /// Holds the lock that keeps a worker with an older document from overwriting what a worker
    /// with a newer one has remembered.
    fn locked<T>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, TrustError>,
    ) -> Result<T, TrustError> {
        let path = self.state.join("seen.lock");
        let failed = |source: io::Error| TrustError::Seen {
            path: show(&path),
            source,
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let _lock = lock(file).map_err(|errno| failed(errno.into()))?;
        work(&self.seen_path())
    }

    fn seen_path(&self) -> PathBuf {
        self.state.join("seen.json")
    }
}

/// Takes the lock, which is held for the time of one write; a worker that was stopped meanwhile
/// must not hold up all others for ever.
fn lock(file: File) -> nix::Result<Flock<File>> {
    const ROUNDS: usize = 500;
    const PAUSE: Duration = Duration::from_millis(10);
    let mut file = file;
    for _ in 0..ROUNDS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EAGAIN)) => file = back,
            Err((_, errno)) => return Err(errno),
        }
        std::thread::sleep(PAUSE);
    }
    Err(Errno::ETIMEDOUT)
}

fn remember(path: &Path, seen: Seen, version: Version) -> Result<(), TrustError> {
    if version <= seen.version {
        return Ok(());
    }
    write_seen(path, &Seen { version, ..seen })
}

fn write_seen(path: &Path, seen: &Seen) -> Result<(), TrustError> {
    let json = serde_json::to_vec(seen).map_err(io::Error::from);
    json.and_then(|json| state_file::replace(path, &json, 0o600))
        .map_err(|source| TrustError::Seen {
            path: show(path),
            source,
        })
}

/// A file that is missing means that nothing was seen; one that cannot be read must not.
fn read_seen(path: &Path, trust: &Trust) -> Result<Seen, TrustError> {
    let seen = match state_file::read_roots(path, 4096) {
        Ok(text) => serde_json::from_slice::<Seen>(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Seen::nothing(trust)),
        Err(error) => Err(error),
    };
    let seen = seen.map_err(|source| TrustError::Seen {
        path: show(path),
        source,
    })?;
    Ok(seen.of(trust))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use meshd_contract::key::PrivateKey;
    use meshd_contract::keyring::{KeyRotation, write_rotations};

    use super::*;
    use crate::authorize::tests::document_for_alice;

    /// A host that has joined, with root's files in a directory of the test. Needs root, as the
    /// files must be root's.
    struct Host {
        _directory: tempfile::TempDir,
        files: Files,
        control: PrivateKey,
    }

    impl Host {
        fn joined() -> Self {
            assert!(
                nix::unistd::geteuid().is_root(),
                "run this test as root: its files are root's"
            );
            let directory = tempfile::tempdir().expect("a directory");
            let files = Files {
                trust: directory.path().join("trust.json"),
                peer_document: directory.path().join("peers.signed"),
                key_rotations: directory.path().join("key-rotations.json"),
                state: directory.path().to_owned(),
            };
            let control = PrivateKey::from_seed(&[1; 32]);
            let host = Self {
                _directory: directory,
                files,
                control,
            };
            host.pin(&host.control, 1);
            host
        }

        fn pin(&self, control: &PrivateKey, node: u64) {
            let trust = Trust {
                control_key: control.public(),
                node: NodeId(node),
            };
            let json = serde_json::to_vec(&trust).expect("writes");
            state_file::replace(&self.files.trust, &json, 0o644).expect("writes");
        }

        fn bring(&self, version: u64, signer: &PrivateKey) {
            let mut document = document_for_alice();
            document.header.version = Version(version);
            let text = signed::seal(&document, signer).expect("seals");
            state_file::replace(&self.files.peer_document, text.as_bytes(), 0o644).expect("writes");
        }

        /// Rotations from one key to another; each ends the old key at second 50.
        fn rotate(&self, rotations: &[(&PrivateKey, &PrivateKey)]) {
            let sealed = rotations.iter().map(|(old, new)| {
                let rotation = KeyRotation {
                    old_key: old.public(),
                    new_key: new.public(),
                    issued_at: Timestamp(1),
                    old_ends_at: Timestamp(50),
                };
                rotation.seal(old).expect("seals")
            });
            let list = write_rotations(&sealed.collect::<Vec<_>>()).expect("writes");
            state_file::replace(&self.files.key_rotations, &list, 0o644).expect("writes");
        }

        fn read(&self, now: u64) -> Result<u64, TrustError> {
            self.files
                .peer_document(Timestamp(now))
                .map(|document| document.header.version.0)
        }
    }

    #[test]
    fn a_version_that_was_seen_is_never_undercut() {
        let host = Host::joined();
        host.bring(7, &host.control);
        assert_eq!(host.read(1).expect("is believed"), 7);
        assert_eq!(host.read(1).expect("is believed again"), 7);
        host.bring(6, &host.control);
        let refused = host.read(1).expect_err("is older").to_string();
        assert!(refused.contains("version 6"), "{refused}");
    }

    #[test]
    fn only_the_pinned_key_node_and_time_count() {
        let host = Host::joined();
        host.bring(7, &PrivateKey::from_seed(&[2; 32]));
        assert!(matches!(
            host.read(1),
            Err(TrustError::Refused(SignedError::Signature))
        ));
        host.bring(7, &host.control);
        let expired = host.read(1000);
        assert!(matches!(
            expired,
            Err(TrustError::Refused(SignedError::Expired(_)))
        ));
        host.pin(&host.control, 2);
        let elsewhere = host.read(1);
        assert!(matches!(
            elsewhere,
            Err(TrustError::Refused(SignedError::WrongNode { .. }))
        ));
    }

    #[test]
    fn a_new_mesh_counts_versions_from_the_start() {
        let host = Host::joined();
        host.bring(7, &host.control);
        assert_eq!(host.read(1).expect("is believed"), 7);
        let other = PrivateKey::from_seed(&[3; 32]);
        host.pin(&other, 1);
        host.bring(2, &other);
        assert_eq!(host.read(1).expect("is believed"), 2);
    }

    #[test]
    fn a_key_that_was_replaced_ends_and_does_not_come_back() {
        let host = Host::joined();
        let [next, thief] = [2, 3].map(|seed| PrivateKey::from_seed(&[seed; 32]));
        host.bring(7, &host.control);
        host.rotate(&[(&host.control, &next)]);
        assert_eq!(host.read(49).expect("its time is not over"), 7);
        let ended = host.read(50);
        assert!(matches!(
            ended,
            Err(TrustError::Refused(SignedError::Signature))
        ));
        host.bring(8, &next);
        assert_eq!(host.read(50).expect("is believed"), 8);

        host.rotate(&[(&host.control, &thief)]);
        host.bring(9, &thief);
        assert!(host.read(50).is_err(), "the old key names nobody any more");
        host.bring(9, &host.control);
        assert!(host.read(50).is_err(), "nor does it sign");
        host.rotate(&[]);
        assert!(host.read(50).is_err(), "nor when the rotation is hidden");
        host.bring(9, &next);
        assert_eq!(host.read(50).expect("is believed"), 9);
    }

    #[test]
    fn a_host_that_missed_rotations_follows_them_all() {
        let host = Host::joined();
        let [second, third] = [2, 3].map(|seed| PrivateKey::from_seed(&[seed; 32]));
        host.rotate(&[(&host.control, &second), (&second, &third)]);
        host.bring(7, &third);
        assert_eq!(host.read(60).expect("is believed"), 7);
        let grant = host.files.check_grant("", Timestamp(60));
        assert!(matches!(grant, Err(TrustError::Grant(_))));
    }

    #[test]
    fn a_rotation_is_remembered_even_if_the_document_is_refused() {
        let host = Host::joined();
        let next = PrivateKey::from_seed(&[2; 32]);
        host.bring(7, &PrivateKey::from_seed(&[9; 32]));
        host.rotate(&[(&host.control, &next)]);
        assert!(host.read(60).is_err());
        host.rotate(&[]);
        host.bring(7, &host.control);
        assert!(host.read(60).is_err());
    }

    #[test]
    fn a_rotation_is_remembered_though_nobody_logs_in() {
        let host = Host::joined();
        let next = PrivateKey::from_seed(&[2; 32]);
        host.files.remember_keys().expect("there is none yet");
        host.rotate(&[(&host.control, &next)]);
        host.files.remember_keys().expect("is remembered");
        host.rotate(&[]);
        host.bring(7, &host.control);
        assert!(host.read(60).is_err());
        host.bring(7, &next);
        assert_eq!(host.read(60).expect("is believed"), 7);
    }

    #[test]
    fn whoever_pins_the_new_key_goes_on_where_the_old_one_was() {
        let host = Host::joined();
        let next = PrivateKey::from_seed(&[2; 32]);
        host.rotate(&[(&host.control, &next)]);
        host.bring(7, &next);
        assert_eq!(host.read(1).expect("is believed"), 7);
        host.pin(&next, 1);
        host.bring(6, &next);
        let refused = host.read(1).expect_err("is older").to_string();
        assert!(refused.contains("version 6"), "{refused}");
        host.pin(&host.control, 1);
        let refused = host.read(1).expect_err("is older").to_string();
        assert!(refused.contains("version 6"), "{refused}");
    }

    #[test]
    fn a_host_that_joins_again_does_not_go_back_to_a_key_that_was_replaced() {
        let host = Host::joined();
        let next = PrivateKey::from_seed(&[2; 32]);
        host.rotate(&[(&host.control, &next)]);
        host.bring(7, &next);
        assert_eq!(host.read(60).expect("is believed"), 7);
        host.pin(&host.control, 2);
        host.rotate(&[]);
        host.bring(1, &host.control);
        assert!(matches!(
            host.read(60),
            Err(TrustError::Refused(SignedError::Signature))
        ));
        host.bring(1, &next);
        assert!(
            matches!(
                host.read(60),
                Err(TrustError::Refused(SignedError::WrongNode { .. }))
            ),
            "its versions begin anew, its key does not"
        );
    }

    #[test]
    fn a_session_learns_of_a_rotation_that_no_login_has_seen() {
        let host = Host::joined();
        let next = PrivateKey::from_seed(&[2; 32]);
        host.bring(7, &host.control);
        assert_eq!(host.read(1).expect("is believed"), 7);
        host.rotate(&[(&host.control, &next)]);
        host.bring(8, &next);
        let newer = host.files.newer_document(Version(7), Timestamp(60));
        let (document, remembered) = newer.expect("is believed");
        assert_eq!(document.header.version, Version(8));
        assert!(remembered.is_none());
        host.rotate(&[]);
        host.bring(9, &host.control);
        assert!(host.read(60).is_err(), "what it learned is kept");
    }

    #[test]
    fn a_pin_that_others_can_write_pins_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let host = Host::joined();
        host.bring(7, &host.control);
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&host.files.trust, open).expect("changes");
        assert!(matches!(host.read(1), Err(TrustError::Pin { .. })));
    }

    #[test]
    fn what_was_seen_and_cannot_be_read_is_not_taken_for_nothing() {
        let host = Host::joined();
        host.bring(7, &host.control);
        assert_eq!(host.read(1).expect("is believed"), 7);
        std::fs::write(host.files.state.join("seen.json"), "{").expect("writes");
        assert!(matches!(host.read(1), Err(TrustError::Seen { .. })));
    }
}
