//! What is said of a file, and what can be changed (draft-ietf-secsh-filexfer-02, section 5).

use std::fs::Metadata;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, ftruncate, truncate};

use super::fields::Fields;
use super::replies::Body;
use super::status::{Refusal, Status};

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 1 << 31;

/// The bits of a mode that chmod(2) changes.
const CHANGEABLE: u32 = 0o7777;

/// Attributes, each if it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    size: Option<u64>,
    /// User and group.
    owner: Option<(u32, u32)>,
    permissions: Option<u32>,
    /// Of the last access and change, in seconds since 1970.
    times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Refusal> {
        let flags = fields.number()?;
        let has = |flag| flags & flag != 0;
        let attributes = Self {
            size: has(SIZE).then(|| fields.long()).transpose()?,
            owner: has(OWNER).then(|| pair(fields)).transpose()?,
            permissions: has(PERMISSIONS).then(|| fields.number()).transpose()?,
            times: has(TIMES).then(|| pair(fields)).transpose()?,
        };
        if has(EXTENDED) {
            for _ in 0..fields.number()? {
                fields.bytes()?;
                fields.bytes()?;
            }
        }
        Ok(attributes)
    }

    pub(super) fn write(&self, body: &mut Body<'_>) {
        let flag = |said: bool, flag| if said { flag } else { 0 };
        body.number(
            flag(self.size.is_some(), SIZE)
                | flag(self.owner.is_some(), OWNER)
                | flag(self.permissions.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            body.long(size);
        }
        if let Some((user, group)) = self.owner {
            body.number(user);
            body.number(group);
        }
        if let Some(permissions) = self.permissions {
            body.number(permissions);
        }
        if let Some((access, change)) = self.times {
            body.number(access);
            body.number(change);
        }
    }

    /// The mode of a new file, before the process's umask.
    pub(super) fn mode_or(&self, default: u32) -> Mode {
        Mode::from_bits_truncate(self.permissions.unwrap_or(default) & CHANGEABLE)
    }
}

fn pair(fields: &mut Fields<'_>) -> Result<(u32, u32), Refusal> {
    Ok((fields.number()?, fields.number()?))
}

impl From<&Metadata> for Attributes {
    /// The protocol has 32 bits for seconds: a later or earlier time is cut.
    fn from(file: &Metadata) -> Self {
        Self {
            size: Some(file.size()),
            owner: Some((file.uid(), file.gid())),
            permissions: Some(file.mode()),
            times: Some((file.atime() as u32, file.mtime() as u32)),
        }
    }
}

/// Whose attributes are changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// What the path leads to.
    Path(&'a [u8]),
    /// What the path names, and be it a symbolic link.
    Link(&'a [u8]),
    /// An open file.
    File(BorrowedFd<'a>),
}

impl Subject<'_> {
    /// Changes all that is said. Each change is tried, as OpenSSH does; the last failure is told.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn change(self, to: &Attributes) -> Result<(), Refusal> {
        if matches!(self, Self::Link(_)) && to.size.is_some() {
            return Err(Refusal::new(
                Status::BadMessage,
                "A symbolic link has no size to change",
            ));
        }
        let size = to.size.map(|size| self.set_size(size));
        let mode = to.permissions.map(|mode| self.set_mode(mode));
        let times = to.times.map(|times| self.set_times(times));
        let owner = to.owner.map(|owner| self.set_owner(owner));
        let changes = [size, mode, times, owner];
        let failures = changes.into_iter().flatten().filter_map(Result::err);
        let mut failures = failures.rev();
        failures.next().map_or(Ok(()), |errno| Err(errno.into()))
    }

    fn set_size(self, size: u64) -> nix::Result<()> {
        let size = i64::try_from(size).map_err(|_| Errno::EINVAL)?;
        match self {
            Self::Path(path) => truncate(path, size),
            Self::File(file) => ftruncate(file, size),
            Self::Link(_) => Err(Errno::EINVAL),
        }
    }

    fn set_mode(self, mode: u32) -> nix::Result<()> {
        let mode = Mode::from_bits_truncate(mode & CHANGEABLE);
        match self {
            Self::Path(path) => fchmodat(AT_FDCWD, path, mode, FchmodatFlags::FollowSymlink),
            Self::Link(path) => fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink),
            Self::File(file) => fchmod(file, mode),
        }
    }

    fn set_times(self, (access, change): (u32, u32)) -> nix::Result<()> {
        let access = TimeSpec::new(access.into(), 0);
        let change = TimeSpec::new(change.into(), 0);
        let (path, flag) = match self {
            Self::Path(path) => (path, UtimensatFlags::FollowSymlink),
            Self::Link(path) => (path, UtimensatFlags::NoFollowSymlink),
            Self::File(file) => return futimens(file, &access, &change),
        };
        utimensat(AT_FDCWD, path, &access, &change, flag)
    }

    fn set_owner(self, (user, group): (u32, u32)) -> nix::Result<()> {
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        let (path, flag) = match self {
            Self::Path(path) => (path, AtFlags::empty()),
            Self::Link(path) => (path, AtFlags::AT_SYMLINK_NOFOLLOW),
            Self::File(file) => return fchown(file, user, group),
        };
        fchownat(AT_FDCWD, path, user, group, flag)
    }
}
