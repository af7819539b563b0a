//! The process that holds a booted host: outside of it, as the first process inside is systemd.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

use super::{NAMESPACES, announce, cgroup, enter};
use crate::Result;
use crate::error::Doing;

/// `NAME`: holds a booted host of this name until standard input ends; the kernel then takes
/// everything in it away.
pub(super) fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    let cgroup = cgroup::make()?;
    let held = hold(&cgroup.clone().into_os_string(), arguments);
    cgroup::remove(&cgroup).doing(|| format!("remove {}", cgroup.display()))?;
    held.map(enter::exit_code)
}

/// Stays in this machine's mount namespace, in which the cgroup is.
fn hold(cgroup: &OsString, arguments: Vec<OsString>) -> Result<ExitStatus> {
    unshare(NAMESPACES - CloneFlags::CLONE_NEWNS).doing(|| "make namespaces".to_owned())?;
    let program = std::env::current_exe().doing(|| "find the running program".to_owned())?;
    let mut first = Command::new(program)
        .arg("boot")
        .arg(cgroup)
        .args(arguments)
        .spawn()
        .doing(|| "start the host's first process".to_owned())?;
    let held = announce(&format!("pid {}", first.id())).and_then(|()| {
        wait_for_an_end(&first).doing(|| "wait for the test or the host".to_owned())
    });
    let _ = first.kill();
    let status = first.wait().doing(|| "wait for the host".to_owned())?;
    held.map(|()| status)
}

/// Returns when the test ends, or the host.
fn wait_for_an_end(first: &Child) -> io::Result<()> {
    let host = enter::pidfd(i32::try_from(first.id()).map_err(io::Error::other)?)?;
    // SAFETY: nothing in this process closes standard input.
    let test = unsafe { BorrowedFd::borrow_raw(0) };
    let mut watched = [
        PollFd::new(test, PollFlags::POLLIN),
        PollFd::new(host.as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut watched, PollTimeout::NONE)?;
    Ok(())
}
