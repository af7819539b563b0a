//! Files that are either the old or the new one, whatever happens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::Error;

/// Puts `content` into `path`: written beside it, flushed to the disk, and renamed.
///
/// # Errors
/// [`Error::File`]; the old content is still there then.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let fail = |source| Error::file(path, "written", source);
    let directory = path
        .parent()
        .ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
    let temporary = path.with_extension("new");
    write_flushed(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| {
            // The rename may have happened already; then there is nothing to remove.
            let _ = fs::remove_file(&temporary);
            fail(source)
        })
}

fn write_flushed(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // A file that an interrupted run left keeps its mode, and the umask may have taken bits.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// [`Error::File`].
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::file(path, "removed", source))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_mode_are_replaced_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.json");
        write(&path, b"one", 0o644).expect("writes");
        write(&path, b"two", 0o600).expect("writes");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.json");
        write(&path, b"one", 0o600).expect("writes");
        fs::create_dir(path.with_extension("new")).expect("blocks the temporary file");
        assert!(write(&path, b"two", 0o600).is_err());
        assert_eq!(fs::read(&path).expect("reads"), b"one");
    }
}
