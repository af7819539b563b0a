//! What the laptop does to a server.

use std::time::Duration;

use meshd_lab::{HostCommand, LabError, Mesh, Result, Running};

use crate::server::Server;

const LONG: Duration = Duration::from_secs(600);

/// A script on the laptop.
pub(crate) fn on_laptop(mesh: &Mesh, script: &str) -> HostCommand {
    let shell = mesh.host("laptop").command("bash");
    shell.args(["-c", script]).deadline(LONG)
}

/// How many seconds a script on the laptop takes, its shell's start left out.
pub(crate) fn seconds(mesh: &Mesh, script: &str) -> Result<f64> {
    let timed = format!(
        "from=$EPOCHREALTIME\n{{ {script}\n}} || exit 1\nto=$EPOCHREALTIME
        echo $((${{to/./}} - ${{from/./}})) >&2"
    );
    let said = on_laptop(mesh, &timed).succeed()?.stderr;
    let micros: f64 = number(said.lines().last().unwrap_or_default())?;
    Ok(micros / 1e6)
}

/// The number that a text is.
pub(crate) fn number(text: &str) -> Result<f64> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| LabError::Failed(format!("{text:?} is no number")))
}

/// A connection that commands share, so that its set-up is not measured with them.
pub(crate) struct Connection {
    _master: Running,
    options: String,
}

impl Connection {
    /// Opens one; `program` is ssh, and `options` are more of its options.
    pub(crate) fn open(mesh: &Mesh, server: Server, program: &str, options: &str) -> Result<Self> {
        let socket = format!("/tmp/connection.{server:?}");
        let to = server.options();
        let line = format!("exec {program} {to} {options} -M -S {socket} -N alice@web1");
        mesh.host("laptop").sh(&format!("rm -f {socket}"))?;
        let master = on_laptop(mesh, &line).spawn()?;
        mesh.wait_for_file("laptop", &socket)?;
        Ok(Self {
            _master: master,
            options: format!("{to} -o ControlPath={socket}"),
        })
    }

    /// One to each server, in the order of [`Server::BOTH`].
    pub(crate) fn open_both(mesh: &Mesh, program: &str, options: &str) -> Result<[Self; 2]> {
        let [ours, theirs] = Server::BOTH;
        Ok([
            Self::open(mesh, ours, program, options)?,
            Self::open(mesh, theirs, program, options)?,
        ])
    }

    /// What ssh, scp and sftp are told to use it.
    pub(crate) fn options(&self) -> &str {
        &self.options
    }
}
