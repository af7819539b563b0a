//! Tells the service manager that the listener serves (sd_notify(3)).

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};

/// Does nothing where no service manager asks for it.
///
/// # Errors
/// What the kernel says; the service manager then takes the start for a failure.
pub fn announce() -> nix::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        path => UnixAddr::new(path)?,
    };
    let manager = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    sendto(
        manager.as_raw_fd(),
        b"READY=1",
        &address,
        MsgFlags::MSG_NOSIGNAL,
    )
    .map(drop)
}
