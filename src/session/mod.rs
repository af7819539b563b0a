//! The session process: speaks SSH on one TCP connection, as nobody in particular.
//!
//! The worker starts it for each connection with three sockets. It gives up every privilege,
//! closes itself in, and only then reads the first byte from the network ([`run`]). It decides
//! nothing: who may log in, what is started and every signature come from the worker.

mod admission;
mod algorithms;
mod authentication;
mod channel;
mod connection;
mod end;
mod exit;
mod forward;
mod forward_link;
mod host_key;
mod inherited;
mod input;
mod listening;
mod login;
mod memory;
mod output;
mod pipe;
mod privileges;
mod rekeying;
mod request;
mod sandbox;
mod terminal;
mod traffic;
mod transport;
mod worker;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use meshd_contract::broker::{SandboxReport, ToManagerLink};
use meshd_contract::paths;
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use thiserror::Error;

use self::inherited::Inherited;

/// How long the worker may take for its first message.
const HELLO_DEADLINE: Duration = Duration::from_secs(30);

/// Why a session process could not serve its connection.
#[derive(Debug, Error)]
pub enum SessionError {
    /// Not started by the worker.
    #[error("meshd-session serves one SSH connection and is started by meshd-broker: {0}")]
    StartedWrongly(String),
    /// The root directory could not be left behind.
    #[error("cannot change the root directory to {path}: {errno}")]
    EmptyRoot {
        /// The directory that should be empty.
        path: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// A privilege could not be given up.
    #[error("cannot give up {what}: {reason}")]
    Privilege {
        /// Which one.
        what: &'static str,
        /// What the kernel answered.
        reason: String,
    },
    /// The sandbox could not be closed.
    #[error("cannot enter the sandbox: {0}")]
    Sandbox(String),
    /// The worker sent no greeting, or not in time.
    #[error("the worker did not say what to serve: {0}")]
    Hello(WireError),
    /// No host key of the worker's can be used.
    #[error("the worker has no host key that SSH clients take")]
    HostKeys,
    /// The runtime or a socket failed.
    #[error("the connection could not be set up: {0}")]
    Setup(#[from] std::io::Error),
}

/// Serves the inherited connection until it ends.
///
/// # Errors
/// [`SessionError`] when nothing could be served; an SSH connection that fails later is no error.
pub fn run() -> Result<(), SessionError> {
    end_on_panic();
    let inherited = Inherited::take()?;
    privileges::enter_empty_root(paths::EMPTY_ROOT)?;
    privileges::drop_all()?;
    let hello = worker::read_hello(&inherited.worker, HELLO_DEADLINE)?;
    privileges::limit(hello.max_channels, hello.max_forwards)?;
    transport::prepare(&inherited.connection)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    memory::keep();
    let report = sandbox::enter()?;
    log(&hello.connection, &sandbox::describe(&report));
    tell_manager(&inherited.manager, report);
    runtime.block_on(connection::serve(inherited, hello))
}

/// Without waiting: nothing rests on it.
fn tell_manager(link: &OwnedFd, report: SandboxReport) {
    let flags = fcntl(link, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    let flags = flags.unwrap_or(OFlag::empty()) | OFlag::O_NONBLOCK;
    if fcntl(link, FcntlArg::F_SETFL(flags)).is_ok() {
        let _ = wire::send(link.as_fd(), &ToManagerLink::Sandbox(report), &[]);
    }
}

/// A task that panics would leave its channel, and its user, waiting: the process ends instead,
/// and the worker with what it started.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        meshd_contract::log::line(&format!("meshd-session: {info}"));
        std::process::abort();
    }));
}

/// Writes one line for the worker's log; never waits for it.
pub fn log(connection: &str, line: &str) {
    let line = line.replace('\n', "?");
    meshd_contract::log::line(&format!("meshd-session {connection}: {line}"));
}
