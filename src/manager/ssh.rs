//! Accepts SSH connections on the mesh addresses and hands each to the broker.
//!
//! No byte of them is read here: the socket goes to root's worker, which finds out by itself whose
//! it is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshd_contract::address::MeshAddresses;
use meshd_contract::broker::{FromManager, ToManager};
use meshd_contract::identity::NodeId;
use meshd_contract::paths::SSH_PORT;
use meshd_contract::wire::{self, WireError};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, setsockopt, sockopt,
};
use nix::sys::time::TimeVal;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::Error;
use super::names::Names;
use super::socket;

/// The most connections of one peer at a time.
const MAX_PER_PEER: usize = 64;
/// The most connections at a time.
const MAX_CONNECTIONS: usize = 512;
/// How long the broker may take to start serving a connection, in seconds.
const BROKER_SECONDS: i64 = 15;
/// Before the next try to accept when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Counts the connections that are open; shared by all that accept.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    by_peer: Arc<Mutex<HashMap<NodeId, usize>>>,
}

/// One counted connection, until it is dropped.
#[derive(Debug)]
struct Slot {
    connections: Connections,
    peer: NodeId,
}

impl Connections {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().values().sum()
    }

    fn take(&self, peer: NodeId) -> Option<Slot> {
        let mut by_peer = self.lock();
        let total: usize = by_peer.values().sum();
        let own = by_peer.entry(peer).or_default();
        if total >= MAX_CONNECTIONS || *own >= MAX_PER_PEER {
            return None;
        }
        *own += 1;
        Some(Slot {
            connections: self.clone(),
            peer,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, usize>> {
        // A count stays a count, whoever panicked beside it.
        self.by_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_peer = self.connections.lock();
        if let Some(count) = by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                by_peer.remove(&self.peer);
            }
        }
    }
}

/// The listeners; dropping them ends accepting, and no connection.
pub struct Ssh {
    accepting: JoinSet<()>,
}

impl Ssh {
    /// Listens on both addresses of the device.
    ///
    /// # Errors
    /// [`Error::Network`] when a socket cannot be had.
    pub fn start(
        addresses: &MeshAddresses,
        device: &str,
        broker: &Path,
        names: &watch::Receiver<Arc<Names>>,
        connections: &Connections,
    ) -> Result<Self, Error> {
        let mut accepting = JoinSet::new();
        for address in addresses.both() {
            let address = SocketAddr::new(address, SSH_PORT);
            let listener = listener(address, device).map_err(|error| {
                Error::network(format!("listening for SSH on {address}"), error)
            })?;
            let acceptor = Acceptor {
                broker: broker.to_owned(),
                names: names.clone(),
                connections: connections.clone(),
            };
            accepting.spawn(acceptor.run(listener));
        }
        Ok(Self { accepting })
    }

    /// Stops accepting; ends when the ports are free.
    pub async fn stop(mut self) {
        self.accepting.shutdown().await;
    }
}

fn listener(address: SocketAddr, device: &str) -> std::io::Result<TcpListener> {
    let socket = socket::tcp_listener(address, Some(device))?;
    socket::save_syn(&socket)?;
    socket::listen(&socket)?;
    TcpListener::from_std(socket.into())
}

struct Acceptor {
    broker: PathBuf,
    names: watch::Receiver<Arc<Names>>,
    connections: Connections,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((tcp, from)) => self.accepted(tcp, from.ip()),
                Err(error) => {
                    tracing::warn!(%error, "an SSH connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accepted(&self, tcp: TcpStream, from: IpAddr) {
        let Some(peer) = self.names.borrow().node_at(from) else {
            tracing::warn!(%from, "an SSH connection from no peer was closed");
            return;
        };
        let Some(slot) = self.connections.take(peer) else {
            tracing::warn!(%from, %peer, "an SSH connection was closed: there are too many");
            return;
        };
        tokio::spawn(serve(tcp, from, slot, self.broker.clone()));
    }
}

/// Why a connection was not served.
#[derive(Debug, Error)]
enum HandOffError {
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

async fn serve(tcp: TcpStream, from: IpAddr, slot: Slot, broker: PathBuf) {
    let handed = match tcp.into_std() {
        Ok(tcp) => tokio::task::spawn_blocking(move || hand_off(tcp.into(), &broker))
            .await
            .unwrap_or(Err(HandOffError::Interrupted)),
        Err(error) => Err(error.into()),
    };
    let (connection, link) = match handed {
        Ok(handed) => handed,
        Err(error) => {
            tracing::warn!(%from, %error, "an SSH connection was closed");
            return;
        }
    };
    tracing::info!(%from, peer = %slot.peer, connection, "an SSH connection is open");
    if let Err(error) = until_closed(link).await {
        tracing::warn!(connection, %error, "the link to a session process failed");
    }
    tracing::info!(peer = %slot.peer, connection, "an SSH connection has ended");
}

/// Gives the connection to the broker and waits for its word; blocks, but not for ever.
///
/// Our copy of the socket is closed as soon as it is sent: a connection that its session process
/// closes must end at once.
fn hand_off(tcp: OwnedFd, broker: &Path) -> Result<(String, OwnedFd), HandOffError> {
    let socket = connect_to(broker).map_err(HandOffError::Broker)?;
    let (link, session_end) = wire::pair()?;
    wire::send(
        socket.as_fd(),
        &FromManager::Bind,
        &[tcp.as_fd(), session_end.as_fd()],
    )?;
    drop((tcp, session_end));
    match wire::receive(socket.as_fd())? {
        (ToManager::Bound { connection, .. }, _) => Ok((connection, link)),
        (ToManager::Refused(reason), _) => Err(HandOffError::Refused(reason)),
        (ToManager::Described(_), _) => Err(HandOffError::Wire(WireError::Malformed)),
    }
}

fn connect_to(path: &Path) -> nix::Result<OwnedFd> {
    let socket = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let deadline = TimeVal::new(BROKER_SECONDS, 0);
    setsockopt(&socket, sockopt::SendTimeout, &deadline)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &deadline)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// The session process keeps its end for as long as it lives; nothing comes over it yet.
async fn until_closed(link: OwnedFd) -> std::io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&link, FcntlArg::F_GETFL)?);
    fcntl(&link, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let link = socket::readiness(link)?;
    let mut buffer = [0; 1024];
    loop {
        let mut ready = link.readable().await?;
        let received = ready.try_io(|link| {
            recv(link.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(Into::into)
        });
        match received {
            Ok(Ok(0)) => return Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use meshd_contract::broker::ConnectionLimits;
    use nix::sys::socket::{Backlog, accept, bind, listen};

    use super::*;

    fn broker(path: &Path) -> OwnedFd {
        let kind = SockType::SeqPacket;
        let socket =
            nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
                .expect("a socket");
        bind(
            socket.as_raw_fd(),
            &UnixAddr::new(path).expect("an address"),
        )
        .expect("binds");
        listen(&socket, Backlog::new(8).expect("a backlog")).expect("listens");
        socket
    }

    fn accept_one(listener: &OwnedFd) -> OwnedFd {
        use std::os::fd::FromRawFd;
        let fd = accept(listener.as_raw_fd()).expect("accepts");
        // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
        #[allow(unsafe_code)]
        unsafe {
            OwnedFd::from_raw_fd(fd)
        }
    }

    fn answering(listener: OwnedFd, answer: ToManager) -> std::thread::JoinHandle<Vec<OwnedFd>> {
        std::thread::spawn(move || {
            let socket = accept_one(&listener);
            let (message, fds) = wire::receive::<FromManager>(socket.as_fd()).expect("a message");
            assert_eq!(message, FromManager::Bind);
            wire::send(socket.as_fd(), &answer, &[]).expect("answers");
            fds
        })
    }

    fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound");
        let client = std::net::TcpStream::connect(address).expect("connects");
        (client, listener.accept().expect("accepts").0)
    }

    #[tokio::test]
    async fn a_connection_is_counted_until_its_session_process_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("broker.sock");
        let bound = ToManager::Bound {
            connection: "c1".to_owned(),
            peer: 2,
            limits: ConnectionLimits::default(),
        };
        let broker = answering(broker(&path), bound);
        let (mut client, server) = tcp_pair();
        let handed = tokio::task::spawn_blocking(move || hand_off(server.into(), &path));
        let (connection, link) = handed.await.expect("runs").expect("is handed off");
        assert_eq!(connection, "c1");
        let mut fds = broker.join().expect("answers");
        assert_eq!(fds.len(), 2);
        // The manager has kept no copy of the connection.
        drop(fds.remove(0));
        assert_eq!(client.read(&mut [0; 1]).expect("reads the end"), 0);
        let closed = tokio::spawn(until_closed(link));
        assert!(!closed.is_finished());
        drop(fds);
        closed.await.expect("runs").expect("ends");
    }

    #[test]
    fn a_refusal_is_an_error_and_closes_the_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("broker.sock");
        let broker = answering(broker(&path), ToManager::Refused("no peer".to_owned()));
        let (mut client, server) = tcp_pair();
        let refused = hand_off(server.into(), &path);
        assert!(matches!(refused, Err(HandOffError::Refused(reason)) if reason == "no peer"));
        drop(broker.join().expect("answers"));
        assert_eq!(client.read(&mut [0; 1]).expect("reads the end"), 0);
    }

    #[test]
    fn without_a_broker_the_error_names_its_unit() {
        let (_client, server) = tcp_pair();
        let refused = hand_off(server.into(), Path::new("/nonexistent/broker.sock"));
        let message = refused.expect_err("is refused").to_string();
        assert!(message.contains("meshd-ssh"), "{message}");
    }

    #[test]
    fn no_peer_takes_every_connection() {
        let connections = Connections::default();
        let slots: Vec<_> = (0..MAX_PER_PEER)
            .map(|_| connections.take(NodeId(1)).expect("is free"))
            .collect();
        assert!(connections.take(NodeId(1)).is_none());
        let other = connections.take(NodeId(2)).expect("is free");
        assert_eq!(connections.count(), MAX_PER_PEER + 1);
        drop((slots, other));
        assert_eq!(connections.count(), 0);
        let all: Vec<_> = (0..)
            .map_while(|n| connections.take(NodeId(n / 32)))
            .collect();
        assert_eq!(all.len(), MAX_CONNECTIONS);
    }
}
