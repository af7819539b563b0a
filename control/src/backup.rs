//! Copies of everything that control must not lose, made while it runs, and put back while it does
//! not.
//!
//! A copy is a directory of its own: the database as of one moment, the key that nodes believe, and
//! the TLS files where they are control's own. Whoever has it can sign for the mesh.
//!
//! After a copy was put back, nodes may have seen newer versions of their documents than the
//! database knows. They tell what they have seen, and get versions above it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use meshd_contract::time::Timestamp;
use thiserror::Error;

use crate::state_dir::{self, StateDir, StateError};
use crate::store::{Store, StoreError};

/// Below the state directory.
const PLACE: &str = "backups";

/// Why there is no copy, or it cannot be put back.
#[derive(Debug, Error)]
pub(crate) enum BackupError {
    /// The system refused.
    #[error("cannot {what} {path}: {error}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state directory, which a running server has locked.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is a mesh already.
    #[error(
        "{path} holds a mesh already; if the backup is to take its place, move the files there \
         away first (control.db, control.db-wal, control.db-shm, control.key, tls.crt, tls.key)",
        path = .0.display()
    )]
    Occupied(PathBuf),
    /// The copy lacks a file.
    #[error("{} is no backup of control: it has no {}", .0.display(), .1)]
    Incomplete(PathBuf, &'static str),
}

/// Makes a copy below the state directory `state`; its directory.
///
/// # Errors
/// [`BackupError`]; nothing half-made has the name of a copy.
pub(crate) async fn make(
    store: &Store,
    state: &Path,
    now: Timestamp,
) -> Result<PathBuf, BackupError> {
    let place = state.join(PLACE);
    let copy = place.join(now.0.to_string());
    let unfinished = place.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700);
    private
        .create(&unfinished)
        .map_err(failed("make", &unfinished))?;
    let database = unfinished.join(state_dir::DATABASE);
    store.copy_to(&database).await?;
    sync(&database)?;
    for name in state_dir::SECRETS {
        let (from, to) = (state.join(name), unfinished.join(name));
        if from.exists() {
            fs::copy(&from, &to).map_err(failed("copy", &from))?;
            sync(&to)?;
        }
    }
    sync(&unfinished)?;
    // A copy of the same second is as good as this one.
    let _ = fs::remove_dir_all(&copy);
    fs::rename(&unfinished, &copy).map_err(failed("write", &copy))?;
    sync(&place)?;
    Ok(copy)
}

/// Puts a copy into the state directory of a server that does not run. The files are then of whom
/// the directory is.
///
/// # Errors
/// [`BackupError`]; the database comes last, so that without it this can be done again.
pub(crate) async fn restore(copy: &Path, state: &Path) -> Result<(), BackupError> {
    let missing = |name| BackupError::Incomplete(copy.to_owned(), name);
    for name in [state_dir::DATABASE, state_dir::KEY] {
        if !copy.join(name).is_file() {
            return Err(missing(name));
        }
    }
    let directory = StateDir::open(state)?;
    if directory.database().exists() {
        return Err(BackupError::Occupied(state.to_owned()));
    }
    Store::verify(&copy.join(state_dir::DATABASE)).await?;
    let owner = fs::metadata(state).map_err(failed("read", state))?;
    for name in state_dir::SECRETS.into_iter().chain([state_dir::DATABASE]) {
        let from = copy.join(name);
        if !from.exists() {
            continue;
        }
        let (new, to) = (state.join("restored"), state.join(name));
        fs::copy(&from, &new).map_err(failed("copy", &from))?;
        chown(&new, Some(owner.uid()), Some(owner.gid())).map_err(failed("give away", &new))?;
        sync(&new)?;
        fs::rename(&new, &to).map_err(failed("write", &to))?;
    }
    sync(state)
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(failed("write", path))
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BackupError + 'a {
    move |error| BackupError::Io {
        what,
        path: path.to_owned(),
        error,
    }
}
