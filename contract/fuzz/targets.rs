//! What is fuzzed, by cargo-fuzz and by `tests/fuzz.rs` alike. It returns a word for what came of
//! the input, so that a runner without coverage can tell new behaviour from old.

use std::fmt::Debug;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use meshd_contract::broker::{FromManager, FromSession, ToManager, ToManagerLink, ToSession};
use meshd_contract::helper::{FromHelper, ToHelper};
use meshd_contract::wire::{self, Message, WireError};
use nix::sys::socket::MsgFlags;

/// Receives the input as a packet, from its second byte on, as the kind of message that its first
/// byte says. What is a message must arrive as the same message when it is sent on.
pub(crate) fn messages(input: &[u8]) -> String {
    let Some((kind, packet)) = input.split_first() else {
        return "empty".to_owned();
    };
    match kind % 7 {
        0 => receive::<FromManager>(packet),
        1 => receive::<ToManager>(packet),
        2 => receive::<FromSession>(packet),
        3 => receive::<ToSession>(packet),
        4 => receive::<ToManagerLink>(packet),
        5 => receive::<ToHelper>(packet),
        _ => receive::<FromHelper>(packet),
    }
}

fn receive<M: Message + PartialEq + Debug>(packet: &[u8]) -> String {
    let (ours, theirs) = wire::pair().expect("a pair");
    if !put(&theirs, packet) {
        return "refused by the kernel".to_owned();
    }
    let message = match wire::receive::<M>(ours.as_fd()) {
        Ok((message, fds)) => {
            assert!(fds.is_empty(), "descriptors out of nothing");
            message
        }
        Err(error) => return shape(&error),
    };
    wire::send(ours.as_fd(), &message, &[]).expect("what was received can be sent");
    let (again, _) = wire::receive::<M>(theirs.as_fd()).expect("and received again");
    assert_eq!(again, message);
    let text = format!("{message:?}");
    text.chars()
        .filter(|c| c.is_ascii_alphabetic())
        .take(40)
        .collect()
}

fn put(socket: &OwnedFd, packet: &[u8]) -> bool {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    nix::sys::socket::send(socket.as_raw_fd(), packet, flags).is_ok()
}

fn shape(error: &WireError) -> String {
    let text = error.to_string();
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
