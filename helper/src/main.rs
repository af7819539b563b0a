//! `meshd-helper`: what a connection needs of the user's world beside a shell.
//!
//! The worker starts it as the logged-in user, inside the PAM session: for file transfer with the
//! channel as descriptors 0 to 2, for forwards with a socket to the worker as descriptor 3. It has
//! no privilege and needs none.

#![deny(unsafe_code)]

mod left;
mod resolve;
mod sftp;
mod sockets;

use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Executed by descriptor it would be called by that one's number.
    let _ = nix::sys::prctl::set_name(c"meshd-helper");
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [word] if word == OsStr::new("sftp") => {
            sftp::serve().map_or_else(|error| fail(&error.to_string(), 1), |()| ExitCode::SUCCESS)
        }
        [word] if word == OsStr::new("sockets") => sockets::serve()
            .map_or_else(|error| fail(&error.to_string(), 2), |()| ExitCode::SUCCESS),
        [word] if word == OsStr::new("resolve") => resolve::answer(),
        [word, paths @ ..] if word == OsStr::new("remove") => {
            paths.iter().for_each(|path| left::remove(path.as_ref()));
            ExitCode::SUCCESS
        }
        _ => fail("usage: meshd-helper sftp|sockets|resolve|remove PATH...", 2),
    }
}

fn fail(sentence: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "meshd-helper: {sentence}");
    ExitCode::from(code)
}
