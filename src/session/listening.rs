//! What the host listens at for the client: ports, Unix sockets, and sockets of its agent.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshd_contract::forward::{Endpoint, Origin};
use russh::Channel;
use russh::server::{Handle, Msg};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::forward::carry;
use super::forward_link::{Arrival, Listener};
use super::request::Reader;
use super::worker::Worker;

/// Global requests that may wait for their turn.
pub(super) const GLOBAL_QUEUE: usize = 64;

/// The client promises to open no further session (OpenSSH, PROTOCOL, section 2.2).
pub(super) const NO_MORE_SESSIONS: &str = "no-more-sessions@openssh.com";

/// A global request: its name, whether the client wants a reply, its fields.
pub(super) type GlobalRequest = (String, bool, Vec<u8>);

/// The tasks that carry forwarded connections.
#[derive(Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Starts one, unless there are as many as there may be.
    pub(super) fn spawn(
        &self,
        most: usize,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let room = self.has_room(most);
        if room {
            self.tasks().spawn(task);
        }
        room
    }

    /// Whether there are fewer than there may be.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.len() < most
    }

    /// Ends all of them.
    pub(super) fn end(&self) {
        self.tasks().abort_all();
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the tasks of listeners work with.
#[derive(Clone)]
pub(super) struct Listening {
    pub(super) worker: Arc<Worker>,
    pub(super) handle: Handle,
    pub(super) tasks: Arc<Tasks>,
    /// The most forwarded connections at a time.
    pub(super) most: usize,
}

/// What an accepted connection is announced as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    /// As the client named it, with the port that it is.
    Tcp(String, u16),
    Unix(String),
    Agent,
}

impl Listening {
    /// Answers the client's global requests, one after the other, as the client tells the answers
    /// apart by their order.
    pub(super) async fn serve(self, mut requests: mpsc::Receiver<GlobalRequest>) {
        let mut listeners = HashMap::new();
        while let Some((name, wants_reply, fields)) = requests.recv().await {
            let reply = self.answer(&mut listeners, &name, &fields).await;
            if wants_reply && self.handle.global_reply(reply).await.is_err() {
                return;
            }
        }
    }

    /// The data of the success, or none for a failure.
    async fn answer(
        &self,
        listeners: &mut HashMap<Place, AbortOnDrop>,
        name: &str,
        fields: &[u8],
    ) -> Option<Vec<u8>> {
        let mut fields = Reader::new(fields);
        match name {
            "tcpip-forward" => {
                let (host, asked) = (fields.text()?, u16::try_from(fields.number()?).ok()?);
                let at = Endpoint::Tcp {
                    host: host.clone(),
                    port: asked,
                };
                let listener = self.listen(at).await?;
                let port = listener.port;
                let place = Place::Tcp(host, port);
                listeners.insert(place.clone(), self.accept_from(listener, place));
                let chosen = u32::from(port).to_be_bytes().to_vec();
                Some(if asked == 0 { chosen } else { Vec::new() })
            }
            "cancel-tcpip-forward" => {
                let (host, port) = (fields.text()?, u16::try_from(fields.number()?).ok()?);
                listeners
                    .remove(&Place::Tcp(host, port))
                    .map(|_| Vec::new())
            }
            "streamlocal-forward@openssh.com" => {
                let path = fields.text()?;
                let at = Endpoint::Unix {
                    path: path.clone().into_bytes(),
                };
                let listener = self.listen(at).await?;
                let place = Place::Unix(path);
                listeners.insert(place.clone(), self.accept_from(listener, place));
                Some(Vec::new())
            }
            "cancel-streamlocal-forward@openssh.com" => {
                let path = fields.text()?;
                listeners.remove(&Place::Unix(path)).map(|_| Vec::new())
            }
            NO_MORE_SESSIONS => Some(Vec::new()),
            _ => None,
        }
    }

    async fn listen(&self, at: Endpoint) -> Option<Listener> {
        if !at.is_in_bounds() {
            return None;
        }
        self.worker.listen(at).await.ok()
    }

    /// Announces what a listener accepts, until the value is dropped.
    fn accept_from(&self, mut listener: Listener, place: Place) -> AbortOnDrop {
        let listening = self.clone();
        let accept = async move {
            while let Some(arrival) = listener.next().await {
                let (to, place) = (listening.clone(), place.clone());
                let most = listening.most;
                listening.tasks.spawn(most, to.announce(arrival, place));
            }
        };
        AbortOnDrop(tokio::spawn(accept).abort_handle())
    }

    async fn announce(self, arrival: Arrival, place: Place) {
        let Arrival {
            mut forward,
            origin,
            socket,
        } = arrival;
        let mut opening = pin!(self.open_channel(origin, place));
        let opened = tokio::select! {
            opened = &mut opening => opened,
            () = forward.end() => {
                drop((socket, forward));
                // The client may still answer, and is told then.
                if let Ok(channel) = opening.await {
                    let _ = channel.close().await;
                }
                return;
            }
        };
        if let Ok(channel) = opened {
            self.worker.taken(&forward).await;
            carry(channel, socket, self.worker.traffic(), &mut forward).await;
        }
    }

    async fn open_channel(
        &self,
        origin: Origin,
        place: Place,
    ) -> Result<Channel<Msg>, russh::Error> {
        let (address, port) = (origin.address, origin.port.into());
        match place {
            Place::Tcp(host, at) => {
                self.handle
                    .channel_open_forwarded_tcpip(host, at.into(), address, port)
                    .await
            }
            Place::Unix(path) => self.handle.channel_open_forwarded_streamlocal(path).await,
            Place::Agent => self.handle.channel_open_agent().await,
        }
    }
}

/// A task that ends with this value.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The client's agent; one socket serves every channel that it is offered to.
pub(super) struct Agent {
    listening: Listening,
    socket: tokio::sync::Mutex<Option<(u32, AbortOnDrop)>>,
}

impl Agent {
    pub(super) fn new(listening: Listening) -> Self {
        Self {
            listening,
            socket: tokio::sync::Mutex::default(),
        }
    }

    /// Offers it to what is started on this channel from now on.
    pub(super) async fn offer(&self, channel: u32) -> bool {
        let mut socket = self.socket.lock().await;
        let worker = &self.listening.worker;
        let Ok(listener) = worker.forward_agent(channel).await else {
            return false;
        };
        let lives = socket
            .as_ref()
            .is_some_and(|(number, _)| worker.listens(*number));
        if !lives {
            let number = listener.number();
            let task = self.listening.accept_from(listener, Place::Agent);
            *socket = Some((number, task));
        }
        true
    }
}
