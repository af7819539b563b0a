//! A client that exchanges keys as it should and then sends any message that it is given:
//! curve25519-sha256 (RFC 8731) and aes256-gcm@openssh.com (RFC 5647, with OpenSSH's names).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::messages;

const OWN_NAME: &[u8] = b"SSH-2.0-OpenSSH_9.9";

/// The longest packet that is read (RFC 4253, section 6.1).
const MAX_PACKET: usize = 35_000;

const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const ECDH_INIT: u8 = 30;
const ECDH_REPLY: u8 = 31;
const USERAUTH_SUCCESS: u8 = 52;

/// The end of an encrypted packet.
const TAG: usize = 16;

/// A connection of which every packet is made by hand.
pub(super) struct RawClient {
    stream: TcpStream,
    sealing: Option<Sealing>,
    opening: Option<Sealing>,
}

struct Sealing {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Sealing {
    fn new(key: &[u8], nonce: &[u8]) -> Option<Self> {
        Some(Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?),
            nonce: nonce[..12].try_into().ok()?,
        })
    }

    /// Each packet has its own: four fixed bytes and a counter (RFC 5647, section 7.1).
    fn next(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let counter = u64::from_be_bytes(self.nonce[4..].try_into().expect("eight bytes"));
        self.nonce[4..].copy_from_slice(&counter.wrapping_add(1).to_be_bytes());
        nonce
    }
}

/// A length and that many bytes (RFC 4251, section 5).
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

impl RawClient {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            sealing: None,
            opening: None,
        }
    }

    /// Says who it is and hears who the other is; none if that one has ended.
    pub(super) fn identify(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        self.stream.write_all(&[name, b"\r\n"].concat()).ok()?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Some(line)
    }

    /// From the identification to new keys.
    pub(super) fn exchange_keys(&mut self) -> Option<()> {
        let their_name = self.identify(OWN_NAME)?;
        let own_offer = offer();
        self.send_plain(&own_offer)?;
        let their_offer = self.read_plain(KEXINIT)?;
        let secret = StaticSecret::from([9; 32]);
        let public = PublicKey::from(&secret);
        self.send_plain(&[&[ECDH_INIT][..], &string(public.as_bytes())].concat())?;
        let reply = self.read_plain(ECDH_REPLY)?;
        let (host_key, rest) = split_string(&reply[1..])?;
        let (their_public, _signature) = split_string(rest)?;
        let their_key: [u8; 32] = their_public.try_into().ok()?;
        let shared = secret.diffie_hellman(&PublicKey::from(their_key));
        let shared = integer(shared.as_bytes());
        let mut hash = Sha256::new();
        for part in [OWN_NAME, &their_name, &own_offer, &their_offer, host_key] {
            hash.update(string(part));
        }
        hash.update(string(public.as_bytes()));
        hash.update(string(their_public));
        hash.update(&shared);
        let hash = hash.finalize().to_vec();
        self.read_plain(NEWKEYS)?;
        self.send_plain(&[NEWKEYS])?;
        // The first exchange's hash is the session's id (RFC 4253, section 7.2).
        let derived = |letter: u8| {
            let parts = [&shared, &hash, &[letter][..], &hash].concat();
            Sha256::digest(parts).to_vec()
        };
        self.sealing = Some(Sealing::new(&derived(b'C'), &derived(b'A'))?);
        self.opening = Some(Sealing::new(&derived(b'D'), &derived(b'B'))?);
        Some(())
    }

    /// Logs in as the one who is permitted, and hears that it was; none if the other has ended.
    pub(super) fn log_in(&mut self) -> Option<()> {
        self.send(&messages::service_request())?;
        self.send(&messages::login(b"alice"))?;
        while self.read()?.first() != Some(&USERAUTH_SUCCESS) {}
        Some(())
    }

    /// Sends one message as it is; none if the other has ended.
    pub(super) fn send_plain(&mut self, payload: &[u8]) -> Option<()> {
        let padding = 8 - (5 + payload.len()) % 8 + 4;
        let length = (1 + payload.len() + padding) as u32;
        let padding = padding as u8;
        let packet = [
            &length.to_be_bytes()[..],
            &[padding],
            payload,
            &vec![0; padding.into()],
        ];
        self.stream.write_all(&packet.concat()).ok()
    }

    /// Sends one message, encrypted.
    pub(super) fn send(&mut self, payload: &[u8]) -> Option<()> {
        let sealing = self.sealing.as_mut().expect("keys");
        let padding = 16 - (1 + payload.len()) % 16 + 16;
        let mut body = [&[padding as u8][..], payload, &vec![0; padding]].concat();
        let length = (body.len() as u32).to_be_bytes();
        let nonce = sealing.next();
        let sealed = sealing
            .key
            .seal_in_place_append_tag(nonce, Aad::from(length), &mut body);
        sealed.expect("encrypts");
        self.stream.write_all(&[&length[..], &body].concat()).ok()
    }

    /// One message of the other's.
    fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let count = u32::from_be_bytes(length) as usize;
        let mut body = vec![0; count.min(MAX_PACKET) + TAG];
        self.stream.read_exact(&mut body).ok()?;
        let opening = self.opening.as_mut().expect("keys");
        let nonce = opening.next();
        let plain = opening
            .key
            .open_in_place(nonce, Aad::from(length), &mut body);
        Some(plain.expect("decrypts")[1..].to_vec())
    }

    /// Takes whatever the other says from now on, so that it never waits.
    pub(super) fn drain(&self) {
        let mut stream = self.stream.try_clone().expect("a copy");
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while matches!(stream.read(&mut buffer), Ok(1..)) {}
        });
    }

    fn read_plain(&mut self, expected: u8) -> Option<Vec<u8>> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
        let padding = usize::from(head[4]);
        if length > MAX_PACKET || length < padding + 2 {
            return None;
        }
        let mut body = vec![0; length - 1];
        self.stream.read_exact(&mut body).ok()?;
        body.truncate(length - 1 - padding);
        (body[0] == expected).then_some(body)
    }
}

/// What this client can do.
pub(super) fn offer() -> Vec<u8> {
    let lists = [
        "curve25519-sha256",
        "ssh-ed25519",
        "aes256-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-256-etm@openssh.com",
        "none",
        "none",
        "",
        "",
    ];
    let mut payload = vec![KEXINIT];
    payload.extend([5; 16]);
    for list in lists {
        payload.extend(string(list.as_bytes()));
    }
    payload.extend([0; 5]);
    payload
}

fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// A positive number (RFC 4251, mpint).
fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let bytes = &bytes[first..];
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return string(&[&[0][..], bytes].concat());
    }
    string(bytes)
}
