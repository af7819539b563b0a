//! Descriptors of the worker's that the runtime waits for.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
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

    /// Waits for something to read and puts it, at most `most` bytes, into `room`; 0 at the end. A
    /// terminal ends with EIO when nobody has it open.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn read(&self, room: &mut BytesMut, most: usize) -> io::Result<usize> {
        let mut last = self.last.subscribe();
        tokio::select! {
            biased;
            read = self.fd.async_io(Interest::READABLE, |fd| read_now(fd, room, most)) => read,
            _ = last.wait_for(|last| *last) => match read_now(self.fd.get_ref(), room, most) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                read => read,
            },
        }
    }

    /// Writes all of `pieces`.
    ///
    /// # Errors
    /// The kernel's; `BrokenPipe` when nobody reads any more.
    pub(super) async fn write_all(&self, pieces: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let write = |fd: &OwnedFd| Ok(nix::sys::uio::writev(fd, rest)?);
            let written = self.fd.async_io(Interest::WRITABLE, write).await?;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }
}

fn read_now(fd: &OwnedFd, room: &mut BytesMut, most: usize) -> io::Result<usize> {
    // SAFETY: read(2) fills at most as many bytes as it is told, and says how many.
    match unsafe {
        fill(room, most, |free| {
            libc::read(fd.as_raw_fd(), free.cast(), most)
        })
    } {
        Err(Errno::EIO) => Ok(0),
        read => Ok(read?),
    }
}

/// Makes room for `most` bytes and has `read` fill it, without clearing it before.
///
/// # Errors
/// The kernel's, when `read` returns -1.
///
/// # Safety
/// `read` returns how many bytes it has filled, at most `most`.
pub(super) unsafe fn fill(
    room: &mut BytesMut,
    most: usize,
    read: impl FnOnce(*mut u8) -> isize,
) -> nix::Result<usize> {
    room.reserve(most);
    let read = Errno::result(read(room.spare_capacity_mut().as_mut_ptr().cast()))?;
    let read = usize::try_from(read).unwrap_or_default();
    // SAFETY: so many bytes behind the old ones have been filled, and there was room for `most`.
    unsafe { room.set_len(room.len() + read) };
    Ok(read)
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
