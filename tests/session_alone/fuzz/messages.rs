//! Messages that a client may, and may not, send (RFC 4250, section 4.1.2).

#![expect(
    clippy::explicit_auto_deref,
    reason = "without it, the compiler takes a list of names for a list of bytes"
)]

use super::dice::Dice;
use super::raw_client::string;

const NAMES: [&[u8]; 8] = [
    b"alice",
    b"root",
    b"-i",
    b"",
    b"alice\0",
    b"alice+password",
    b"\xff\xfe",
    b"0",
];

const REQUESTS: [&[u8]; 16] = [
    b"shell",
    b"exec",
    b"pty-req",
    b"env",
    b"subsystem",
    b"window-change",
    b"signal",
    b"break",
    b"exit-status",
    b"exit-signal",
    b"x11-req",
    b"auth-agent-req@openssh.com",
    b"xon-xoff",
    b"eow@openssh.com",
    b"",
    b"no-such-request",
];

const METHODS: [&[u8]; 8] = [
    b"none",
    b"password",
    b"publickey",
    b"keyboard-interactive",
    b"hostbased",
    b"gssapi-with-mic",
    b"",
    b"none",
];

const CHANNELS: [&[u8]; 7] = [
    b"session",
    b"session",
    b"session",
    b"direct-tcpip",
    b"x11",
    b"direct-streamlocal@openssh.com",
    b"tun@openssh.com",
];

const GLOBAL: [&[u8]; 6] = [
    b"tcpip-forward",
    b"cancel-tcpip-forward",
    b"keepalive@openssh.com",
    b"no-more-sessions@openssh.com",
    b"hostkeys-prove-00@openssh.com",
    b"streamlocal-forward@openssh.com",
];

/// The lists of a client that can exchange keys, in their order (RFC 4253, section 7.1).
const KEY_EXCHANGE: [&[u8]; 10] = [
    b"mlkem768x25519-sha256,curve25519-sha256,kex-strict-c-v00@openssh.com",
    b"ssh-ed25519",
    b"aes256-gcm@openssh.com",
    b"aes256-gcm@openssh.com",
    b"hmac-sha2-256-etm@openssh.com",
    b"hmac-sha2-256-etm@openssh.com",
    b"none",
    b"none",
    b"",
    b"",
];

const LISTS: [&[u8]; 6] = [
    b"curve25519-sha256",
    b"aes128-ctr",
    b"none",
    b"",
    b",,,",
    b"\xff",
];

pub(super) fn service_request() -> Vec<u8> {
    [&[5][..], &string(b"ssh-userauth")].concat()
}

pub(super) fn login(name: &[u8]) -> Vec<u8> {
    let parts = [name, b"ssh-connection", b"none"].map(string).concat();
    [&[50][..], &parts].concat()
}

/// A channel with room for what a program says.
pub(super) fn open_session(number: u32) -> Vec<u8> {
    let numbers = [number, 1 << 21, 32_768].map(u32::to_be_bytes).concat();
    [&[90][..], &string(b"session"), &numbers].concat()
}

/// What comes instead of an identification, or after one.
pub(super) fn plain_bytes(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = match dice.below(5) {
        0 => Vec::new(),
        1 => b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        2 => b"SSH-1.5-old\n".to_vec(),
        3 => [&b"SSH-2.0-"[..], &vec![b'x'; dice.below(70_000)], b"\r\n"].concat(),
        _ => b"hello\r\nSSH-2.0-x\r\n".to_vec(),
    };
    for _ in 0..dice.below(4) {
        let length = *dice.pick(&[0, 1, 4, 16, 100, 5_000, 40_000]);
        match dice.below(3) {
            0 => bytes.extend(dice.bytes(length)),
            1 => bytes.extend(vec![0; length]),
            // A packet with a length of its own.
            _ => {
                let claimed = number(dice);
                bytes.extend(claimed.to_be_bytes());
                bytes.extend(dice.bytes(length));
            }
        }
    }
    bytes
}

pub(super) fn of_key_exchange(dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0..=3 => {
            let mut payload = vec![20];
            payload.extend(dice.bytes(16));
            for known in KEY_EXCHANGE {
                let other = dice.once_in(12);
                payload.extend(string(if other { *dice.pick(&LISTS) } else { known }));
            }
            payload.extend([u8::from(dice.once_in(3)), 0, 0, 0, 0]);
            damaged(dice, payload)
        }
        4 | 5 => {
            let length = *dice.pick(&[0, 31, 32, 33, 1216, 1216, 1217, 30_000]);
            let payload = [&[30][..], &string(&dice.bytes(length))].concat();
            damaged(dice, payload)
        }
        6 => vec![21],
        _ => any(dice),
    }
}

/// Any message, most of them with the parts that their kind has.
pub(super) fn any(dice: &mut Dice) -> Vec<u8> {
    let message = match dice.below(40) {
        0 => [&[50][..], &authentication(dice)].concat(),
        1 | 2 => {
            let parts = [dice.below(4) as u32, number(dice), number(dice)];
            let numbers = parts.map(u32::to_be_bytes).concat();
            [&[90][..], &string(*dice.pick(&CHANNELS)), &numbers].concat()
        }
        3..=8 | 16..=39 => channel_request(dice),
        9 => [&[94][..], &channel(dice), &some_string(dice)].concat(),
        10 => [&[93][..], &channel(dice), &number(dice).to_be_bytes()].concat(),
        11 => [&[*dice.pick(&[96, 97, 99, 100])][..], &channel(dice)].concat(),
        12 => [
            &[80][..],
            &string(*dice.pick(&GLOBAL)),
            &[1],
            &some_string(dice),
        ]
        .concat(),
        13 => service_request(),
        // Messages that only a server sends, of the key exchange, or of no kind.
        14 => {
            let kinds = [
                0, 1, 3, 6, 7, 20, 21, 30, 31, 51, 52, 53, 60, 81, 82, 91, 92, 192, 255,
            ];
            [&[*dice.pick(&kinds)][..], &some_string(dice)].concat()
        }
        _ => dice.bytes(40),
    };
    damaged(dice, message)
}

fn authentication(dice: &mut Dice) -> Vec<u8> {
    let mut parts = string(*dice.pick(&NAMES));
    parts.extend(string(*dice.pick(&[b"ssh-connection", b"ssh-userauth__"])));
    parts.extend(string(*dice.pick(&METHODS)));
    parts.push(u8::from(dice.once_in(2)));
    parts.extend(some_string(dice));
    parts.extend(some_string(dice));
    parts
}

fn channel_request(dice: &mut Dice) -> Vec<u8> {
    let name = *dice.pick(&REQUESTS);
    let mut message = [&[98][..], &channel(dice), &string(name), &[1]].concat();
    match name {
        b"pty-req" => {
            message.extend(string(b"xterm"));
            message.extend([number(dice), 24, 0, 0].map(u32::to_be_bytes).concat());
            message.extend(some_string(dice));
        }
        b"env" => {
            message.extend(string(b"LC_ALL"));
            message.extend(some_string(dice));
        }
        b"signal" => message.extend(string(*dice.pick(&[&b"TERM"[..], b"", b"9"]))),
        b"subsystem" => message.extend(string(*dice.pick(&[&b"sftp"[..], b"none"]))),
        b"shell" => {}
        _ => message.extend(some_string(dice)),
    }
    message
}

fn channel(dice: &mut Dice) -> [u8; 4] {
    let number: u32 = *dice.pick(&[2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 0, u32::MAX]);
    number.to_be_bytes()
}

fn number(dice: &mut Dice) -> u32 {
    *dice.pick(&[0, 1, 80, 32_768, 35_000, 1 << 21, 1 << 31, u32::MAX])
}

fn some_string(dice: &mut Dice) -> Vec<u8> {
    let length = *dice.pick(&[0, 0, 1, 2, 7, 10, 300, 30_000]);
    string(&dice.bytes(length))
}

/// One in four is cut, changed or given a wrong length.
fn damaged(dice: &mut Dice, mut message: Vec<u8>) -> Vec<u8> {
    match dice.below(40) {
        0 => message.truncate(dice.below(message.len() + 1)),
        1 if !message.is_empty() => {
            let at = dice.below(message.len());
            message[at] ^= 1 << dice.below(8);
        }
        2 if message.len() > 5 => message[1..5].copy_from_slice(&number(dice).to_be_bytes()),
        _ => {}
    }
    message
}
