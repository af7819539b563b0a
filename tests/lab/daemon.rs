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
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Process(Running),
    /// As systemd runs it; the command is systemctl(1) of its host.
    Unit(HostCommand),
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
                runs: Runs::Process(running),
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

    /// Starts a unit of a booted host, and waits until it has made the file `sign`, anew if
    /// there was one; a unit that runs already is taken as it is.
    ///
    /// # Errors
    /// [`LabError::Failed`] with its log if it does not start.
    pub fn start_unit(host: &Host, unit: &str, sign: &str) -> Result<Self> {
        let systemctl = host.command("systemctl");
        let runs = systemctl
            .clone()
            .args(["--quiet", "is-active", unit])
            .output()?;
        let old = host.inode(sign).filter(|_| !runs.status.success());
        let started = systemctl.clone().args(["start", unit]).succeed();
        let came = started.and_then(|_| {
            wait_for(&format!("{sign} of {unit}"), DEADLINE, || {
                let is_new = host.inode(sign).is_some_and(|inode| Some(inode) != old);
                is_new.then_some(())
            })
        });
        came.map_err(|error| LabError::Failed(format!("{error}\n{}", journal(host, unit))))?;
        Ok(Self {
            name: unit.to_owned(),
            runs: Runs::Unit(systemctl),
        })
    }

    /// Asks it to stop (SIGTERM, or systemd) and waits.
    ///
    /// # Errors
    /// [`LabError::Late`] if it does not.
    pub fn stop(self) -> Result<ExitStatus> {
        match self.runs {
            Runs::Process(mut running) => {
                running.signal(Signal::SIGTERM)?;
                running.wait(STOP)
            }
            Runs::Unit(systemctl) => Ok(systemctl.args(["stop", &self.name]).succeed()?.status),
        }
    }

    /// Kills its main process, as a crash would; systemd then starts a unit again.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be waited for, [`LabError::Failed`] if it has ended.
    pub fn crash(self) -> Result<ExitStatus> {
        match self.runs {
            Runs::Process(mut running) => running.kill(),
            Runs::Unit(systemctl) => Ok(signal_unit(systemctl, &self.name, Signal::SIGKILL)?),
        }
    }

    /// Sends its main process a signal.
    ///
    /// # Errors
    /// [`LabError::Failed`] if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match &self.runs {
            Runs::Process(running) => running.signal(signal),
            Runs::Unit(systemctl) => signal_unit(systemctl.clone(), &self.name, signal).map(drop),
        }
    }

    /// What it was started as, and what its log is named after.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn signal_unit(systemctl: HostCommand, unit: &str, signal: Signal) -> Result<ExitStatus> {
    let words = [
        "kill",
        "--kill-whom=main",
        "--signal",
        signal.as_str(),
        unit,
    ];
    Ok(systemctl.args(words).succeed()?.status)
}

/// What a unit has said.
pub(crate) fn journal(host: &Host, unit: &str) -> String {
    let words = ["--no-pager", "--output", "cat", "--unit", unit];
    let said = host.command("journalctl").args(words).output();
    said.map_or_else(|error| error.to_string(), |output| output.stdout)
}

/// Where a daemon's words are.
pub(crate) fn log_of(name: &str) -> String {
    format!("/var/log/{name}.log")
}
