//! The only code of meshd that runs as root.
//!
//! `meshd-broker listen` waits on a Unix socket for the manager and starts one worker
//! (`meshd-broker worker`) per SSH connection. The worker reads no byte from the network: it asks
//! the kernel whose socket it was given, asks the signed peer document what that peer may become,
//! asks the user database and PAM, and then starts processes as that user. The session process,
//! which speaks SSH, runs beside it without any privilege.
//!
//! | step | file |
//! |---|---|
//! | accept the manager, start a worker | [`listener`] |
//! | whose socket is it | [`evidence`], [`wireguard`] |
//! | what control signed | [`trust`] |
//! | order of messages | [`machine`] |
//! | may this peer become this account | [`authorize`], [`account`] |
//! | PAM | [`pam`] |
//! | terminal, variables, process | [`pty`], [`environment`], [`process`] |
//! | end of everything | [`worker`], [`cgroup`], [`descendants`], [`open_sessions`] |
//! | what may never return | [`deadline`] |
//! | what is remembered | [`record`], [`audit`] |
//! | what an idle session holds | [`memory`] |

#![deny(clippy::wildcard_enum_match_arm)]

pub mod account;
pub mod audit;
pub mod authorize;
pub mod cgroup;
pub mod config;
pub mod deadline;
pub mod descendants;
pub mod environment;
pub mod evidence;
pub mod host_keys;
pub mod inherited;
pub mod listener;
pub mod log;
pub mod machine;
pub mod memory;
pub mod open_sessions;
pub mod pam;
pub mod process;
pub mod pty;
pub mod record;
pub mod state_file;
pub mod trust;
pub mod wireguard;
pub mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use config::Config;
use meshd_contract::paths;

const USAGE: &str = "\
usage: meshd-broker listen    accept SSH connections from the manager (as root)
       meshd-broker check     read the configuration and say whether it is in order
       meshd-broker version   print the version
";

/// Runs the subcommand that `arguments` name.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let command = arguments.next().and_then(|word| word.into_string().ok());
    let rest = arguments.next();
    match (command.as_deref(), rest) {
        (Some("listen"), None) => report(listener::run()),
        (Some("worker"), score) => worker::main(oom_score(score)),
        (Some("check"), None) => report(Config::load(paths::SSH_CONFIG.as_ref()).map(|_| ())),
        (Some("version"), None) => {
            log::print(concat!("meshd-broker ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        _ => {
            log::line(USAGE.trim_end());
            ExitCode::from(2)
        }
    }
}

/// The listener passes on what it was started with.
fn oom_score(word: Option<OsString>) -> Option<i32> {
    word?.to_str()?.parse().ok()
}

fn report<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(&format!("meshd-broker: {error}"));
            ExitCode::FAILURE
        }
    }
}
