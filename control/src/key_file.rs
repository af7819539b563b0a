//! The file of control's key, and beside it, while a rotation is made, that of the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meshd_contract::key::{PrivateKey, PublicKey};

use crate::state_dir::{KEY, StateError, failed, read_secret, write_secret};

/// What the key is called that is to take the place of the one in use.
const NEXT: &str = "control.key.next";

/// The two files.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    next: PathBuf,
    database: PathBuf,
}

impl KeyFile {
    /// Those in `directory`; where there is a database, nodes believe the key already.
    pub(crate) fn new(directory: &Path, database: PathBuf) -> Self {
        Self {
            path: directory.join(KEY),
            next: directory.join(NEXT),
            database,
        }
    }

    /// Makes the key at the very first start, before there is a database.
    ///
    /// # Errors
    /// [`StateError`]; a lost key is never replaced by a new one, which no node would believe.
    pub(crate) fn ensure(&self) -> Result<(), StateError> {
        if read(&self.path)?.is_some() {
            return Ok(());
        }
        if self.database.exists() {
            return Err(StateError::KeyMissing(self.path.clone()));
        }
        write(&self.path).map(drop)
    }

    /// The key that counts: the one that `newest`, the newest rotation in the database, has put in
    /// place, whose file a crash may have left beside the old one.
    ///
    /// # Errors
    /// [`StateError`] when it is not there.
    pub(crate) fn settle(&self, newest: Option<&PublicKey>) -> Result<PrivateKey, StateError> {
        let key = read(&self.path)?.ok_or_else(|| StateError::KeyMissing(self.path.clone()))?;
        if newest.is_none_or(|newest| key.public() == *newest) {
            // The word of the old key for this one was never given.
            if self.next.exists() {
                fs::remove_file(&self.next).map_err(failed("remove", &self.next))?;
            }
            return Ok(key);
        }
        match read(&self.next)? {
            Some(next) if Some(&next.public()) == newest => {
                self.take_prepared()?;
                Ok(next)
            }
            _ => Err(StateError::OtherKey(self.path.clone())),
        }
    }

    /// Makes a key that may take the place of the one in use.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) fn prepare(&self) -> Result<PrivateKey, StateError> {
        write(&self.next)
    }

    /// Puts the prepared key in place; the old one is gone with that.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) fn take_prepared(&self) -> Result<(), StateError> {
        fs::rename(&self.next, &self.path).map_err(failed("replace", &self.path))?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed("write", directory))
    }
}

/// None where there is no such file.
fn read(path: &Path) -> Result<Option<PrivateKey>, StateError> {
    let text = match read_secret(path) {
        Ok(text) => text,
        Err(StateError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let seed = STANDARD.decode(text.trim()).ok();
    let seed: Option<[u8; 32]> = seed.and_then(|seed| seed.try_into().ok());
    let seed = seed.ok_or_else(|| StateError::BadKey(path.to_owned()))?;
    Ok(Some(PrivateKey::from_seed(&seed)))
}

fn write(path: &Path) -> Result<PrivateKey, StateError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    write_secret(path, format!("{}\n", STANDARD.encode(seed)).as_bytes())?;
    Ok(PrivateKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    struct Place {
        _base: tempfile::TempDir,
        path: PathBuf,
        file: KeyFile,
    }

    fn place() -> Place {
        let base = tempfile::tempdir().expect("a directory");
        let file = KeyFile::new(base.path(), base.path().join("control.db"));
        Place {
            path: base.path().join(KEY),
            _base: base,
            file,
        }
    }

    #[test]
    fn the_key_is_made_once_and_is_the_owners_alone() {
        let place = place();
        place.file.ensure().expect("makes a key");
        let key = place.file.settle(None).expect("reads it").public();
        place.file.ensure().expect("is there");
        assert_eq!(place.file.settle(None).expect("reads it").public(), key);
        let mode = fs::metadata(&place.path).expect("is there").mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let place = place();
        place.file.ensure().expect("makes a key");
        fs::set_permissions(&place.path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(place.file.ensure(), Err(StateError::Exposed(_))));
    }

    #[test]
    fn a_lost_or_broken_key_is_not_replaced() {
        let place = place();
        place.file.ensure().expect("makes a key");
        write_secret(&place.path, b"").expect("writes");
        assert!(matches!(place.file.ensure(), Err(StateError::BadKey(_))));
        fs::remove_file(&place.path).expect("removes");
        fs::write(&place.file.database, "").expect("a database");
        assert!(matches!(
            place.file.ensure(),
            Err(StateError::KeyMissing(_))
        ));
    }

    #[test]
    fn after_a_crash_in_a_rotation_the_database_says_which_key_counts() {
        let place = place();
        place.file.ensure().expect("makes a key");
        let old = place.file.settle(None).expect("reads it").public();

        place.file.prepare().expect("makes the next");
        let key = place.file.settle(None).expect("nothing was committed");
        assert_eq!(key.public(), old);
        assert!(!place.file.next.exists());

        let next = place.file.prepare().expect("makes the next").public();
        for _again in 0..2 {
            let key = place.file.settle(Some(&next)).expect("it was committed");
            assert_eq!(key.public(), next);
        }
        assert!(!place.file.next.exists());
    }

    #[test]
    fn a_key_that_the_database_does_not_name_signs_nothing() {
        let place = place();
        place.file.ensure().expect("makes a key");
        let other = PrivateKey::from_seed(&[1; 32]).public();
        let settled = place.file.settle(Some(&other));
        assert!(matches!(settled, Err(StateError::OtherKey(_))));
        place.file.prepare().expect("makes the next");
        let settled = place.file.settle(Some(&other));
        assert!(matches!(settled, Err(StateError::OtherKey(_))));
    }
}
