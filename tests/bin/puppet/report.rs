//! What a session process says to its client instead of SSH.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

use crate::CLIENT;

/// What comes before anything that breaks a promise.
pub(crate) const BAD: &str = "bad: ";

/// The client's socket.
pub(crate) struct Report(File);

impl Report {
    pub(crate) fn new() -> Self {
        // SAFETY: the worker has put the client's socket there, and this is called once.
        Self(unsafe { File::from_raw_fd(CLIENT) })
    }

    /// What this connection is to try.
    pub(crate) fn read_seed(&mut self) -> u64 {
        let mut seed = [0; 8];
        self.0.read_exact(&mut seed).expect("a seed");
        u64::from_le_bytes(seed)
    }

    pub(crate) fn say(&mut self, line: &str) {
        let _ = writeln!(self.0, "{line}");
    }

    /// Says that a promise was broken, and ends.
    pub(crate) fn bad(&mut self, what: &str) -> ! {
        self.say(&format!("{BAD}{what}"));
        std::process::exit(1)
    }
}
