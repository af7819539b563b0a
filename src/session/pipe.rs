//! Descriptors of the worker's that the runtime waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Larger than the kernel's 64 KiB: bulk transfers switch between processes less often.
const PIPE_BYTES: i32 = 1 << 20;

/// One end of a pipe, or a terminal's master side.
pub(super) struct Pipe {
    fd: AsyncFd<OwnedFd>,
    /// What is there is the rest.
    last: watch::Sender<bool>,
}

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
        Ok(Self {
            fd: register(fd)?,
            last: watch::Sender::new(false),
        })
    }

    /// From now on, reading ends where nothing is there, even while somebody has the other side
    /// open. A terminal's program has ended, and a job that it left behind does not keep the
    /// user waiting; what the program wrote is there (the kernel moves it before it says EAGAIN).
    pub(super) fn end_when_drained(&self) {
        self.last.send_replace(true);
    }

    /// Reads what is there; 0 at the end. A terminal ends with EIO when nobody has it open.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut last = self.last.subscribe();
        tokio::select! {
            biased;
            read = self.fd.async_io(Interest::READABLE, |fd| read_now(fd, buffer)) => read,
            _ = last.wait_for(|last| *last) => match read_now(self.fd.get_ref(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                read => read,
            },
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The kernel's; `BrokenPipe` when nobody reads any more.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self
                .fd
                .async_io(Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, bytes)?))
                .await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

fn read_now(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    match nix::unistd::read(fd, buffer) {
        Err(Errno::EIO) => Ok(0),
        read => Ok(read?),
    }
}

/// Has the runtime watch a descriptor.
///
/// # Errors
/// The kernel's, for a descriptor that cannot be waited for.
pub(super) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open, with one number, for as long as it is watched.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}
