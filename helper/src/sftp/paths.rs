//! What is done to a file by its name.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, RenameFlags, readlink, renameat2};
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, linkat, mkdir, symlinkat, unlinkat};

use super::attributes::{Attributes, Subject};
use super::fields::Fields;
use super::real_path::real_path;
use super::requests::{Answered, Outcome, Request, Server};
use super::status::Refusal;

const DEFAULT_MODE: u32 = 0o777;

/// A path as the standard library takes it: any bytes.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

impl Server {
    pub(super) fn stat(request: Request<'_>) -> Outcome {
        say_attributes(request, |path| fs::metadata(path))
    }

    pub(super) fn lstat(request: Request<'_>) -> Outcome {
        say_attributes(request, |path| fs::symlink_metadata(path))
    }

    pub(super) fn setstat(mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        change(Subject::Path(path), &mut request)
    }

    /// `lsetstat@openssh.com`.
    pub(super) fn lsetstat(mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        change(Subject::Link(path), &mut request)
    }

    pub(super) fn remove(mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        done(unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir))
    }

    pub(super) fn rmdir(mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        done(unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir))
    }

    pub(super) fn mkdir(mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        let attributes = Attributes::read(&mut request.fields)?;
        done(mkdir(path, attributes.mode_or(DEFAULT_MODE)))
    }

    pub(super) fn realpath(mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        let real = real_path(path)?;
        request.replies.name(request.id, &real);
        Ok(Answered::Already)
    }

    pub(super) fn readlink(mut request: Request<'_>) -> Outcome {
        let target = readlink(request.fields.bytes()?)?;
        request.replies.name(request.id, target.as_bytes());
        Ok(Answered::Already)
    }

    /// The target comes first, as in OpenSSH and unlike in the draft, so that clients agree.
    pub(super) fn symlink(mut request: Request<'_>) -> Outcome {
        let (target, link) = two(&mut request.fields)?;
        done(symlinkat(target, AT_FDCWD, link))
    }

    /// `hardlink@openssh.com`.
    pub(super) fn hardlink(mut request: Request<'_>) -> Outcome {
        let (old, new) = two(&mut request.fields)?;
        done(linkat(AT_FDCWD, old, AT_FDCWD, new, AtFlags::empty()))
    }

    /// Fails where the new name is taken.
    pub(super) fn rename(mut request: Request<'_>) -> Outcome {
        let (old, new) = two(&mut request.fields)?;
        // Of two faults the kernel may tell the other one first.
        done(rename_to_free(old, new).map_err(|errno| missing(old).unwrap_or(errno)))
    }

    /// `posix-rename@openssh.com`: takes the place of what has the new name.
    pub(super) fn posix_rename(mut request: Request<'_>) -> Outcome {
        let (old, new) = two(&mut request.fields)?;
        done(rename(old, new, RenameFlags::empty()))
    }
}

fn done(outcome: nix::Result<()>) -> Outcome {
    outcome?;
    Ok(Answered::WithSuccess)
}

fn two<'a>(fields: &mut Fields<'a>) -> Result<(&'a [u8], &'a [u8]), Refusal> {
    Ok((fields.bytes()?, fields.bytes()?))
}

fn change(subject: Subject<'_>, request: &mut Request<'_>) -> Outcome {
    let attributes = Attributes::read(&mut request.fields)?;
    subject.change(&attributes)?;
    Ok(Answered::WithSuccess)
}

fn say_attributes(
    mut request: Request<'_>,
    look: impl FnOnce(&Path) -> io::Result<Metadata>,
) -> Outcome {
    let file = look(path(request.fields.bytes()?))?;
    request
        .replies
        .attributes(request.id, &Attributes::from(&file));
    Ok(Answered::Already)
}

fn rename(old: &[u8], new: &[u8], flags: RenameFlags) -> nix::Result<()> {
    renameat2(AT_FDCWD, old, AT_FDCWD, new, flags)
}

/// Where the file system or the kernel cannot do it in one step (renameat2(2)), in two.
fn rename_to_free(old: &[u8], new: &[u8]) -> nix::Result<()> {
    match rename(old, new, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL | Errno::ENOSYS) if missing(new).is_none() => Err(Errno::EEXIST),
        Err(Errno::EINVAL | Errno::ENOSYS) => rename(old, new, RenameFlags::empty()),
        outcome => outcome,
    }
}

/// Why there is nothing of that name, if there is nothing.
fn missing(name: &[u8]) -> Option<Errno> {
    fstatat(AT_FDCWD, name, AtFlags::AT_SYMLINK_NOFOLLOW).err()
}
