//! Gives a connection to the broker. Blocks, but not for ever.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use meshd_contract::broker::{ConnectionLimits, FromManager, ToManager};
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use thiserror::Error;

/// How long the broker may take to start serving a connection, in seconds.
const BROKER_SECONDS: i64 = 15;
/// How long a broker that is just being restarted is waited for, and how often it is tried.
const RESTART: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Why a connection was not served.
#[derive(Debug, Error)]
pub(super) enum HandOffError {
    #[error("the socket cannot be handed on: {0}")]
    Socket(#[from] std::io::Error),
    #[error("the broker does not answer ({0}): systemctl status meshd-ssh")]
    Broker(nix::Error),
    #[error("the broker: {0}")]
    Wire(#[from] WireError),
    #[error("the broker refused: {0}")]
    Refused(String),
    #[error("the hand-off was interrupted")]
    Interrupted,
}

/// A connection that the broker has taken.
#[derive(Debug)]
pub(super) struct Taken {
    /// Its name.
    pub(super) connection: String,
    /// How many there may be from now on.
    pub(super) limits: ConnectionLimits,
}

/// The two sockets by which a connection is looked after.
#[derive(Debug)]
pub(super) struct Sockets {
    /// To its worker.
    pub(super) worker: OwnedFd,
    /// To its session process.
    pub(super) link: OwnedFd,
    /// The session process's end, until it is handed over.
    session_end: OwnedFd,
}

/// Connects to the broker, which starts a worker for this connection.
///
/// # Errors
/// [`HandOffError`].
pub(super) fn reach(broker: &Path) -> Result<Sockets, HandOffError> {
    let worker = connect_to(broker).map_err(HandOffError::Broker)?;
    let (link, session_end) = wire::pair()?;
    Ok(Sockets {
        worker,
        link,
        session_end,
    })
}

/// Has root's side write down which key of control counts.
///
/// # Errors
/// [`HandOffError`].
pub(super) fn tell_of_keys(broker: &Path) -> Result<(), HandOffError> {
    let worker = connect_to(broker).map_err(HandOffError::Broker)?;
    wire::send(worker.as_fd(), &FromManager::Keys, &[])?;
    match wire::receive(worker.as_fd()) {
        Err(WireError::Closed) => Ok(()),
        Ok((ToManager::Refused { reason }, _)) => Err(HandOffError::Refused(reason)),
        Ok(_) => Err(WireError::Malformed.into()),
        Err(error) => Err(error.into()),
    }
}

impl Sockets {
    /// Gives the worker the connection and waits for its word.
    ///
    /// Our copy of the socket is closed as soon as it is sent: a connection that its session
    /// process closes must end at once.
    ///
    /// # Errors
    /// [`HandOffError`].
    pub(super) fn hand_over(self, tcp: OwnedFd) -> Result<(Taken, OwnedFd, OwnedFd), HandOffError> {
        let fds = [tcp.as_fd(), self.session_end.as_fd()];
        wire::send(self.worker.as_fd(), &FromManager::Bind, &fds)?;
        drop((tcp, self.session_end));
        let taken = match wire::receive(self.worker.as_fd())?.0 {
            ToManager::Bound {
                connection, limits, ..
            } => Taken { connection, limits },
            ToManager::Refused { reason } => return Err(HandOffError::Refused(reason)),
            ToManager::Described(_)
            | ToManager::Login(_)
            | ToManager::Check { .. }
            | ToManager::Unknown => {
                return Err(WireError::Malformed.into());
            }
        };
        Ok((taken, self.worker, self.link))
    }
}

fn connect_to(path: &Path) -> nix::Result<OwnedFd> {
    let end = Instant::now() + RESTART;
    loop {
        match connect_now(path) {
            // Nobody listens on the socket, or it is gone: the broker begins again.
            Err(Errno::ECONNREFUSED | Errno::ENOENT) if Instant::now() < end => {
                std::thread::sleep(PAUSE)
            }
            connected => return connected,
        }
    }
}

fn connect_now(path: &Path) -> nix::Result<OwnedFd> {
    let kind = SockType::SeqPacket;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let deadline = TimeVal::new(BROKER_SECONDS, 0);
    setsockopt(&socket, sockopt::SendTimeout, &deadline)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &deadline)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}
