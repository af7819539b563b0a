//! A terminal on the client's side.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Instant;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

use crate::client::DEADLINE;

/// A program on a terminal, and the person before it.
pub(crate) struct OnTerminal {
    pub(crate) child: Child,
    master: std::fs::File,
    seen: String,
}

impl OnTerminal {
    /// Starts `command` on a new terminal of this size.
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("a pty");
        let copy = |fd: &OwnedFd| fd.try_clone().expect("a copy");
        command
            .stdin(copy(&pty.slave))
            .stdout(copy(&pty.slave))
            .stderr(copy(&pty.slave));
        // SAFETY: between fork and exec, only system calls.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("ssh");
        Self {
            child,
            master: pty.master.into(),
            seen: String::new(),
        }
    }

    /// Types.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("types");
    }

    /// Makes the window another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: TIOCSWINSZ reads one winsize.
        unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }

    /// Reads until `text` is on the screen; what came before it is forgotten.
    pub(crate) fn expect(&mut self, text: &str) {
        let until = Instant::now() + DEADLINE;
        while !self.seen.contains(text) {
            let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).expect("a short time");
            if poll(&mut ready, left) == Ok(0) {
                panic!("no {text:?} on the screen in time:\n{}", self.seen);
            }
            let mut buffer = [0; 4096];
            match self.master.read(&mut buffer) {
                Ok(length @ 1..) => {
                    self.seen
                        .push_str(&String::from_utf8_lossy(&buffer[..length]));
                }
                end => panic!(
                    "no {text:?} on the screen, {end:?}, {:?}:\n{}",
                    self.child.wait(),
                    self.seen
                ),
            }
        }
        let after = self.seen.find(text).map_or(0, |at| at + text.len());
        self.seen.drain(..after);
    }
}
