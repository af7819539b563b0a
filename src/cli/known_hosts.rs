//! `mesh known-hosts`: what ssh's configuration asks.
//!
//! It reads files and asks no process: ssh to any host waits for it. Which hosts are the mesh's is
//! the manager's word; their keys count only as control has signed them, held against root's pin.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use meshd_contract::document::Version;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::paths;
use meshd_contract::signed::{self, Expected, MAX_DOCUMENT_BYTES};

use super::{CliError, print, tell, up};
use crate::known_hosts::{self, Wanted};
use crate::manager::control::clock;
use crate::manager::control_keys;
use crate::regular_file;

#[derive(Debug, Args)]
pub(super) struct KnownHosts {
    /// Only of the node with this name or address.
    host: Option<String>,
    /// Print nothing; exit with 0 if the node's host keys are known, else with 1.
    #[arg(long, requires = "host")]
    quiet: bool,
    /// Write this name in front of the keys, in place of the node's own.
    #[arg(long = "as", value_name = "NAME", requires = "host")]
    name: Option<String>,
    /// Only this key.
    #[arg(long, value_name = "BASE64", requires = "host")]
    only: Option<String>,
}

/// With a host this answers ssh, which gives up where its KnownHostsCommand fails: what is not
/// known is no error then.
pub(super) fn run(socket: &Path, asked: &KnownHosts) -> Result<ExitCode, CliError> {
    let Some(host) = &asked.host else {
        print_lines(&document_in_use(socket)?, Wanted::default())?;
        return Ok(ExitCode::SUCCESS);
    };
    let is_known = is_known(socket, host);
    if asked.quiet {
        return Ok(ExitCode::from(u8::from(!is_known)));
    }
    if is_known {
        let wanted = Wanted {
            host: Some(host),
            name: asked.name.as_deref(),
            key: asked.only.as_deref(),
        };
        match document() {
            Ok(document) => print_lines(&document, wanted)?,
            Err(error) => tell(&format!("mesh: {error}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the mesh that is in use has a host of this name or address whose keys are known.
fn is_known(socket: &Path, host: &str) -> bool {
    let hosts = regular_file::read(&known_hosts::hosts_file(socket), MAX_DOCUMENT_BYTES);
    let hosts = hosts.unwrap_or_default();
    known_hosts::lists(&String::from_utf8_lossy(&hosts), host)
}

/// The network document of the mesh that is in use.
pub(super) fn document_in_use(socket: &Path) -> Result<NetworkDocument, CliError> {
    if known_hosts::hosts_file(socket).exists() {
        document()
    } else {
        Err(CliError::NoMesh)
    }
}

/// The network document as control has signed it for this node.
fn document() -> Result<NetworkDocument, CliError> {
    let path = Path::new(paths::NETWORK_DOCUMENT);
    let unusable = |reason: String| CliError::File {
        path: path.to_owned(),
        verb: "used",
        reason,
    };
    let pin = up::read_trust(paths::TRUST.as_ref())?.ok_or(CliError::NoMesh)?;
    let text = regular_file::read(path, MAX_DOCUMENT_BYTES)
        .map_err(|error| unusable(error.to_string()))?;
    let now = clock::now();
    let keys = control_keys::load(paths::MANAGER_STATE.as_ref(), pin.control_key);
    let expected = Expected {
        node: pin.node,
        now,
        at_least: Version(0),
    };
    signed::open(&text, keys.at(now), &expected).map_err(|error| unusable(error.to_string()))
}

fn print_lines(document: &NetworkDocument, wanted: Wanted<'_>) -> Result<(), CliError> {
    let lines = known_hosts::lines(document, wanted);
    print(
        &lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_file_are_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("meshd.sock");
        assert!(!is_known(&socket, "web1"));
        std::fs::write(directory.path().join("ssh-hosts"), b"web1\n\xff\n").expect("writes");
        assert!(is_known(&socket, "WEB1."));
        assert!(!is_known(&socket, "github.com"));
    }

    #[test]
    fn a_pipe_in_place_of_a_file_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("ssh-hosts");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        assert!(!is_known(&directory.path().join("meshd.sock"), "web1"));
    }
}
