//! The keys of control that this host believes: the one that was pinned at join, or what it has
//! handed its place over to since.
//!
//! The rotations are kept in a file that others read too, each of whom verifies them from the key
//! that it has pinned: the broker, and `mesh` where it reads documents itself. A host that leaves its
//! mesh keeps it: should it come back, a key that was replaced must not count again.

use std::io;
use std::path::{Path, PathBuf};

use meshd_contract::key::PublicKey;
use meshd_contract::keyring::{Keyring, MAX_ROTATIONS_BYTES, read_rotations, write_rotations};
use meshd_contract::paths;

use super::atomic;
use super::error::Error;
use crate::regular_file;

/// The keys that count for whoever has pinned `pinned`, by the rotations in the manager's directory.
#[must_use]
pub fn load(directory: &Path, pinned: PublicKey) -> Keyring {
    let mut keyring = Keyring::from(pinned);
    keyring.follow_list(&read(directory).unwrap_or_default());
    keyring
}

/// Keeps the rotations that lead on from the newest key; whether there is one.
///
/// # Errors
/// [`Error::File`]; nothing is followed then.
pub fn keep(directory: &Path, pinned: PublicKey, rotations: Vec<String>) -> Result<bool, Error> {
    let path = file(directory);
    let mut keyring = load(directory, pinned);
    let followed = keyring.follow_all(rotations);
    if followed.is_empty() {
        return Ok(false);
    }
    let kept = read(directory).ok();
    let mut kept = kept
        .and_then(|list| read_rotations(&list))
        .unwrap_or_default();
    kept.extend(followed);
    let list =
        write_rotations(&kept).map_err(|error| Error::file(&path, "written", error.into()))?;
    atomic::write(&path, &list, 0o644)?;
    tracing::info!(
        key = keyring.current().fingerprint(),
        "control signs with another key now"
    );
    Ok(true)
}

fn read(directory: &Path) -> io::Result<Vec<u8>> {
    regular_file::read(&file(directory), MAX_ROTATIONS_BYTES)
}

fn file(directory: &Path) -> PathBuf {
    let name = Path::new(paths::KEY_ROTATIONS).file_name();
    directory.join(name.unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use meshd_contract::key::PrivateKey;
    use meshd_contract::keyring::KeyRotation;
    use meshd_contract::time::Timestamp;

    use super::*;

    pub(crate) fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    /// From one key to another, which ends the old one at second 100.
    pub(crate) fn rotation(from: u8, to: u8) -> String {
        let rotation = KeyRotation {
            old_key: key(from).public(),
            new_key: key(to).public(),
            issued_at: Timestamp(50),
            old_ends_at: Timestamp(100),
        };
        rotation.seal(&key(from)).expect("seals")
    }

    #[test]
    fn what_was_followed_is_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let pinned = key(1).public();
        let keep = |rotations| keep(directory.path(), pinned, rotations).expect("writes");
        assert!(!keep(vec![rotation(2, 3)]), "leads nowhere yet");
        assert!(keep(vec![rotation(1, 2)]));
        assert!(!keep(vec![rotation(1, 2)]), "is known");
        assert!(!keep(vec![rotation(1, 9)]), "by a key that was replaced");
        assert!(keep(vec![rotation(1, 2), rotation(2, 3), rotation(3, 4)]));
        let current = |pinned| *load(directory.path(), pinned).current();
        assert_eq!(current(pinned), key(4).public());
        let elsewhere = key(7).public();
        assert_eq!(current(elsewhere), elsewhere, "another mesh");
    }

    #[test]
    fn a_file_that_is_no_list_leads_nowhere_and_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(file(directory.path()), "{").expect("writes");
        let pinned = key(1).public();
        assert_eq!(load(directory.path(), pinned).current(), &pinned);
        assert!(keep(directory.path(), pinned, vec![rotation(1, 2)]).expect("writes"));
        let loaded = load(directory.path(), pinned);
        assert_eq!(loaded.current(), &key(2).public());
    }
}
