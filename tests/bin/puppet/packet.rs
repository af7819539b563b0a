//! Packets to the worker as a session process in wrong hands would make them.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use meshd_contract::broker::{
    FIRST_ACCEPTED, FromSession, Leaving, MAX_MESSAGE_BYTES, Open, OpenKind, PROTOCOL,
};
use meshd_contract::forward::Endpoint;
use meshd_contract::paths;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::dice::Dice;

/// The most descriptors that the kernel takes in one packet.
const MOST_DESCRIPTORS: usize = 253;

/// Names that have been root's, or another's, elsewhere.
const NAMES: [&[u8]; 22] = [
    b"alice",
    b"alice",
    b"alice",
    b"alice",
    b"alice",
    b"root",
    b"toor",
    b"bob",
    b"Alice",
    b"ALICE",
    b"alice ",
    b" alice",
    b"alice\0",
    b"alice\nroot",
    b"../alice",
    b"-i",
    b"0",
    b"00",
    b"+0",
    b"4294967295",
    b"",
    b"al\xffice",
];

const COMMANDS: [&[u8]; 8] = [
    b"stay", b"stay", b"stay", b"go", b"whoami", b"", b"a\0b", b"$(id)",
];

const SIGNALS: [&str; 10] = [
    "INT", "TERM", "KILL", "HUP", "STOP", "SIGTERM", "9", "-9", "", "USR1",
];

const HOSTS: [&str; 10] = [
    "127.0.0.1",
    "127.0.0.1",
    "localhost",
    "::1",
    "0.0.0.0",
    "*",
    "",
    "no-such-host.invalid",
    "a\nb",
    "a\0b",
];

const PATHS: [&[u8]; 7] = [
    b"/tmp/forwarded",
    b"/tmp/forwarded",
    paths::BROKER_SOCKET.as_bytes(),
    b"/root/forwarded",
    b"/var/lib/puppet/ran",
    b"",
    b"/tmp/a\0b",
];

const VARIABLES: [(&[u8], &[u8]); 8] = [
    (b"LANG", b"C.UTF-8"),
    (b"LD_PRELOAD", b"/var/lib/puppet/evil.so"),
    (b"BASH_ENV", b"/var/lib/puppet/evil"),
    (b"A=B", b"c"),
    (b"", b""),
    (b"X\0Y", b"z"),
    (b"HOME", b"/root"),
    (b"USER", b"root"),
];

/// One packet, and what it is if it keeps to the form of the messages.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: usize,
    pub(crate) message: Option<FromSession>,
}

impl Packet {
    pub(crate) fn of(message: FromSession) -> Self {
        let bytes = postcard::to_extend(&message, vec![PROTOCOL]).expect("encodes");
        Self::raw(bytes, 0)
    }

    /// Whatever these bytes are.
    pub(crate) fn raw(bytes: Vec<u8>, descriptors: usize) -> Self {
        let in_form = match bytes.split_first() {
            Some((&PROTOCOL, body)) if descriptors == 0 && bytes.len() <= MAX_MESSAGE_BYTES => {
                postcard::take_from_bytes::<FromSession>(body).ok()
            }
            Some(_) | None => None,
        };
        let message = in_form.and_then(|(message, rest)| rest.is_empty().then_some(message));
        Self {
            bytes,
            descriptors,
            message,
        }
    }

    pub(crate) fn random(dice: &mut Dice) -> Self {
        let sound = Self::of(message(dice));
        match dice.below(14) {
            0 => mangled(dice, sound.bytes),
            1 if dice.once_in(3) => {
                let many = *dice.pick(&[1, 2, 3, 4, 5, 64, MOST_DESCRIPTORS]);
                Self::raw(sound.bytes, many)
            }
            _ => sound,
        }
    }

    /// Sends it; `EMSGSIZE` and the like mean that nothing was sent.
    pub(crate) fn send(&self, worker: RawFd) -> Result<(), Errno> {
        let files: Vec<OwnedFd> = (0..self.descriptors)
            .map(|_| OwnedFd::from(File::open("/dev/null").expect("a file")))
            .collect();
        let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &control[..0]
        } else {
            &control[..]
        };
        let slices = [IoSlice::new(&self.bytes)];
        sendmsg::<()>(worker, &slices, control, MsgFlags::MSG_NOSIGNAL, None).map(drop)
    }
}

pub(crate) fn message(dice: &mut Dice) -> FromSession {
    let channel = *dice.pick(&[0, 0, 0, 1, 1, 2, 3, 7, u32::MAX]);
    match dice.below(21) {
        0 | 1 => FromSession::Sign {
            key: *dice.pick(&[0, 0, 0, 0, 1, 2, 255]),
            hash: vec![7; *dice.pick(&[32, 32, 32, 48, 64, 0, 20, 31, 33, 65, 100_000])],
        },
        2..=4 => FromSession::Login { name: name(dice) },
        5..=7 => FromSession::AllocatePty { channel },
        8 => FromSession::Release { channel },
        9..=12 => FromSession::Open(open(dice, channel)),
        13 | 14 => FromSession::Signal {
            channel,
            name: (*dice.pick(&SIGNALS)).to_owned(),
        },
        15 => FromSession::Leaving(Leaving::Left),
        16 => FromSession::Traffic {
            received: dice.next(),
            sent: dice.next(),
        },
        _ => forward(dice, channel),
    }
}

/// Numbers may only grow, so that most of them can be chosen.
fn forward(dice: &mut Dice, channel: u32) -> FromSession {
    let forward = match dice.below(12) {
        0 => *dice.pick(&[FIRST_ACCEPTED - 1, FIRST_ACCEPTED, u32::MAX]),
        _ => u32::try_from(dice.below(64)).expect("a small number"),
    };
    match dice.below(8) {
        0..=2 => FromSession::Connect {
            forward,
            target: endpoint(dice),
        },
        3 | 4 => FromSession::Listen {
            forward,
            at: endpoint(dice),
        },
        5 => FromSession::ForwardAgent { forward, channel },
        6 => FromSession::Taken { forward },
        _ => FromSession::EndForward { forward },
    }
}

fn endpoint(dice: &mut Dice) -> Endpoint {
    if dice.once_in(3) {
        let path = dice.pick(&PATHS);
        let long = vec![b'/'; *dice.pick(&[107, 108, 100_000])];
        let path = if dice.once_in(10) {
            long
        } else {
            path.to_vec()
        };
        return Endpoint::Unix { path };
    }
    let long = "x".repeat(*dice.pick(&[255, 256, 100_000]));
    let host = if dice.once_in(20) {
        long
    } else {
        (*dice.pick(&HOSTS)).to_owned()
    };
    let port = *dice.pick(&[0, 1, 22, 80, 1023, 1024, 7001, 7002, 8001, 65_535]);
    Endpoint::Tcp { host, port }
}

fn name(dice: &mut Dice) -> Vec<u8> {
    if dice.once_in(12) {
        let length = *dice.pick(&[255, 256, 257, 65_536, 190_000]);
        return vec![b'a'; length];
    }
    dice.pick(&NAMES).to_vec()
}

fn open(dice: &mut Dice, channel: u32) -> Open {
    let kind = match dice.below(10) {
        0 | 1 => OpenKind::Shell,
        2 => OpenKind::Sftp,
        3 if dice.once_in(4) => {
            OpenKind::Exec(vec![b'x'; *dice.pick(&[131_071, 131_072, 180_000])])
        }
        _ => OpenKind::Exec(dice.pick(&COMMANDS).to_vec()),
    };
    let many = if dice.once_in(40) {
        *dice.pick(&[128, 129, 1025, 9_000])
    } else {
        dice.below(4)
    };
    let environment = (0..many).map(|_| {
        let (name, value) = dice.pick(&VARIABLES);
        (name.to_vec(), value.to_vec())
    });
    Open {
        channel,
        kind,
        environment: environment.collect(),
        term: dice
            .pick(&[&b"xterm"[..], b"", b"a\0b", b"\xff", b"x\nLD_PRELOAD=y"])
            .to_vec(),
    }
}

/// Out of form, most of the time.
fn mangled(dice: &mut Dice, mut bytes: Vec<u8>) -> Packet {
    match dice.below(8) {
        0 => bytes[0] = *dice.pick(&[0, PROTOCOL + 1, 255]),
        1 => bytes.truncate(dice.below(bytes.len() + 1)),
        2 => {
            let second = Packet::of(message(dice)).bytes;
            bytes.extend(second);
        }
        3 => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        4 => {
            let length = dice.below(64);
            bytes = dice.bytes(length);
        }
        5 => bytes.resize(MAX_MESSAGE_BYTES + *dice.pick(&[0, 1, 4096]), 0),
        // A length that is not there.
        6 => bytes = vec![PROTOCOL, 1, 0xff, 0xff, 0xff, 0xff, 0x0f],
        _ => bytes.push(0),
    }
    Packet::raw(bytes, 0)
}
