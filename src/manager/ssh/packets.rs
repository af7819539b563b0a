//! Messages over a packet socket, without blocking.

use std::os::fd::{AsFd, OwnedFd};

use meshd_contract::wire::{self, Message, WireError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::manager::socket;

/// One end of a packet socket.
#[derive(Debug)]
pub(super) struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    /// Takes a socket over. Needs the runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn new(socket: OwnedFd) -> std::io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self(socket::readiness(socket)?))
    }

    /// The next message; descriptors that come with it are closed.
    ///
    /// # Errors
    /// [`WireError`]; [`WireError::Closed`] at the end.
    pub(super) async fn receive<M: Message>(&self) -> Result<M, WireError> {
        let received = self.0.async_io(Interest::READABLE, |socket| {
            match wire::receive::<M>(socket.as_fd()) {
                Err(WireError::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
                other => Ok(other),
            }
        });
        match received.await {
            Ok(received) => received.map(|(message, _fds)| message),
            Err(error) => Err(error
                .raw_os_error()
                .map_or(Errno::EIO, Errno::from_raw)
                .into()),
        }
    }

    /// Sends a message, if there is room for it.
    ///
    /// # Errors
    /// [`WireError`]; nothing was sent then.
    pub(super) fn send(&self, message: &impl Message) -> Result<(), WireError> {
        wire::send(self.0.get_ref().as_fd(), message, &[])
    }
}
