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
//! | accept the manager, start a worker | [`listener`], [`readiness`] |
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
pub mod readiness;
pub mod record;
pub mod state_file;
pub mod trust;
pub mod wireguard;
pub mod worker;

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;

use config::Config;
use listener::ListenError;
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
        (Some("listen"), None) => report(listener::run(), ListenError::needs_a_person),
        (Some("worker"), score) => worker::main(oom_score(score)),
        (Some("check"), None) => {
            let read = Config::load(paths::SSH_CONFIG.as_ref());
            report(read.map(drop), |_| true)
        }
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

/// What a person has to put right first ends with EX_CONFIG (sysexits.h), so that systemd does not
/// try it again (RestartPreventExitStatus=).
fn report<E: Display>(result: Result<(), E>, needs_a_person: fn(&E) -> bool) -> ExitCode {
    const EX_CONFIG: u8 = 78;
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    log::line(&format!("meshd-broker: {error}"));
    if needs_a_person(&error) {
        ExitCode::from(EX_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}
