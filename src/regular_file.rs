//! Reads a file of an account that is not trusted.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// Reads a regular file; nothing else, such as a pipe, may keep the reader waiting. Of a file that
/// is longer than `longest` bytes, one byte more than that is read.
///
/// # Errors
/// What the system said; [`io::ErrorKind::InvalidInput`] for what is no regular file.
pub fn read(path: &Path, longest: usize) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(longest as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
