//! A path without `.`, `..` and symbolic links.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;

use super::paths::path;
use super::status::Refusal;

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// No path of this many bytes means anything to the kernel (limits.h(0p), PATH_MAX).
const LONGEST: usize = 4096;

/// The absolute path of a file. Its last name may be missing, as in OpenSSH: clients ask where
/// a file would be before they write it.
///
/// # Errors
/// What the system said of a directory on the way.
pub(super) fn real_path(asked: &[u8]) -> Result<Vec<u8>, Refusal> {
    if asked.len() >= LONGEST {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let mut real = start(asked)?;
    let mut ahead = names(asked);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                go_up(&mut real);
                continue;
            }
            name => descend(&mut real, name),
        }
        match fs::symlink_metadata(path(&real)) {
            Err(error) if error.kind() == ErrorKind::NotFound && ahead.is_empty() => break,
            Err(error) => return Err(error.into()),
            Ok(file) if !file.is_symlink() => {}
            Ok(_) if links == MOST_LINKS => return Err(Errno::ELOOP.into()),
            Ok(_) => {
                links += 1;
                ahead.extend(follow(&mut real)?);
            }
        }
    }
    Ok(real)
}

/// Goes to where the target of a symbolic link begins; returns the names of the target.
fn follow(link: &mut Vec<u8>) -> io::Result<Vec<Vec<u8>>> {
    let target = fs::read_link(path(link))?.into_os_string().into_vec();
    if target.starts_with(b"/") {
        *link = b"/".to_vec();
    } else {
        go_up(link);
    }
    Ok(names(&target))
}

fn start(asked: &[u8]) -> Result<Vec<u8>, Refusal> {
    if asked.starts_with(b"/") {
        return Ok(b"/".to_vec());
    }
    Ok(std::env::current_dir()?.into_os_string().into_vec())
}

/// The names of a path, the last one first.
fn names(asked: &[u8]) -> Vec<Vec<u8>> {
    let names = asked.split(|byte| *byte == b'/').rev();
    names.map(<[u8]>::to_vec).collect()
}

fn go_up(real: &mut Vec<u8>) {
    let parent = path(real).parent().map(|parent| parent.as_os_str());
    *real = parent.unwrap_or(OsStr::new("/")).as_bytes().to_vec();
}

fn descend(real: &mut Vec<u8>, name: &[u8]) {
    if !real.ends_with(b"/") {
        real.push(b'/');
    }
    real.extend(name);
}
