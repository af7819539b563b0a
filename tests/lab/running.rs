//! A command that runs in a host.

use std::fs;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, LabError, Result};
use crate::wait_for;

/// A command that was started; it is killed when this value goes.
#[derive(Debug)]
pub struct Running {
    /// `lab-init`, whose only child is the command.
    entering: Child,
    what: String,
    /// To what it reads, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// From its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// From its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
}

impl Running {
    pub(crate) fn new(mut entering: Child, what: String) -> Self {
        Self {
            stdin: entering.stdin.take(),
            stdout: entering.stdout.take(),
            stderr: entering.stderr.take(),
            entering,
            what,
        }
    }

    /// Its number, as this machine counts; none when it has ended or not begun.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let parent = self.entering.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.ok()?.trim().parse().ok()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`LabError::Failed`] if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let ended = || LabError::Failed(format!("{} has ended", self.what));
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        kill(Pid::from_raw(pid.ok_or_else(ended)?), signal).map_err(|_| ended())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.entering.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`LabError::Late`] when the deadline passes.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("end of {}", self.what);
        wait_for(&what, deadline, || self.ended())
    }

    /// Kills it and waits for its end; the status that it had or now has.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        // Between the start of lab-init and that of the command there is no one else to kill.
        if self.signal(Signal::SIGKILL).is_err() && self.ended().is_none() {
            let _ = self.entering.kill();
        }
        self.entering
            .wait()
            .doing(|| format!("wait for {}", self.what))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
