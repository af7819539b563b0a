//! The `mesh` command.

mod check;
mod client;
mod completions;
mod host;
mod join_page;
mod known_hosts;
mod policy;
mod sessions;
mod ssh;
mod status;
mod table;
mod up;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use meshd_contract::identity::NodeName;
use meshd_contract::paths;
use thiserror::Error;

use self::client::Client;
use crate::local_api::{Request, Response};

/// SSH between the hosts of a mesh, with no keys to hand out.
#[derive(Debug, Parser)]
#[command(name = "mesh", version)]
struct Arguments {
    /// The manager's socket.
    #[arg(long, global = true, default_value = paths::MANAGER_SOCKET, hide = true)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a mesh, or use it again after `mesh down`.
    Up(up::Up),
    /// Stop using the mesh; the host stays registered.
    Down,
    /// Leave the mesh for good; to join again takes a new auth key.
    Logout,
    /// Show this node and its peers.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show who is logged in through the mesh, or end a connection.
    #[command(args_conflicts_with_subcommands = true)]
    Sessions {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<sessions::Command>,
    },
    /// Sign in now, so that logins from this host need no check for a while.
    #[command(args_conflicts_with_subcommands = true)]
    Check(check::Check),
    /// Print this node's addresses.
    Ip {
        /// Only the IPv4 address.
        #[arg(short = '4', conflicts_with = "v6")]
        v4: bool,
        /// Only the IPv6 address.
        #[arg(short = '6')]
        v6: bool,
    },
    /// Say which node has a name or an address, and whose it is.
    Whois {
        /// A node's name or one of its addresses.
        #[arg(add = ArgValueCompleter::new(completions::nodes))]
        who: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Log in to a node with ssh, which then asks no question about its host key.
    #[command(disable_help_flag = true)]
    Ssh {
        /// What ssh(1) takes: options, [USER@]HOST, command.
        #[arg(value_name = "SSH ARGUMENTS")]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        #[arg(add = ArgValueCompleter::new(completions::nodes))]
        arguments: Vec<OsString>,
    },
    /// Print the host keys of the mesh's nodes, for ssh_config's KnownHostsCommand.
    KnownHosts(known_hosts::KnownHosts),
    /// Check, test, explain, compare or format a policy, without changing the one that counts.
    Policy {
        #[command(subcommand)]
        command: policy::Command,
    },
    /// Print what a shell needs to complete this command.
    #[command(hide = true)]
    Completions {
        /// The shell.
        #[arg(value_parser = completions::SHELLS)]
        shell: String,
    },
    /// Print the version.
    Version,
}

/// Why a command failed, in one sentence.
#[derive(Debug, Error)]
pub enum CliError {
    /// The manager does not run.
    #[error(
        "meshd does not answer on {path} ({reason}): systemctl enable --now meshd, and if it does \
         not stay up, journalctl -u meshd says why"
    )]
    NoManager {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The manager, or control, said no.
    #[error("{0}")]
    Refused(String),
    /// The command needs root.
    #[error("mesh {0} needs root: run it with sudo")]
    NeedsRoot(&'static str),
    /// SSH was asked for, but is off.
    #[error("SSH is off on this host: systemctl enable --now meshd-ssh")]
    SshOff,
    /// A peer does not accept SSH.
    #[error("SSH through the mesh is off on {0}: systemctl enable --now meshd-ssh there")]
    SshOffThere(NodeName),
    /// The host is in no mesh, or does not use it.
    #[error("this host uses no mesh: sudo mesh up")]
    NoMesh,
    /// A file cannot be used.
    #[error("{path} cannot be {verb}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// Why.
        reason: String,
    },
    /// Root has pinned another control server.
    #[error(
        "this host trusts the control key {pinned} ({}), but {control} has {found}: if the control \
         server was replaced on purpose, remove {} first",
        paths::TRUST,
        paths::TRUST
    )]
    OtherTrust {
        /// Fingerprint of the pinned key.
        pinned: String,
        /// The address.
        control: String,
        /// Fingerprint of its key.
        found: String,
    },
    /// Neither a name was given nor does the host have a usable one.
    #[error("this host's name {0:?} is no node name: give one with --name")]
    HostName(String),
    /// A policy is not right; the text says where.
    #[error("{0}")]
    Policy(String),
    /// ssh is not installed.
    #[error("ssh cannot be started ({0}): install the package openssh-client")]
    NoSsh(io::Error),
    /// The output was not taken.
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    completions::answer_script();
    let arguments = Arguments::parse_from(with_words_for_ssh(std::env::args_os().collect()));
    match run(&arguments) {
        Ok(code) => code,
        // Whoever reads has had enough, as `head` does.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // There is nobody left to tell if this fails.
            let _ = writeln!(io::stderr(), "mesh: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// All words after `mesh ssh` are ssh's, the first `--` too: without it a host that begins with a
/// hyphen would be an option.
fn with_words_for_ssh(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|command| command == "ssh") {
        words.insert(2, "--".into());
    }
    words
}

fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let socket = &arguments.socket;
    match &arguments.command {
        Command::Up(up) => up::run(socket, up)?,
        Command::Down => done(socket, "down", &Request::Down)?,
        Command::Logout => done(socket, "logout", &Request::Logout)?,
        Command::Status { json } => status::status(&mut Client::connect(socket)?, *json)?,
        Command::Sessions { json, command } => match command {
            None => sessions::list(&mut Client::connect(socket)?, *json)?,
            Some(command) => sessions::run(socket, command)?,
        },
        Command::Check(check) => check::run(socket, check)?,
        Command::Ip { v4, v6 } => status::ip(&mut Client::connect(socket)?, *v4, *v6)?,
        Command::Whois { who, json } => {
            status::whois(&mut Client::connect(socket)?, who, *json)?;
        }
        Command::Ssh { arguments } => return ssh::run(socket, arguments),
        Command::KnownHosts(asked) => return known_hosts::run(socket, asked),
        Command::Policy { command } => return policy::run(command),
        Command::Completions { shell } => completions::print_script(shell)?,
        Command::Version => print(&format!("mesh {}\n", env!("CARGO_PKG_VERSION")))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn done(socket: &std::path::Path, verb: &'static str, request: &Request) -> Result<(), CliError> {
    host::require_root(verb)?;
    match Client::connect(socket)?.ask(request)? {
        Response::Done => Ok(()),
        other => Err(client::unexpected(&other)),
    }
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(printable(text).as_bytes())?;
    Ok(stdout.flush()?)
}

/// Names and sentences come from other machines; none of them may move the terminal's cursor.
fn printable(text: &str) -> String {
    let shown = |c: &char| *c == '\n' || !c.is_control();
    text.chars().filter(shown).collect()
}

/// A line for the person at the terminal, beside the command's output.
fn tell(text: &str) {
    // Output that nobody takes is no reason to stop.
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_text_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\r\u{9b}b\n"), "a[2Jb\n");
    }

    #[test]
    fn every_word_after_ssh_is_sshs() {
        for line in [
            "-o X=y -- -p 22 alice@web1 ls --help",
            "-- -oProxyCommand=x",
            "-- --",
            "--help",
            "--socket x web1",
            "web1 -- --socket x",
        ] {
            let words = format!("mesh ssh {line}");
            let words = words.split(' ').map(OsString::from).collect();
            let parsed = Arguments::try_parse_from(with_words_for_ssh(words));
            let Ok(Command::Ssh { arguments }) = parsed.map(|parsed| parsed.command) else {
                panic!("is no ssh command: {line}");
            };
            assert_eq!(arguments.join(OsStr::new(" ")), *line);
        }
    }
}
