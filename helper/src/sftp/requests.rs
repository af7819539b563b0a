//! Which request is done by what.

use std::io::{self, ErrorKind};

use super::accounts::Accounts;
use super::extensions;
use super::fields::Fields;
use super::handles::Handles;
use super::replies::Replies;
use super::status::{Refusal, Status};

/// The version that is spoken, whatever the client's.
const VERSION: u32 = 3;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const EXTENDED: u8 = 200;

/// What there is to know between two requests.
#[derive(Default)]
pub(super) struct Server {
    begun: bool,
    pub(super) handles: Handles,
    pub(super) accounts: Accounts,
}

/// A request as it is done: what is left of its packet, and where its answer goes.
pub(super) struct Request<'a> {
    pub(super) id: u32,
    pub(super) fields: Fields<'a>,
    pub(super) replies: &'a mut Replies,
}

/// Whether it is done. What has no answer of its own is answered with the status; what has one
/// has written it.
pub(super) type Outcome = Result<Answered, Refusal>;

/// How a request that is done was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Already,
    WithSuccess,
}

impl Server {
    /// Does what a packet asks for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if it has no number to be answered with, or comes before the
    /// client's version.
    pub(super) fn answer(&mut self, packet: &[u8], replies: &mut Replies) -> io::Result<()> {
        let mut fields = Fields::of(packet);
        let (Ok(kind), Ok(id)) = (fields.byte(), fields.number()) else {
            return Err(unanswerable("the client sent a packet without a number"));
        };
        if kind == INIT {
            self.begun = true;
            replies.version(VERSION, &extensions::NAMES);
            return Ok(());
        }
        if !self.begun {
            return Err(unanswerable("the client asked before it said its version"));
        }
        let request = Request {
            id,
            fields,
            replies,
        };
        match self.dispatch(kind, request) {
            Ok(Answered::Already) => {}
            Ok(Answered::WithSuccess) => replies.status(id, &Status::Ok.into()),
            Err(refusal) => replies.status(id, &refusal),
        }
        Ok(())
    }

    fn dispatch(&mut self, kind: u8, request: Request<'_>) -> Outcome {
        match kind {
            OPEN => self.open(request),
            CLOSE => self.close(request),
            READ => self.read(request),
            WRITE => self.write(request),
            LSTAT => Self::lstat(request),
            FSTAT => self.fstat(request),
            SETSTAT => Self::setstat(request),
            FSETSTAT => self.fsetstat(request),
            OPENDIR => self.opendir(request),
            READDIR => self.readdir(request),
            REMOVE => Self::remove(request),
            MKDIR => Self::mkdir(request),
            RMDIR => Self::rmdir(request),
            REALPATH => Self::realpath(request),
            STAT => Self::stat(request),
            RENAME => Self::rename(request),
            READLINK => Self::readlink(request),
            SYMLINK => Self::symlink(request),
            EXTENDED => self.extended(request),
            _ => Err(Status::OpUnsupported.into()),
        }
    }
}

fn unanswerable(words: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, words)
}
