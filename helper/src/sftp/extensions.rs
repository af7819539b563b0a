//! The extensions of OpenSSH's `PROTOCOL`, section 4.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};

use super::accounts::home_of;
use super::files::MOST_BYTES;
use super::handles::{self, Handle};
use super::packets::LONGEST;
use super::real_path::real_path;
use super::requests::{Answered, Outcome, Request, Server};
use super::status::{Refusal, Status};

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const FSTATVFS: &str = "fstatvfs@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const LSETSTAT: &str = "lsetstat@openssh.com";
const LIMITS: &str = "limits@openssh.com";
const EXPAND_PATH: &str = "expand-path@openssh.com";
const COPY_DATA: &str = "copy-data";
const HOME_DIRECTORY: &str = "home-directory";
const USERS_GROUPS_BY_ID: &str = "users-groups-by-id@openssh.com";

/// What the client is told of at the start, each with its version.
pub(super) const NAMES: [(&str, &str); 11] = [
    (POSIX_RENAME, "1"),
    (STATVFS, "2"),
    (FSTATVFS, "2"),
    (HARDLINK, "1"),
    (FSYNC, "1"),
    (LSETSTAT, "1"),
    (LIMITS, "1"),
    (EXPAND_PATH, "1"),
    (COPY_DATA, "1"),
    (HOME_DIRECTORY, "1"),
    (USERS_GROUPS_BY_ID, "1"),
];

/// Descriptors that the process itself needs.
const OWN_DESCRIPTORS: u64 = 5;

/// The flags of a file system in an answer.
const READ_ONLY: u64 = 1;
const NO_SETUID: u64 = 2;

impl Server {
    pub(super) fn extended(&mut self, mut request: Request<'_>) -> Outcome {
        match std::str::from_utf8(request.fields.bytes()?).unwrap_or_default() {
            POSIX_RENAME => Self::posix_rename(request),
            STATVFS => {
                let path = request.fields.bytes()?;
                let system = statvfs(path)?;
                say_file_system(request, &system)
            }
            FSTATVFS => {
                let opened = self.handles.file(Handle::read(&mut request.fields)?)?;
                let system = fstatvfs(&opened.file)?;
                say_file_system(request, &system)
            }
            HARDLINK => Self::hardlink(request),
            FSYNC => self.fsync(request),
            LSETSTAT => Self::lsetstat(request),
            LIMITS => say_limits(request),
            EXPAND_PATH => expand_path(request),
            COPY_DATA => self.copy_data(request),
            HOME_DIRECTORY => Self::home_directory(request),
            USERS_GROUPS_BY_ID => self.users_groups_by_id(request),
            _ => Err(Status::OpUnsupported.into()),
        }
    }
}

fn say_file_system(request: Request<'_>, system: &Statvfs) -> Outcome {
    let flag = |flag, bit| {
        if system.flags().contains(flag) {
            bit
        } else {
            0
        }
    };
    request.replies.extended(request.id, |body| {
        body.long(system.block_size());
        body.long(system.fragment_size());
        body.long(system.blocks());
        body.long(system.blocks_free());
        body.long(system.blocks_available());
        body.long(system.files());
        body.long(system.files_free());
        body.long(system.files_available());
        body.long(system.filesystem_id());
        body.long(flag(FsFlags::ST_RDONLY, READ_ONLY) | flag(FsFlags::ST_NOSUID, NO_SETUID));
        body.long(system.name_max());
    });
    Ok(Answered::Already)
}

fn say_limits(request: Request<'_>) -> Outcome {
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let handles = descriptors.saturating_sub(OWN_DESCRIPTORS);
    request.replies.extended(request.id, |body| {
        body.long(LONGEST as u64);
        body.long(MOST_BYTES as u64);
        body.long(MOST_BYTES as u64);
        body.long(handles.min(handles::MOST as u64));
    });
    Ok(Answered::Already)
}

/// `expand-path@openssh.com`: `~` is the directory that the session began in.
fn expand_path(mut request: Request<'_>) -> Outcome {
    let asked = request.fields.bytes()?;
    let path = match asked.strip_prefix(b"~") {
        None => asked.to_vec(),
        Some(b"") => b".".to_vec(),
        Some([b'/', rest @ ..]) => [b"./", rest].concat(),
        Some(rest) => other_home(rest)?,
    };
    let path = real_path(&path)?;
    request.replies.name(request.id, &path);
    Ok(Answered::Already)
}

/// What `~name/rest` stands for; the words begin behind the tilde.
fn other_home(words: &[u8]) -> Result<Vec<u8>, Refusal> {
    let end = words.iter().position(|byte| *byte == b'/');
    let (name, rest) = words.split_at(end.unwrap_or(words.len()));
    let home = home_of(name).ok_or_else(|| Refusal::new(Status::NoSuchFile, "No such user"))?;
    Ok([&home, rest].concat())
}
