//! `meshd-helper`: what a connection needs of the user's world beside a shell.
//!
//! The worker starts it as the logged-in user, inside the PAM session: for file transfer with the
//! channel as descriptors 0 to 2, for forwards with a socket to the worker as descriptor 3. It has
//! no privilege and needs none.

#![deny(unsafe_code)]

mod resolve;
mod sockets;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Where the packages of OpenSSH put the SFTP server: Debian, Fedora and RHEL, SUSE.
const SFTP_SERVERS: [&str; 3] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// What a shell answers when a command is not there.
const NOT_FOUND: u8 = 127;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [word] if word == OsStr::new("sftp") => sftp(),
        [word] if word == OsStr::new("sockets") => sockets::serve()
            .map_or_else(|error| fail(&error.to_string(), 2), |()| ExitCode::SUCCESS),
        [word] if word == OsStr::new("resolve") => resolve::answer(),
        _ => fail("usage: meshd-helper sftp|sockets|resolve", 2),
    }
}

/// Becomes the system's SFTP server; its protocol is on descriptors 0 and 1.
fn sftp() -> ExitCode {
    let Some(server) = SFTP_SERVERS.iter().find(|path| Path::new(path).exists()) else {
        return fail(
            "this host has no sftp-server: install openssh-sftp-server",
            NOT_FOUND,
        );
    };
    let error = Command::new(server).exec();
    fail(&format!("cannot execute {server}: {error}"), NOT_FOUND)
}

fn fail(sentence: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "meshd-helper: {sentence}");
    ExitCode::from(code)
}
