//! The project's daemons in a host.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::{LabError, Result};
use crate::{DEADLINE, Host, HostCommand, Running, wait_for};

/// How long a daemon may take to stop when asked.
const STOP: Duration = Duration::from_secs(20);

/// A daemon that was started.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    running: Running,
}

impl Daemon {
    /// Starts `command` with its words in `/var/log/NAME.log`, and waits until it has made the
    /// file `sign`, anew if there was one.
    ///
    /// # Errors
    /// [`LabError::Failed`] with its log if it ends before that or takes too long.
    pub fn start(host: &Host, name: &str, command: HostCommand, sign: &str) -> Result<Self> {
        let old = host.inode(sign);
        let log = host.append(log_of(name))?;
        let mut running = command.spawn_into(&log)?;
        let mut end = None;
        let came = wait_for(&format!("{sign} of {name}"), DEADLINE, || {
            end = running.ended();
            let is_new = host.inode(sign).is_some_and(|inode| Some(inode) != old);
            (end.is_some() || is_new).then_some(())
        });
        if let (Ok(()), None) = (&came, end) {
            return Ok(Self {
                name: name.to_owned(),
                running,
            });
        }
        let said = host.read_text(log_of(name)).unwrap_or_default();
        let how = end.map_or_else(
            || "did not get ready".to_owned(),
            |end| format!("ended ({end})"),
        );
        Err(LabError::Failed(format!(
            "{name} on {} {how}:\n{said}",
            host.name()
        )))
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// [`LabError::Late`] if it does not.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.running.signal(Signal::SIGTERM)?;
        self.running.wait(STOP)
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be waited for.
    pub fn crash(mut self) -> Result<ExitStatus> {
        self.running.kill()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`LabError::Failed`] if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// What it was started as, and what its log is named after.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Where a daemon's words are.
pub(crate) fn log_of(name: &str) -> String {
    format!("/var/log/{name}.log")
}
