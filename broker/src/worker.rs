//! The worker: root's side of one SSH connection, in a process of its own.

mod basis;
mod channels;
mod connection;
mod forwards;
mod overseer;
mod processes;
mod program;
mod session_process;

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshd_contract::broker::{FromManager, Hello, ToManager};
use meshd_contract::paths;
use meshd_contract::time::Timestamp;
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use thiserror::Error;

use crate::config::ConfigError;
use crate::evidence::{self, EvidenceError};
use crate::host_keys::{HostKeyError, HostKeys};
use crate::process::StartError;
use crate::trust::{Files, TrustError};
use crate::{deadline, descendants, inherited, log};

use basis::Basis;
use connection::Connection;
use overseer::Overseer;
use session_process::SessionProcess;

/// The descriptor on which the listener hands over the manager's connection.
const MANAGER: c_int = 3;

/// How long the manager may take to send its one message.
const BIND_DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take from the manager's message to a running session process.
const ACCEPT_DEADLINE: Duration = Duration::from_secs(30);

/// Why a connection is not served.
#[derive(Debug, Error)]
enum Refusal {
    #[error("the manager's message is not in order: {0}")]
    Manager(#[from] WireError),
    #[error("the manager sent no message within {} seconds", BIND_DEADLINE.as_secs())]
    Silent,
    #[error("the manager's first message was neither Bind nor Keys")]
    NotFirst,
    #[error("the manager sent {0} descriptors instead of the socket and the link")]
    Descriptors(usize),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error(transparent)]
    HostKeys(#[from] HostKeyError),
    #[error("there is no user {}", paths::SESSION_USER)]
    NoSessionUser,
    #[error("cannot start the session process: {0}")]
    Session(#[from] StartError),
    #[error("the kernel refused: {0}")]
    System(#[from] Errno),
}

/// Serves the connection that the manager sends on descriptor 3.
///
/// `oom_score` is what the listener was started with, and what sessions are to have.
pub fn main(oom_score: Option<i32>) -> ExitCode {
    if let Some(score) = oom_score {
        inherited::set_oom_score(score);
    }
    let manager = match manager_connection() {
        Ok(manager) => manager,
        Err(errno) => {
            log::line(&format!(
                "meshd-broker worker is started by the listener only: {errno}"
            ));
            return ExitCode::from(2);
        }
    };
    let id = format!("{:x}-{}", now().0, Pid::this());
    let accepted = deadline::within(ACCEPT_DEADLINE, || accept(&manager, &id));
    match accepted {
        Ok(Some(connection)) => connection.run(Overseer::new(manager)),
        Ok(None) => {}
        Err(refusal) => {
            log::connection(&id, &format!("refused: {refusal}"));
            let _ = wire::send(
                manager.as_fd(),
                &ToManager::Refused {
                    reason: refusal.to_string(),
                },
                &[],
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Takes the descriptor, once it is known to be a socket whose other end can be named.
fn manager_connection() -> nix::Result<OwnedFd> {
    // SAFETY: only looks at the descriptor, whether it is open or not.
    let socket = unsafe { BorrowedFd::borrow_raw(MANAGER) };
    nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?;
    // SAFETY: it is open, as just seen, and this is the one place that takes it.
    let socket = unsafe { OwnedFd::from_raw_fd(MANAGER) };
    nix::fcntl::fcntl(&socket, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(socket)
}

/// From the manager's message to a running session process; none if the message asked for none.
fn accept(manager: &OwnedFd, id: &str) -> Result<Option<Connection>, Refusal> {
    harden()?;
    let signals = connection::block_signals()?;
    let Some((tcp, link)) = receive_first(manager)? else {
        Files::default().remember_keys()?;
        return Ok(None);
    };
    let basis = Basis::of(id, &tcp)?;
    // Without a host key there is still a client to be told so.
    let host_keys = HostKeys::load_published().unwrap_or_else(|error| {
        basis.records.note(&error.to_string());
        HostKeys::none()
    });
    let limits = &basis.config.limits;
    let hello = Hello {
        connection: id.to_owned(),
        host_keys: host_keys.public_blobs()?,
        login_grace: limits.login_grace,
        answer: limits.answer,
        max_channels: limits.channels,
        max_variables: limits.environment_variables,
        max_variable_bytes: limits.environment_bytes,
        max_forwards: limits.forwards,
        connect: limits.connect,
        client_alive_interval: limits.client_alive_interval,
        client_alive_count_max: limits.client_alive_count_max,
        rekey_bytes: limits.rekey_bytes,
        rekey_seconds: limits.rekey_seconds,
    };
    let session = SessionProcess::start(&tcp, &link, hello)?;
    tell_manager(manager, id, &basis);
    Ok(Some(Connection::new(basis, host_keys, session, signals)))
}

/// Nothing of this process is to be read by another, and nothing of it outlives the connection
/// unseen.
fn harden() -> nix::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    descendants::become_subreaper()
}

/// The two descriptors of `Bind`; none with `Keys`.
fn receive_first(manager: &OwnedFd) -> Result<Option<(OwnedFd, OwnedFd)>, Refusal> {
    let mut ready = [PollFd::new(manager.as_fd(), PollFlags::POLLIN)];
    let deadline = PollTimeout::try_from(BIND_DEADLINE).unwrap_or(PollTimeout::MAX);
    if poll(&mut ready, deadline)? == 0 {
        return Err(Refusal::Silent);
    }
    let (message, fds) = wire::receive(manager.as_fd())?;
    match message {
        FromManager::Bind => {}
        FromManager::Keys => return Ok(None),
        FromManager::Describe
        | FromManager::End
        | FromManager::Look
        | FromManager::Checking(_)
        | FromManager::Checked(_)
        | FromManager::Unknown => return Err(Refusal::NotFirst),
    }
    let count = fds.len();
    let [tcp, link]: [OwnedFd; 2] = fds.try_into().map_err(|_| Refusal::Descriptors(count))?;
    Ok(Some((tcp, link)))
}

/// The manager only counts and records; that it is gone is no reason to end the connection.
fn tell_manager(manager: &OwnedFd, id: &str, basis: &Basis) {
    let peer = match basis.bound.caller() {
        evidence::Caller::Peer(peer) => peer.node.0,
        evidence::Caller::Stranger => 0,
    };
    let message = ToManager::Bound {
        connection: id.to_owned(),
        peer,
        limits: basis.config.limits.of_connections(),
    };
    let _ = wire::send(manager.as_fd(), &message, &[]);
}

/// The system's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_secs()))
}
