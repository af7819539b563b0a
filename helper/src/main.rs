//! `meshd-helper`: what a connection needs of the user's world beside a shell.
//!
//! The worker starts it as the logged-in user, inside the PAM session, with the channel as
//! descriptors 0 to 2. It has no privilege and needs none.

#![forbid(unsafe_code)]

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
        _ => fail("usage: meshd-helper sftp", 2),
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
