//! Terminals of a host, with a person's eyes and hands.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::pty::Winsize;

use crate::error::{Doing, Result};
use crate::{DEADLINE, wait_for};

nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, Winsize);

/// A terminal: what is typed, and what is shown.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(crate) fn new(master: File) -> Result<Self> {
        let slave = unlock(&master).doing(|| "open the terminal's other side".to_owned())?;
        let shown = Arc::default();
        let reader = master
            .try_clone()
            .doing(|| "share the terminal".to_owned())?;
        let screen = Arc::clone(&shown);
        thread::spawn(move || watch(reader, &screen));
        let terminal = Self {
            master,
            slave,
            shown,
        };
        terminal.resize(80, 24)?;
        Ok(terminal)
    }

    /// Changes its size, in characters.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if the kernel refuses.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: TIOCSWINSZ reads one Winsize, which lives until the call returns.
        unsafe { set_window_size(self.master.as_raw_fd(), &raw const size) }
            .map(drop)
            .doing(|| "resize the terminal".to_owned())
    }

    /// Types this.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if nobody can read it any more.
    pub fn send(&self, text: &str) -> Result<()> {
        (&self.master)
            .write_all(text.as_bytes())
            .doing(|| "type".to_owned())
    }

    /// Everything shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        let bytes = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything that was written by now, such as by a program that has just ended.
    ///
    /// # Errors
    /// [`crate::LabError::Late`] if that is not read in time.
    pub fn shown_at_the_end(&self) -> Result<String> {
        const MARK: &str = "\u{1c}";
        File::from(self.slave()?)
            .write_all(MARK.as_bytes())
            .doing(|| "write to the terminal".to_owned())?;
        let shown = self.expect(MARK, DEADLINE)?;
        Ok(shown.replace(MARK, ""))
    }

    /// Waits until this text has been shown; everything shown so far.
    ///
    /// # Errors
    /// [`crate::LabError::Late`] with what was shown instead.
    pub fn expect(&self, text: &str, deadline: Duration) -> Result<String> {
        let look = || Some(self.shown()).filter(|shown| shown.contains(text));
        wait_for(&format!("{text:?} on the terminal"), deadline, look).map_err(|late| {
            crate::LabError::Failed(format!("{late}; it showed:\n{}", self.shown()))
        })
    }

    pub(crate) fn slave(&self) -> Result<OwnedFd> {
        self.slave
            .try_clone()
            .doing(|| "share the terminal".to_owned())
    }
}

fn unlock(master: &File) -> nix::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which lives until the call returns.
    Errno::result(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked)
    })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags and returns a new descriptor or -1.
    let raw = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn watch(mut reader: File, screen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        let mut shown = screen.lock().unwrap_or_else(PoisonError::into_inner);
        shown.extend_from_slice(&buffer[..length]);
    }
}
