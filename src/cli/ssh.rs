//! `mesh ssh` and `mesh known-hosts`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use meshd_contract::paths;

use super::client::{Client, unexpected};
use super::{CliError, print};
use crate::local_api::{Request, Response};

/// How long a login waits for host keys before ssh asks its own files.
const SSH_PATIENCE: Duration = Duration::from_secs(5);

/// Becomes ssh, which asks this command for the host keys.
pub(super) fn run(socket: &Path, arguments: &[OsString]) -> Result<ExitCode, CliError> {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/mesh".into());
    let mut ssh = Command::new("ssh");
    ssh.args(options(program.as_os_str(), socket))
        .args(arguments);
    Err(CliError::NoSsh(ssh.exec()))
}

/// Host keys come from the mesh alone: no file is read or written, and no question asked.
///
/// The first value of an option counts (ssh_config(5)), so that these stand before the user's.
fn options(program: &OsStr, socket: &Path) -> Vec<OsString> {
    let mut known_hosts = OsString::from("KnownHostsCommand=");
    known_hosts.push(program);
    if socket != Path::new(paths::MANAGER_SOCKET) {
        known_hosts.push(" --socket ");
        known_hosts.push(socket);
    }
    known_hosts.push(" known-hosts %H");
    let fixed = [
        "UserKnownHostsFile=none",
        "GlobalKnownHostsFile=none",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
    ];
    let all = fixed.into_iter().map(OsString::from).chain([known_hosts]);
    all.flat_map(|option| ["-o".into(), option]).collect()
}

/// With a host this answers ssh, for every host that anybody on this machine connects to. ssh gives
/// up where its KnownHostsCommand fails, so that a manager that is away must look like one that
/// does not know the host.
pub(super) fn known_hosts(socket: &Path, host: Option<&str>) -> Result<(), CliError> {
    match lines(socket, host) {
        Err(CliError::NoManager { .. } | CliError::Refused(_)) if host.is_some() => Ok(()),
        Err(error) => Err(error),
        Ok(lines) => print(
            &lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        ),
    }
}

fn lines(socket: &Path, host: Option<&str>) -> Result<Vec<String>, CliError> {
    let mut client = Client::connect(socket)?;
    client.wait_at_most(SSH_PATIENCE)?;
    let request = Request::KnownHosts {
        host: host.map(str::to_owned),
    };
    match client.ask(&request)? {
        Response::KnownHosts { lines } => Ok(lines),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_is_away_knows_no_host() {
        let socket = Path::new("/nonexistent/meshd.sock");
        assert!(known_hosts(socket, Some("github.com")).is_ok());
        assert!(known_hosts(socket, None).is_err());
    }

    #[test]
    fn ssh_asks_this_program() {
        let options = options(
            OsStr::new("/usr/bin/mesh"),
            Path::new(paths::MANAGER_SOCKET),
        );
        let asks = OsString::from("KnownHostsCommand=/usr/bin/mesh known-hosts %H");
        assert!(options.contains(&asks));
        assert!(options.iter().step_by(2).all(|flag| flag == "-o"));
    }
}
