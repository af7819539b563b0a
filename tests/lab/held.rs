//! Namespaces, held by a process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::error::{Doing, LabError, Result};
use crate::inside::READY;

/// Namespaces that end with this value, or with the process that has it, whichever is first.
#[derive(Debug)]
pub(crate) struct Held {
    holder: Child,
    lifeline: Option<ChildStdin>,
    /// The process in the namespaces.
    pub(crate) pid: u32,
}

impl Held {
    /// Starts `lab_init` and waits until it is ready.
    pub(crate) fn start(name: &str, lab_init: &mut Command) -> Result<Self> {
        let mut holder = lab_init
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| "start lab-init".to_owned())?;
        let lifeline = holder.stdin.take();
        if let Some(pid) = holder.stdout.as_mut().and_then(hear) {
            return Ok(Self {
                holder,
                lifeline,
                pid,
            });
        }
        drop(lifeline);
        let output = holder
            .wait_with_output()
            .doing(|| "hear from lab-init".to_owned())?;
        Err(LabError::Start {
            host: name.to_owned(),
            why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// The process's number, once it is ready; none if it ended before.
fn hear(stream: impl Read) -> Option<u32> {
    let (mut pid, mut ready) = (None, false);
    for line in BufReader::new(stream).lines().map_while(|line| line.ok()) {
        ready |= line == READY;
        pid = pid.or_else(|| line.strip_prefix("pid ")?.parse().ok());
        if ready && pid.is_some() {
            return pid;
        }
    }
    None
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.holder.wait();
    }
}
