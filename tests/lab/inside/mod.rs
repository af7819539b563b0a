//! What the program `lab-init` does: it makes a host's namespaces, is its first process, and
//! brings commands into it. It has one thread, so that it may change namespaces.

mod accounts;
mod boot;
mod booted;
mod cgroup;
mod enter;
mod init;
mod root;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};

use crate::Result;
use crate::error::Doing;

/// What the first process of a host prints when the host is there.
pub(crate) const READY: &str = "ready";

/// The variable that brings the project's programs to a host ([`crate::programs::encode`]); as
/// arguments they would fill every process list.
pub(crate) const PROGRAMS: &str = "MESHD_LAB_PROGRAMS";
/// The environment variable that says how many descriptors a command has from number 3 on.
pub(crate) const PASSED: &str = "MESHD_LAB_PASSED";

/// The namespaces that a host has to itself.
pub(crate) const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWPID);

/// Where a booted host's root comes from; `prepare` beside it makes it.
pub(crate) const DEBIAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.lab/debian/root");

/// Runs `lab-init` with these arguments; its exit status.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let done = match arguments.next().as_deref().and_then(|a| a.to_str()) {
        Some("check") => start_apart(&["probe".into()]),
        Some("probe") => root::make("/".as_ref(), &[]).map(|()| ExitCode::SUCCESS),
        Some("switch") => switch(),
        Some("host") => start_apart(&[vec!["init".into()], arguments.collect::<Vec<_>>()].concat()),
        Some("init") => init::run(arguments.collect()),
        Some("booted") => booted::run(arguments.collect()),
        Some("boot") => boot::run(arguments.collect()),
        Some("enter") => enter::run(arguments.collect()),
        _ => {
            complain("lab-init: tests start this program, people do not");
            return ExitCode::from(64);
        }
    };
    done.unwrap_or_else(|error| {
        complain(&error.to_string());
        ExitCode::from(125)
    })
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn announce(line: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .doing(|| "tell the test".to_owned())
}

/// Starts this program again as the first process of new namespaces, and waits for it.
fn start_apart(arguments: &[OsString]) -> Result<ExitCode> {
    unshare(NAMESPACES).doing(|| "make namespaces".to_owned())?;
    let program = std::env::current_exe().doing(|| "find the running program".to_owned())?;
    let mut child = Command::new(program)
        .arg0("init")
        .args(arguments)
        .spawn()
        .doing(|| "start the host's first process".to_owned())?;
    announce(&format!("pid {}", child.id()))?;
    let status = child.wait().doing(|| "wait for the host".to_owned())?;
    Ok(enter::exit_code(status))
}

/// Holds a network namespace until standard input ends.
fn switch() -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace".to_owned())?;
    announce(&format!("pid {}", std::process::id()))?;
    announce(READY)?;
    io::stdin()
        .read_to_end(&mut Vec::new())
        .doing(|| "wait for the test".to_owned())?;
    Ok(ExitCode::SUCCESS)
}
