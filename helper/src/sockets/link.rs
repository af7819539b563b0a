//! The socket to the worker.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use meshd_contract::helper::{FromHelper, MAX_WORDS_BYTES, ToHelper};
use meshd_contract::wire::{self, WireError};
use nix::poll::PollFlags;

/// The link; what there is no room for waits. The worker asks for no more than it can take, so
/// that little waits.
pub(super) struct Link {
    socket: OwnedFd,
    waiting: VecDeque<(FromHelper, Option<OwnedFd>)>,
    open: bool,
}

/// What a turn at the socket has brought.
pub(super) enum Heard {
    Message(ToHelper),
    Nothing,
    End,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
            open: true,
        }
    }

    pub(super) fn source(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn events(&self) -> PollFlags {
        if self.has_room() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        }
    }

    /// Whether what is told now is sent now.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn hear(&self) -> Heard {
        match wire::receive::<ToHelper>(self.socket.as_fd()) {
            Ok((message, _)) => Heard::Message(message),
            Err(WireError::WouldBlock) => Heard::Nothing,
            Err(
                WireError::Closed
                | WireError::TooLarge
                | WireError::Version(_)
                | WireError::Malformed
                | WireError::Socket(_),
            ) => Heard::End,
        }
    }

    pub(super) fn tell(&mut self, message: FromHelper, socket: Option<OwnedFd>) {
        self.waiting.push_back((message, socket));
        self.flush();
    }

    /// Sends what there is room for.
    pub(super) fn flush(&mut self) {
        while let Some((message, socket)) = self.waiting.front() {
            let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
            match wire::send(self.socket.as_fd(), message, &fds) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(WireError::WouldBlock) => return,
                Err(_) => {
                    self.open = false;
                    return;
                }
            }
        }
    }
}

/// Words of a length that the worker takes.
pub(super) fn bounded(words: &str) -> String {
    let mut end = words.len().min(MAX_WORDS_BYTES);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(bounded("Connection refused"), "Connection refused");
        let long = bounded(&"ß".repeat(MAX_WORDS_BYTES));
        assert_eq!(long.len(), MAX_WORDS_BYTES);
        assert_eq!(bounded(&format!("x{}", "ß".repeat(400))).len(), 511);
    }
}
