//! Descriptors of the worker's that the runtime waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Larger than the kernel's 64 KiB: bulk transfers switch between processes less often.
const PIPE_BYTES: i32 = 1 << 20;

/// One end of a pipe, or a terminal's master side.
pub(super) struct Pipe(AsyncFd<OwnedFd>);

impl Pipe {
    /// Takes a descriptor over.
    ///
    /// # Errors
    /// The kernel's, when the descriptor cannot be watched.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = fcntl(&fd, FcntlArg::F_GETFL)?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(flags))?;
        // No pipe, or none left of the user's share of pipe memory: as large as it is will do.
        let _ = fcntl(&fd, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self(watch(fd)?))
    }

    /// Reads what is there; 0 at the end. A terminal ends with EIO when nobody has it open.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::READABLE, |fd| {
                match nix::unistd::read(fd, buffer) {
                    Err(Errno::EIO) => Ok(0),
                    result => Ok(result?),
                }
            })
            .await
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The kernel's; `BrokenPipe` when nobody reads any more.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self
                .0
                .async_io(Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, bytes)?))
                .await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Has the runtime watch a descriptor.
///
/// # Errors
/// The kernel's, for a descriptor that cannot be waited for.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open, with one number, for as long as it is watched.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
