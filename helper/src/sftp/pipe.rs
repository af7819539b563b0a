//! The channel's pipes.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd;

/// A pipe's room in bytes, as much as an account may ask for (pipe(7)).
const ROOM: i32 = 1 << 20;

/// One end of a pipe, without a buffer.
pub(super) struct Pipe<D>(D);

impl<D: AsFd> Pipe<D> {
    /// With as much room as the kernel gives.
    pub(super) fn of(descriptor: D) -> Self {
        // Fails at what is no pipe, and when the account has many: then it stays as it is.
        let _ = fcntl(&descriptor, FcntlArg::F_SETPIPE_SZ(ROOM));
        Self(descriptor)
    }
}

impl<D: AsFd> Read for Pipe<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(unistd::read(&self.0, buffer)?)
    }
}

impl<D: AsFd> Write for Pipe<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(unistd::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
