//! What a channel runs, and what it runs with.

use std::borrow::Cow;
use std::ffi::{CString, NulError};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use meshd_contract::broker::{Open, OpenKind};
use meshd_contract::paths::HELPER_PROGRAM;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use crate::account::Passwd;
use crate::authorize::Authorized;
use crate::process::{self, Identity};
use crate::pty::Terminal;

pub(super) fn kind_name(kind: &OpenKind) -> &'static str {
    match kind {
        OpenKind::Shell => "shell",
        OpenKind::Exec(_) => "exec",
        OpenKind::Sftp => "sftp",
    }
}

/// The command line that a client asks for, whatever the rule says; none for a shell.
pub(super) fn asked(kind: &OpenKind) -> Option<Cow<'_, [u8]>> {
    match kind {
        OpenKind::Shell => None,
        OpenKind::Exec(command) => Some(command.into()),
        OpenKind::Sftp => Some(format!("{HELPER_PROGRAM} sftp").into_bytes().into()),
    }
}

/// The program and its arguments: always the account's shell, as sshd has it.
pub(super) fn command(
    open: &Open,
    authorized: &Authorized,
) -> Result<(CString, Vec<CString>), NulError> {
    let shell = &authorized.passwd().shell;
    let name = shell.file_name().unwrap_or(shell.as_os_str()).as_bytes();
    let program = CString::new(shell.as_os_str().as_bytes())?;
    let forced = authorized.rule().rights.command.as_ref();
    let forced = forced.map(|command| Cow::from(command.as_bytes()));
    let Some(command) = forced.or_else(|| asked(&open.kind)) else {
        return Ok((program, vec![CString::new([b"-", name].concat())?]));
    };
    Ok((
        program,
        vec![
            CString::new(name)?,
            c"-c".into(),
            CString::new(command.as_ref())?,
        ],
    ))
}

/// The process's descriptors 0 to 2, and those of the session process.
pub(super) fn stdio(terminal: Option<&Terminal>) -> nix::Result<([OwnedFd; 3], Vec<OwnedFd>)> {
    if let Some(terminal) = terminal {
        let clone = || terminal.slave.try_clone().map_err(|_| Errno::EMFILE);
        return Ok(([clone()?, clone()?, clone()?], Vec::new()));
    }
    let (their_input, our_input) = pipe2(OFlag::O_CLOEXEC)?;
    let (our_output, their_output) = pipe2(OFlag::O_CLOEXEC)?;
    let (our_errors, their_errors) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((
        [their_input, their_output, their_errors],
        vec![our_input, our_output, our_errors],
    ))
}

/// Whether the account has asked for a quiet login; looked at as that user, in its own directory.
pub(super) fn is_hushed(identity: &Identity, passwd: &Passwd) -> bool {
    let path = [passwd.home.as_os_str().as_bytes(), b"/.hushlogin"].concat();
    let Ok(path) = CString::new(path) else {
        return false;
    };
    // SAFETY: the path is null-terminated and outlives the call.
    process::succeeds_as(identity, || unsafe {
        libc::access(path.as_ptr(), libc::F_OK) == 0
    })
}

/// The signals that a client may send (RFC 4254, section 6.9).
pub(super) fn signal_number(name: &str) -> Option<Signal> {
    Some(match name {
        "ABRT" => Signal::SIGABRT,
        "ALRM" => Signal::SIGALRM,
        "FPE" => Signal::SIGFPE,
        "HUP" => Signal::SIGHUP,
        "ILL" => Signal::SIGILL,
        "INT" => Signal::SIGINT,
        "KILL" => Signal::SIGKILL,
        "PIPE" => Signal::SIGPIPE,
        "QUIT" => Signal::SIGQUIT,
        "SEGV" => Signal::SIGSEGV,
        "TERM" => Signal::SIGTERM,
        "USR1" => Signal::SIGUSR1,
        "USR2" => Signal::SIGUSR2,
        _ => return None,
    })
}
