//! A client that speaks packets (draft-ietf-secsh-filexfer-02).

use std::io::{Read, Write};
use std::os::fd::AsFd;

use meshd_lab::{DEADLINE, Running};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub(crate) const INIT: u8 = 1;
pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const WRITE: u8 = 6;
pub(crate) const LSTAT: u8 = 7;
pub(crate) const FSTAT: u8 = 8;
pub(crate) const SETSTAT: u8 = 9;
pub(crate) const FSETSTAT: u8 = 10;
pub(crate) const OPENDIR: u8 = 11;
pub(crate) const READDIR: u8 = 12;
pub(crate) const REMOVE: u8 = 13;
pub(crate) const MKDIR: u8 = 14;
pub(crate) const RMDIR: u8 = 15;
pub(crate) const REALPATH: u8 = 16;
pub(crate) const STAT: u8 = 17;
pub(crate) const RENAME: u8 = 18;
pub(crate) const READLINK: u8 = 19;
pub(crate) const SYMLINK: u8 = 20;
pub(crate) const EXTENDED: u8 = 200;

/// Flags of [`OPEN`].
pub(crate) const TO_READ: u32 = 1;
pub(crate) const TO_WRITE: u32 = 2;
pub(crate) const APPEND: u32 = 4;
pub(crate) const CREATE: u32 = 8;

pub(crate) const OK: Reply = Reply::Status(0);
pub(crate) const EOF: Reply = Reply::Status(1);
pub(crate) const NO_SUCH_FILE: Reply = Reply::Status(2);
pub(crate) const PERMISSION_DENIED: Reply = Reply::Status(3);
pub(crate) const FAILURE: Reply = Reply::Status(4);
pub(crate) const BAD_MESSAGE: Reply = Reply::Status(5);
pub(crate) const OP_UNSUPPORTED: Reply = Reply::Status(8);

/// The fields of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    pub(crate) fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn string(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self = self.number(u32::try_from(bytes.len()).expect("short"));
        self.0.extend(bytes);
        self
    }

    pub(crate) fn attributes(mut self, attributes: &Attributes) -> Self {
        let Attributes {
            size,
            owner,
            permissions,
            times,
        } = attributes;
        let flags = [
            size.is_some(),
            owner.is_some(),
            permissions.is_some(),
            times.is_some(),
        ];
        let flags = flags
            .iter()
            .rev()
            .fold(0, |all, flag| 2 * all + u32::from(*flag));
        self = self.number(flags);
        if let Some(size) = size {
            self = self.long(*size);
        }
        if let Some((user, group)) = owner {
            self = self.number(*user).number(*group);
        }
        if let Some(permissions) = permissions {
            self = self.number(*permissions);
        }
        if let Some((access, change)) = times {
            self = self.number(*access).number(*change);
        }
        self
    }
}

/// The fields of a request about one path.
pub(crate) fn path(path: impl AsRef<[u8]>) -> Fields {
    Fields::default().string(path)
}

/// The fields of a request about two paths.
pub(crate) fn paths(first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Fields {
    Fields::default().string(first).string(second)
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) size: Option<u64>,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) permissions: Option<u32>,
    pub(crate) times: Option<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: Vec<u8>,
    pub(crate) long: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The number; the words are the server's own.
    Status(u32),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Name>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

impl Reply {
    /// The handle, or none that any server gives.
    pub(crate) fn handle(&self) -> Vec<u8> {
        match self {
            Self::Handle(handle) => handle.clone(),
            _ => b"none".to_vec(),
        }
    }

    /// Without the times of files, which differ from run to run.
    pub(crate) fn timeless(self) -> Self {
        match self {
            Self::Attributes(attributes) => Self::Attributes(Attributes {
                times: None,
                ..attributes
            }),
            other => other,
        }
    }
}

/// Reads the fields of an answer.
struct Answer<'a>(&'a [u8]);

impl Answer<'_> {
    fn number(&mut self) -> u32 {
        let (number, rest) = self.0.split_first_chunk().expect("a number");
        self.0 = rest;
        u32::from_be_bytes(*number)
    }

    fn long(&mut self) -> u64 {
        u64::from(self.number()) << 32 | u64::from(self.number())
    }

    fn string(&mut self) -> Vec<u8> {
        let length = self.number() as usize;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }

    fn attributes(&mut self) -> Attributes {
        let flags = self.number();
        let has = |flag| flags & flag != 0;
        Attributes {
            size: has(1).then(|| self.long()),
            owner: has(2).then(|| (self.number(), self.number())),
            permissions: has(4).then(|| self.number()),
            times: has(8).then(|| (self.number(), self.number())),
        }
    }

    fn name(&mut self) -> Name {
        Name {
            name: self.string(),
            long: self.string(),
            attributes: self.attributes(),
        }
    }
}

/// A server, and what was said to it.
pub(crate) struct Client {
    pub(crate) server: Running,
    next: u32,
    /// The words of the last status.
    pub(crate) words: String,
}

impl Client {
    /// A client that has said its version.
    pub(crate) fn new(server: Running) -> Self {
        let mut client = Self::silent(server);
        client.begin_version(3);
        let (kind, _) = client.receive().expect("the server's version");
        assert_eq!(kind, 2, "a version");
        client
    }

    /// Says its version, and waits for nothing.
    pub(crate) fn begin_version(&mut self, version: u32) {
        self.send(INIT, version, &Fields::default());
    }

    /// A client that has said nothing.
    pub(crate) fn silent(server: Running) -> Self {
        Self {
            server,
            next: 1000,
            words: String::new(),
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, kind: u8, fields: Fields) -> Reply {
        let id = self.begin(kind, &fields);
        let (answered, reply) = self.reply();
        assert_eq!(answered, id, "answers come in the order of the requests");
        reply
    }

    /// Asks, and returns the number of the request.
    pub(crate) fn begin(&mut self, kind: u8, fields: &Fields) -> u32 {
        self.next += 1;
        let id = self.next;
        self.send(kind, id, fields);
        id
    }

    fn send(&mut self, kind: u8, id: u32, fields: &Fields) {
        let packet = [&[kind], id.to_be_bytes().as_slice(), &fields.0].concat();
        let length = u32::try_from(packet.len()).expect("short").to_be_bytes();
        self.send_bytes(&[length.as_slice(), &packet].concat());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.server.stdin.as_mut().expect("a pipe");
        stdin.write_all(bytes).expect("the server reads");
    }

    /// The next answer, with the number of its request.
    pub(crate) fn reply(&mut self) -> (u32, Reply) {
        let (kind, packet) = self.receive().expect("an answer");
        let mut answer = Answer(&packet);
        let id = answer.number();
        let reply = match kind {
            101 => {
                let status = Reply::Status(answer.number());
                self.words = String::from_utf8(answer.string()).expect("text");
                answer.string();
                status
            }
            102 => Reply::Handle(answer.string()),
            103 => Reply::Data(answer.string()),
            104 => {
                let count = answer.number();
                Reply::Names((0..count).map(|_| answer.name()).collect())
            }
            105 => Reply::Attributes(answer.attributes()),
            201 => Reply::Extended(std::mem::take(&mut answer.0).to_vec()),
            other => panic!("an answer of kind {other}"),
        };
        assert_eq!(answer.0, b"", "nothing behind the answer");
        (id, reply)
    }

    /// The next packet: its kind and what is behind that; none at the server's end.
    pub(crate) fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let length = self.bytes(4)?;
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        assert!(length <= 256 << 10, "no longer than clients take");
        let mut packet = self.bytes(length as usize)?;
        let kind = packet.remove(0);
        Some((kind, packet))
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let stdout = self.server.stdout.as_mut().expect("a pipe");
        let mut bytes = vec![0; count];
        let mut have = 0;
        while have < count {
            let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            let deadline = PollTimeout::try_from(DEADLINE).expect("short");
            assert_eq!(
                poll(&mut ready, deadline),
                Ok(1),
                "the server answers in time"
            );
            match stdout.read(&mut bytes[have..]).expect("readable") {
                0 => return None,
                more => have += more,
            }
        }
        Some(bytes)
    }

    /// Opens a file.
    pub(crate) fn open(&mut self, name: impl AsRef<[u8]>, flags: u32) -> Reply {
        let attributes = Attributes::default();
        self.ask(OPEN, path(name).number(flags).attributes(&attributes))
    }

    pub(crate) fn read(&mut self, handle: &[u8], offset: u64, size: u32) -> Reply {
        self.ask(
            READ,
            Fields::default().string(handle).long(offset).number(size),
        )
    }

    pub(crate) fn write(&mut self, handle: &[u8], offset: u64, bytes: impl AsRef<[u8]>) -> Reply {
        self.ask(
            WRITE,
            Fields::default().string(handle).long(offset).string(bytes),
        )
    }

    pub(crate) fn close(&mut self, handle: &[u8]) -> Reply {
        self.ask(CLOSE, Fields::default().string(handle))
    }

    /// An extension by its name.
    pub(crate) fn extended(&mut self, name: &str, fields: Fields) -> Reply {
        let all = Fields::default().string(name);
        self.ask(EXTENDED, Fields([all.0, fields.0].concat()))
    }
}
