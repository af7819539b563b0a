//! The channel's pipes.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::unistd;

/// One end of a pipe, without the buffer that the standard library has for it.
pub(super) struct Pipe<D>(pub(super) D);

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
