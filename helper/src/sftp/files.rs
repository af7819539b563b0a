//! Open files.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::unistd;

use super::attributes::{Attributes, Subject};
use super::handles::{Handle, OpenFile, Opened};
use super::packets::LONGEST;
use super::requests::{Answered, Outcome, Request, Server};
use super::status::{Refusal, Status};

/// The most bytes of one read or write: a packet's, less room for what is around them.
pub(super) const MOST_BYTES: usize = LONGEST - 1024;

const DEFAULT_MODE: u32 = 0o666;

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

impl Server {
    pub(super) fn open(&mut self, mut request: Request<'_>) -> Outcome {
        let path = request.fields.bytes()?;
        let flags = open_flags(request.fields.number()?);
        let attributes = Attributes::read(&mut request.fields)?;
        let own = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_LARGEFILE;
        let file = open(path, flags | own, attributes.mode_or(DEFAULT_MODE))?;
        let number = self.handles.add(Opened::File(OpenFile {
            file: File::from(file),
            path: path.to_vec(),
            appends: flags.contains(OFlag::O_APPEND),
        }))?;
        request.replies.handle(request.id, number);
        Ok(Answered::Already)
    }

    /// A network's file system says only here that it could not keep what was written.
    pub(super) fn close(&mut self, mut request: Request<'_>) -> Outcome {
        if let Opened::File(opened) = self.handles.take(Handle::read(&mut request.fields)?)? {
            unistd::close(opened.file)?;
        }
        Ok(Answered::WithSuccess)
    }

    pub(super) fn read(&mut self, mut request: Request<'_>) -> Outcome {
        let handle = Handle::read(&mut request.fields)?;
        let (offset, size) = (request.fields.long()?, request.fields.number()?);
        let opened = self.handles.file(handle)?;
        let size = usize::try_from(size).map_or(MOST_BYTES, |size| size.min(MOST_BYTES));
        request.replies.data(request.id, size, |buffer| {
            let wants_some = !buffer.is_empty();
            match opened.file.read_at(buffer, offset)? {
                0 if wants_some => Err(Refusal::from(Status::Eof)),
                count => Ok(count),
            }
        })?;
        Ok(Answered::Already)
    }

    pub(super) fn write(&mut self, mut request: Request<'_>) -> Outcome {
        let handle = Handle::read(&mut request.fields)?;
        let (offset, bytes) = (request.fields.long()?, request.fields.bytes()?);
        let opened = self.handles.file(handle)?;
        if opened.appends {
            (&opened.file).write_all(bytes)?;
        } else {
            // Without a byte to write, the system would not look at the offset.
            i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
            opened.file.write_all_at(bytes, offset)?;
        }
        Ok(Answered::WithSuccess)
    }

    pub(super) fn fstat(&mut self, mut request: Request<'_>) -> Outcome {
        let opened = self.handles.file(Handle::read(&mut request.fields)?)?;
        let attributes = Attributes::from(&opened.file.metadata()?);
        request.replies.attributes(request.id, &attributes);
        Ok(Answered::Already)
    }

    pub(super) fn fsetstat(&mut self, mut request: Request<'_>) -> Outcome {
        let handle = Handle::read(&mut request.fields)?;
        let attributes = Attributes::read(&mut request.fields)?;
        let opened = self.handles.file(handle)?;
        Subject::File(opened.file.as_fd()).change(&attributes)?;
        Ok(Answered::WithSuccess)
    }

    /// `fsync@openssh.com`.
    pub(super) fn fsync(&mut self, mut request: Request<'_>) -> Outcome {
        let handle = Handle::read(&mut request.fields)?;
        let opened = self.handles.file(handle).map_err(|refusal| Refusal {
            status: Status::NoSuchFile,
            ..refusal
        })?;
        unistd::fsync(&opened.file)?;
        Ok(Answered::WithSuccess)
    }
}

fn open_flags(asked: u32) -> OFlag {
    let mut flags = match asked & (READ | WRITE) {
        both if both == READ | WRITE => OFlag::O_RDWR,
        WRITE => OFlag::O_WRONLY,
        _ => OFlag::O_RDONLY,
    };
    flags.set(OFlag::O_APPEND, asked & APPEND != 0);
    flags.set(OFlag::O_CREAT, asked & CREATE != 0);
    flags.set(OFlag::O_TRUNC, asked & TRUNCATE != 0);
    flags.set(OFlag::O_EXCL, asked & EXCLUSIVE != 0);
    flags
}
