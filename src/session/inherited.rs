//! The descriptors that the worker passes on.

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Uid, getresuid};

use super::SessionError;

/// Descriptor numbers, agreed with the worker.
const CONNECTION: RawFd = 3;
const MANAGER: RawFd = 4;
const WORKER: RawFd = 5;

/// What the process has from its worker.
pub(super) struct Inherited {
    /// The accepted TCP socket.
    pub(super) connection: OwnedFd,
    /// The link to the manager; it sees the end of the process by its end.
    pub(super) manager: OwnedFd,
    /// The link to the worker.
    pub(super) worker: OwnedFd,
}

impl Inherited {
    /// Takes the descriptors, once, at the start of the process.
    ///
    /// # Errors
    /// [`SessionError::StartedWrongly`] by hand, as root, or with other descriptors.
    pub(super) fn take() -> Result<Self, SessionError> {
        if std::env::args_os().len() > 1 {
            return Err(wrong("it takes no arguments"));
        }
        refuse_root()?;
        for fd in 0..=WORKER {
            if !is_open(fd) {
                return Err(wrong(format!("descriptor {fd} is not open")));
            }
        }
        close_others()?;
        // SAFETY: the three are open, nothing in this process has taken them yet, and `take` is
        // called once, before anything else opens a descriptor.
        let [connection, manager, worker] =
            [CONNECTION, MANAGER, WORKER].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        expect_socket(&connection, SockType::Stream, false, CONNECTION)?;
        expect_socket(&worker, SockType::SeqPacket, true, WORKER)?;
        Ok(Self {
            connection,
            manager,
            worker,
        })
    }
}

fn refuse_root() -> Result<(), SessionError> {
    let ids = getresuid().map_err(|errno| wrong(format!("getresuid: {errno}")))?;
    if [ids.real, ids.effective, ids.saved].contains(&Uid::from_raw(0)) {
        return Err(wrong("it refuses to run as root"));
    }
    Ok(())
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: the descriptor is only asked for its flags, at once, and not kept.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_GETFD).is_ok()
}

fn close_others() -> Result<(), SessionError> {
    // SAFETY: closes only descriptors that nothing in this process owns: it has just started, and
    // its own are numbered up to WORKER. No memory is touched.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            WORKER + 1,
            nix::libc::c_uint::MAX,
            0,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(wrong(format!("cannot close what was left open: {errno}"))),
    }
}

fn expect_socket(
    fd: &OwnedFd,
    kind: SockType,
    local: bool,
    number: RawFd,
) -> Result<(), SessionError> {
    let other = || wrong(format!("descriptor {number} is not the expected socket"));
    let found = getsockopt(fd, sockopt::SockType).map_err(|_| other())?;
    let name: SockaddrStorage =
        getsockname(std::os::fd::AsRawFd::as_raw_fd(fd)).map_err(|_| other())?;
    if found != kind || (name.family() == Some(AddressFamily::Unix)) != local {
        return Err(other());
    }
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| other())?;
    Ok(())
}

fn wrong(reason: impl Into<String>) -> SessionError {
    SessionError::StartedWrongly(reason.into())
}
