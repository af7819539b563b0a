//! Accepts SSH connections on the mesh addresses and hands each to the broker.
//!
//! No byte of them is read here: the socket goes to root's worker, which finds out by itself whose
//! it is.

mod checks;
mod connections;
mod grants;
mod hand_off;
mod kept;
mod login_events;
mod packets;
mod service;
mod watch;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as latest;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use checks::{Checks, Contact};
pub use connections::Connections;
pub use login_events::LoginEvents;
pub use service::Service;

use super::error::Error;
use super::names::Names;
use connections::TooMany;

/// Before the next try to accept when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How often connections that were not taken are logged.
const REFUSALS: Duration = Duration::from_secs(10);

/// The listeners; dropping them ends accepting, and no connection.
pub struct Ssh {
    accepting: JoinSet<()>,
    service: Service,
    broker: PathBuf,
}

impl Ssh {
    /// Listens on these addresses of the device.
    ///
    /// # Errors
    /// [`Error::Network`] when a socket cannot be had.
    pub async fn start(
        addresses: &[IpAddr],
        device: &str,
        broker: &Path,
        names: &latest::Receiver<Arc<Names>>,
        service: &Service,
    ) -> Result<Self, Error> {
        let mut accepting = JoinSet::new();
        let listeners = service.listen(addresses, device).await;
        let listeners = listeners.map_err(|(address, error)| {
            Error::network(format!("listening for SSH on {address}"), error)
        })?;
        for listener in listeners {
            let acceptor = Acceptor {
                broker: broker.to_owned(),
                names: names.clone(),
                service: service.clone(),
                refusals: Refusals::default(),
            };
            accepting.spawn(acceptor.run(listener));
        }
        let ssh = Self {
            accepting,
            service: service.clone(),
            broker: broker.to_owned(),
        };
        // Control's key may have been replaced while SSH was off.
        ssh.tell_of_keys();
        Ok(ssh)
    }

    /// Has root's side write down which key of control counts: the next login may be long in coming,
    /// and a key that was replaced must be refused then whatever this side says.
    pub fn tell_of_keys(&self) {
        let broker = self.broker.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = hand_off::tell_of_keys(&broker) {
                tracing::warn!(%error, "the broker has not looked at control's keys");
            }
        });
    }

    /// Stops accepting; ends when the ports are free.
    pub async fn stop(mut self) {
        self.accepting.shutdown().await;
        self.service.forget_listeners().await;
    }

    /// Stops accepting in this process; connections wait for the next one.
    pub async fn leave(mut self) {
        self.accepting.shutdown().await;
    }
}

struct Acceptor {
    broker: PathBuf,
    names: latest::Receiver<Arc<Names>>,
    service: Service,
    refusals: Refusals,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
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

    fn accepted(&mut self, tcp: TcpStream, from: IpAddr) {
        let Some(peer) = self.names.borrow().node_at(from) else {
            tracing::warn!(%from, "an SSH connection from no peer was closed");
            return;
        };
        match self.service.connections.take(peer, from) {
            Ok(slot) => {
                let service = self.service.clone();
                tokio::spawn(service.serve(tcp, from, slot, self.broker.clone()));
            }
            Err(reason) => self.refusals.log(from, reason),
        }
    }
}

/// Keeps whoever connects without end from filling the log.
#[derive(Default)]
struct Refusals {
    logged: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn log(&mut self, from: IpAddr, reason: TooMany) {
        self.since += 1;
        if self.logged.is_some_and(|last| last.elapsed() < REFUSALS) {
            return;
        }
        let count = self.since;
        tracing::warn!(%from, count, "SSH connections were closed: {reason}");
        *self = Self {
            logged: Some(Instant::now()),
            since: 0,
        };
    }
}
