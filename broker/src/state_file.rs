//! Files of root's own: read only when nobody else could have written them, replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Reads at most `limit` bytes of a regular file; never waits on a FIFO or follows a link, since
/// the directory may belong to somebody else.
///
/// # Errors
/// What the system said, or [`io::ErrorKind::InvalidData`] for anything but a regular file of
/// that size.
pub fn read_regular(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    read_bounded(&file, limit)
}

/// Like [`read_regular`], and insists that root owns the file and nobody else can write it.
///
/// # Errors
/// As [`read_regular`], and [`io::ErrorKind::PermissionDenied`] for another owner or mode.
pub fn read_roots(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        let text = "must belong to root, and nobody else may write it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    read_bounded(&file, limit)
}

/// Replaces a file: written beside it, synced, renamed over it, the directory synced.
///
/// # Errors
/// What the system said; the old content is still there then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = directory.join(name);
    let written = write_new(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// What tells a file from the one that takes its place under the same name (stat(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamp of the file that has this name now.
///
/// # Errors
/// What the system said.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(Stamp {
        file: (metadata.dev(), metadata.ino()),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
}

fn read_bounded(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
    if !file.metadata()?.is_file() {
        return Err(invalid("is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(invalid("is too long"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        replace(&path, b"one", 0o600).expect("writes");
        replace(&path, b"two", 0o600).expect("writes");
        assert_eq!(read_regular(&path, 3).expect("reads"), b"two");
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 1);
    }

    #[test]
    fn only_regular_files_of_the_size_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        replace(&path, b"four", 0o600).expect("writes");
        assert!(read_regular(&path, 3).is_err());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("links");
        assert!(read_regular(&link, 4).is_err());
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("makes");
        assert!(read_regular(&fifo, 4).is_err());
    }
}
