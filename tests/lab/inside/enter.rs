//! Brings a command into a host.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::Result;
use crate::error::{Doing, LabError};
use crate::inside::{NAMESPACES, PASSED, cgroup};

nix::ioctl_write_int_bad!(set_controlling_terminal, nix::libc::TIOCSCTTY);

/// `PID tty|plain COMMAND...`: runs the command in the host whose first process is `PID`.
///
/// With `tty`, standard input becomes its controlling terminal. The command dies with this
/// process.
pub(super) fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    let [pid, mode, program, rest @ ..] = arguments.as_slice() else {
        return Err(LabError::Unfit(
            "lab-init enter PID tty|plain COMMAND...".to_owned(),
        ));
    };
    let processes = join(pid)?;
    let with_terminal = mode == "tty";
    let passed = std::env::var(PASSED)
        .ok()
        .and_then(|count| count.parse().ok());
    let mut command = Command::new(program);
    command.args(rest).env_remove(PASSED);
    // SAFETY: the closure makes system calls only, on descriptors that every process has.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // A script that starts the tests in the background has them ignore these (bash(1)).
            for ignored in [Signal::SIGINT, Signal::SIGQUIT] {
                signal(ignored, SigHandler::SigDfl)?;
            }
            processes.as_ref().map_or(Ok(()), cgroup::enter)?;
            if with_terminal {
                setsid()?;
                set_controlling_terminal(0, 0)?;
            }
            Ok(())
        });
    }
    let mut child = command
        .spawn()
        .doing(|| format!("run {}", program.to_string_lossy()))?;
    let _ = let_go_of_streams();
    let_go_of_passed(passed.unwrap_or(0));
    let status = child.wait().doing(|| "wait for the command".to_owned())?;
    Ok(exit_code(status))
}

/// Joins the host; what brings a process into its cgroup, if it has one.
fn join(pid: &OsString) -> Result<Option<File>> {
    let pid: i32 = pid
        .to_string_lossy()
        .parse()
        .map_err(|_| LabError::Unfit("lab-init enter: PID is no number".to_owned()))?;
    let gone = || "enter the host: it has ended".to_owned();
    let pidfd = pidfd(pid).doing(gone)?;
    let processes = cgroup::of_commands(pid)?;
    setns(pidfd, NAMESPACES | CloneFlags::CLONE_NEWCGROUP).doing(gone)?;
    Ok(processes)
}

/// A descriptor of a process (pidfd_open(2)).
pub(super) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two integers and returns a new descriptor or -1.
    let raw = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    let raw = i32::try_from(Errno::result(raw)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Whoever reads the command's output must see its end when the command closes it.
fn let_go_of_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    if null.as_raw_fd() > 2 {
        dup2_stderr(&null)?;
    }
    Ok(())
}

/// So it is with descriptors that the command has beside its streams, from number 3 on.
fn let_go_of_passed(count: u32) {
    if let Some(last) = count.checked_add(2).filter(|last| *last >= 3) {
        // SAFETY: closes descriptors that this process was started with for its child only, which
        // nothing in it owns. No memory is touched.
        unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3, last, 0) };
    }
}

/// Passes a child's end on: its code, or death by the same signal.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal().and_then(|s| Signal::try_from(s).ok()) {
        let _ = raise(signal);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(125))
}
