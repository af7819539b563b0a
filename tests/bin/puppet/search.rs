//! Looks for a host key in the memory of a process, as root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::say;

/// The longest piece of memory that is read at once.
const PIECE: usize = 1 << 20;

const SEED: usize = 32;

/// Prints how often the private half of the key in `file` is in the memory of the process.
pub(crate) fn run(pid: &str, file: &str) {
    let seed = private_half(&fs::read_to_string(file).expect("a key"));
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its memory");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let found: usize = maps
        .lines()
        .filter_map(range)
        .map(|(start, end)| count(&memory, start, end, &seed))
        .sum();
    say(&format!("found {found}"));
}

/// An unencrypted key of OpenSSH ends with the private half, the public half, and a comment: the
/// two halves are one string of 64 bytes (PROTOCOL.key).
fn private_half(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = decoded(&body);
    let length = [0, 0, 0, 64];
    let at = bytes.windows(4).position(|window| window == length);
    let at = at.expect("an ed25519 key without a passphrase") + length.len();
    bytes[at..at + SEED].to_vec()
}

/// Base64 (RFC 4648).
fn decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for sextet in text.bytes().filter_map(value) {
        bits = (bits << 6) | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    bytes
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

fn count(memory: &File, start: u64, end: u64, seed: &[u8]) -> usize {
    let mut found = 0;
    let mut piece = vec![0; PIECE + SEED];
    for at in (start..end).step_by(PIECE) {
        let length = piece.len().min(usize::try_from(end - at).unwrap_or(0));
        // What cannot be read, such as the kernel's own pages, holds no secret of the program's.
        if let Ok(length) = memory.read_at(&mut piece[..length], at) {
            found += piece[..length].windows(SEED).filter(|w| *w == seed).count();
        }
    }
    found
}
