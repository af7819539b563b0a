//! The first process of a host: it sets the host up, collects its orphans and its log, and ends
//! when the test does; the kernel then kills everything else in the host.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::{PROGRAMS, READY, accounts, announce, root};
use crate::error::{Doing, LabError};
use crate::{Result, programs};

/// Where the host's log is.
pub(crate) const LOG: &str = "/var/log/syslog";

/// `NAME`: becomes the host of this name.
pub(super) fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "bind the host to the test".to_owned())?;
    let [name] = arguments.as_slice() else {
        return Err(LabError::Unfit("lab-init init NAME".to_owned()));
    };
    let programs = std::env::var_os(PROGRAMS).unwrap_or_default();
    root::make("/".as_ref(), &programs::decode(&programs))?;
    accounts::name_host(&name.to_string_lossy())?;
    accounts::install()?;
    let log = UnixDatagram::bind("/dev/log").doing(|| "make /dev/log".to_owned())?;
    std::fs::set_permissions(
        "/dev/log",
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )
    .doing(|| "open /dev/log to all".to_owned())?;
    let children = watch_children()?;
    announce(READY)?;
    serve(&log, &children).doing(|| "serve the host".to_owned())?;
    Ok(ExitCode::SUCCESS)
}

fn watch_children() -> Result<SignalFd> {
    let mask: SigSet = std::iter::once(Signal::SIGCHLD).collect();
    mask.thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC))
        .doing(|| "watch the host's processes".to_owned())
}

fn serve(log: &UnixDatagram, children: &SignalFd) -> io::Result<()> {
    let mut sink = File::options().create(true).append(true).open(LOG)?;
    // SAFETY: nothing in this process closes standard input.
    let test = unsafe { BorrowedFd::borrow_raw(0) };
    let mut buffer = [0; 16 << 10];
    loop {
        let mut watched = [
            PollFd::new(test, PollFlags::POLLIN),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(log.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut watched, PollTimeout::NONE)?;
        let [test_ended, child_ended, logged] = watched.map(|w| w.any().unwrap_or(false));
        if test_ended {
            return Ok(());
        }
        if child_ended {
            let _ = children.read_signal();
            reap();
        }
        if logged {
            let length = log.recv(&mut buffer)?;
            sink.write_all(buffer[..length].trim_ascii_end())?;
            sink.write_all(b"\n")?;
        }
    }
}

fn reap() {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    while waitid(Id::All, ended).is_ok_and(|status| status != WaitStatus::StillAlive) {}
}
