//! Control's directory: its key, its TLS files, its database; and a lock, so that one process
//! uses it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use crate::key_file::KeyFile;

/// The database's file.
pub(crate) const DATABASE: &str = "control.db";
/// The file of the key that signs every document.
pub(crate) const KEY: &str = "control.key";
const OWN_CERTIFICATE: &str = "tls.crt";
const OWN_CERTIFICATE_KEY: &str = "tls.key";
/// Every other file that a lost mesh cannot do without.
pub(crate) const SECRETS: [&str; 3] = [KEY, OWN_CERTIFICATE, OWN_CERTIFICATE_KEY];

/// The directory, locked for this process.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: Flock<File>,
}

/// Why the directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The system refused.
    #[error(
        "cannot {what} {path}: {error}; the directory must be there for the user that \
         meshd-control runs as, or be another one (--state)",
        path = path.display()
    )]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Somebody else serves from it.
    #[error("another meshd-control already uses {}; stop it, or give another --state", .0.display())]
    Locked(PathBuf),
    /// Others than the owner may read a secret.
    #[error("{} can be read by others than its owner; run `chmod 600 {}`", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// The key file holds something else.
    #[error("{} is no key of control; restore it from a backup", .0.display())]
    BadKey(PathBuf),
    /// There is a mesh, but not the key that its nodes believe.
    #[error(
        "{} is missing, but there is a database: the nodes believe the missing key only; restore \
         it from a backup",
        .0.display()
    )]
    KeyMissing(PathBuf),
    /// There is a key, but the database names another.
    #[error(
        "{} is not the key that the database names, and nodes believe that one only; restore both \
         from the same backup",
        .0.display()
    )]
    OtherKey(PathBuf),
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl StateDir {
    /// Opens the directory at `path`, makes it (mode 0700) if it is missing, and locks it.
    ///
    /// # Errors
    /// [`StateError`], one sentence that says what to do.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make", path))?;
        let lock_path = path.join("control.lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StateError::Locked(path.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The database's file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The certificate that control made for itself, and its key.
    pub(crate) fn own_certificate(&self) -> (PathBuf, PathBuf) {
        (
            self.path.join(OWN_CERTIFICATE),
            self.path.join(OWN_CERTIFICATE_KEY),
        )
    }

    /// The file of the key that signs every document.
    pub(crate) fn key_file(&self) -> KeyFile {
        KeyFile::new(&self.path, self.database())
    }
}

/// Reads a text that only its owner may read.
pub(crate) fn read_secret(path: &Path) -> Result<String, StateError> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(StateError::Exposed(path.to_owned()));
    }
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Writes a file (mode 0600) so that after a crash either all of it is there or nothing.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("write", &temporary))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("write", directory))
}

/// Makes an error of what the system said.
pub(crate) fn failed<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |error| StateError::Io {
        what,
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("state");
        (base, path)
    }

    #[test]
    fn two_processes_do_not_share_a_directory() {
        let (_base, path) = directory();
        let _first = StateDir::open(&path).expect("opens");
        assert!(matches!(StateDir::open(&path), Err(StateError::Locked(_))));
    }
}
