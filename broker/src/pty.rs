//! A terminal that belongs to the account, as tty(4) has it for a login.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Group, Uid, fchown};

/// The user's side of a pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The side that the user's programs have.
    pub slave: OwnedFd,
    /// The slave's path, such as `/dev/pts/3`.
    pub path: String,
}

/// Makes a terminal owned by `uid`, of the group tty with mode 0620, or of `gid` with mode 0600
/// where there is no such group; owner and mode are set on the descriptor, never by path.
///
/// The master comes first. It goes to the session process and must then be closed here, so that
/// its last close is the hang-up.
///
/// # Errors
/// What the kernel said.
pub fn allocate(uid: u32, gid: u32) -> nix::Result<(OwnedFd, Terminal)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname_r(&master)?;
    let slave = open_slave(master.as_raw_fd())?;
    let tty = Group::from_name("tty")
        .ok()
        .flatten()
        .map(|group| group.gid);
    let mode = if tty.is_some() { 0o620 } else { 0o600 };
    fchown(
        &slave,
        Some(Uid::from_raw(uid)),
        Some(tty.unwrap_or(Gid::from_raw(gid))),
    )?;
    fchmod(&slave, Mode::from_bits_truncate(mode))?;
    Ok((OwnedFd::from(master), Terminal { slave, path }))
}

/// Opens the slave without its path, which may name something else in another mount namespace
/// (TIOCGPTPEER, ioctl_tty(2)).
fn open_slave(master: i32) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor or -1.
    let slave = Errno::result(unsafe { libc::ioctl(master, libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}
