//! What SSH has that outlives a device, and this process.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use meshd_contract::paths::SSH_PORT;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::checks::Checks;
use super::connections::{Connections, Slot};
use super::hand_off::{self, HandOffError, Taken};
use super::kept::{self, Key, LISTENER};
use super::packets::Packets;
use super::watch::{ORDERS, Watch};
use crate::manager::fd_store::{FdStore, Left};
use crate::manager::socket;

/// The connections and the descriptors that are kept over a restart; shared by all who accept.
#[derive(Debug, Clone)]
pub struct Service {
    /// The connections.
    pub connections: Connections,
    /// What logins wait for.
    pub checks: Checks,
    store: FdStore,
    /// Listeners of the earlier manager that nobody has claimed yet.
    listeners: Arc<Mutex<Vec<OwnedFd>>>,
}

impl Service {
    /// One of which nothing is kept over a restart.
    #[cfg(test)]
    pub(super) fn without_store(checks: Checks) -> Self {
        Self {
            connections: Connections::default(),
            checks,
            store: FdStore::default(),
            listeners: Arc::default(),
        }
    }

    /// Goes on with what an earlier manager has left. Needs the runtime.
    pub async fn take_back(left: Vec<Left>, store: FdStore, checks: Checks) -> Self {
        let kept = kept::sort(left);
        let service = Self {
            connections: Connections::default(),
            checks,
            store,
            listeners: Arc::new(Mutex::new(kept.listeners)),
        };
        for name in &kept.useless {
            tracing::warn!(name, "a descriptor that was kept is of no use");
            service.store.forget(name).await;
        }
        if !kept.connections.is_empty() {
            let count = kept.connections.len();
            tracing::info!(count, "SSH connections of an earlier meshd go on");
        }
        for (key, worker, link) in kept.connections {
            tokio::spawn(service.clone().resume(key, worker, link));
        }
        service
    }

    /// Closes the listeners that nobody has claimed: the mesh is not in use.
    pub async fn drop_listeners(&self) {
        let unclaimed = std::mem::take(&mut *self.listeners());
        if !unclaimed.is_empty() {
            self.forget_listeners().await;
        }
    }

    pub(super) async fn forget_listeners(&self) {
        self.store.forget(LISTENER).await;
    }

    /// Listens on these addresses, with the earlier manager's sockets where they still fit: a
    /// connection that came in between is in their queue.
    ///
    /// # Errors
    /// The address, and what the kernel says.
    pub(super) async fn listen(
        &self,
        addresses: &[IpAddr],
        device: &str,
    ) -> Result<Vec<TcpListener>, (SocketAddr, std::io::Error)> {
        let mut earlier = std::mem::take(&mut *self.listeners());
        let mut listeners = Vec::new();
        let mut has_changed = false;
        for address in addresses
            .iter()
            .map(|address| SocketAddr::new(*address, SSH_PORT))
        {
            let fits = |fd: &OwnedFd| socket::listens_at(fd.as_fd(), address, device);
            let listener = match earlier.iter().position(fits) {
                Some(index) => TcpListener::from_std(earlier.swap_remove(index).into()),
                None => {
                    has_changed = true;
                    new_listener(address, device)
                }
            };
            listeners.push(listener.map_err(|error| (address, error))?);
        }
        if has_changed || !earlier.is_empty() {
            drop(earlier);
            self.forget_listeners().await;
            for listener in &listeners {
                self.store.keep(LISTENER, listener.as_fd()).await;
            }
        }
        Ok(listeners)
    }

    /// Hands a connection to the broker and looks after it to its end.
    pub(super) async fn serve(self, tcp: TcpStream, from: IpAddr, slot: Slot, broker: PathBuf) {
        let peer = slot.peer;
        let served = async {
            let key = Key::new(peer)?;
            let handed = self.hand_over(tcp, &broker, &key).await;
            if handed.is_err() {
                self.forget(&key).await;
            }
            handed.map(|handed| (key, handed))
        };
        let (key, (taken, worker, link)) = match served.await {
            Ok(served) => served,
            Err(error) => {
                tracing::warn!(%from, %error, "an SSH connection was closed");
                return;
            }
        };
        let connection = taken.connection;
        tracing::info!(%from, %peer, connection, "an SSH connection is open");
        slot.set_limits(taken.limits);
        let (orders, received) = mpsc::channel(ORDERS);
        slot.is_served(&connection, orders);
        Watch::new(worker, Some(link), slot, self.checks.clone())
            .run(received)
            .await;
        tracing::info!(%peer, connection, "an SSH connection has ended");
        self.forget(&key).await;
    }

    /// Both sockets are kept before the worker has the connection, so that there is no moment in
    /// which a session would be lost from sight by the end of this process.
    pub(super) async fn hand_over(
        &self,
        tcp: TcpStream,
        broker: &Path,
        key: &Key,
    ) -> Result<(Taken, Packets, Packets), HandOffError> {
        let tcp = tcp.into_std()?;
        let broker = broker.to_owned();
        let reached = spawn_blocking(move || hand_off::reach(&broker)).await;
        let sockets = reached.unwrap_or(Err(HandOffError::Interrupted))?;
        self.store.keep(&key.worker(), sockets.worker.as_fd()).await;
        self.store.keep(&key.link(), sockets.link.as_fd()).await;
        let handed = spawn_blocking(move || sockets.hand_over(tcp.into())).await;
        let (taken, worker, link) = handed.unwrap_or(Err(HandOffError::Interrupted))?;
        Ok((taken, Packets::new(worker)?, Packets::new(link)?))
    }

    /// Looks after a connection that an earlier manager has begun.
    async fn resume(self, key: Key, worker: OwnedFd, link: Option<OwnedFd>) {
        let Key { peer, .. } = key;
        let slot = self.connections.take_back(peer);
        let (orders, received) = mpsc::channel(ORDERS);
        // Until the worker has said its own.
        slot.is_served(&key.worker(), orders);
        let link = link.map(Packets::new).transpose();
        match (Packets::new(worker), link) {
            (Ok(worker), Ok(link)) => {
                Watch::new(worker, link, slot, self.checks.clone())
                    .unproven()
                    .run(received)
                    .await;
                tracing::info!(%peer, "an SSH connection has ended");
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%peer, %error, "an SSH connection is lost from sight");
            }
        }
        self.forget(&key).await;
    }

    async fn forget(&self, key: &Key) {
        self.store.forget(&key.worker()).await;
        self.store.forget(&key.link()).await;
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<OwnedFd>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_listener(address: SocketAddr, device: &str) -> std::io::Result<TcpListener> {
    let socket = socket::tcp_listener(address, Some(device))?;
    socket::save_syn(&socket)?;
    socket::listen(&socket)?;
    TcpListener::from_std(socket.into())
}
