//! The worker's side of forwards: sockets that it hands over on request, and those that its
//! listeners accept.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use meshd_contract::broker::{FromSession, ToSession};
use meshd_contract::forward::{Endpoint, ForwardFailure, Origin};
use tokio::sync::{mpsc, oneshot};

use super::worker::{Unanswered, Worker};

/// Accepted connections that one listener may be behind; the worker sends no more before the
/// client has taken some.
const ARRIVALS: usize = 64;

/// Whom the worker's messages about forwards are for.
#[derive(Default)]
pub(super) struct ForwardRoutes {
    answers: HashMap<u32, oneshot::Sender<Answer>>,
    listeners: HashMap<u32, mpsc::Sender<Accepted>>,
    /// What is told that the worker does not permit it any more.
    ends: HashMap<u32, oneshot::Sender<()>>,
}

/// A connection on its way to the client: its number, what ends it, where it comes from.
type Accepted = (u32, oneshot::Receiver<()>, Origin, OwnedFd);

enum Answer {
    Connected(OwnedFd),
    Listening(u16),
    Failed(ForwardFailure),
}

/// Why there is no forward.
pub(super) enum NoForward {
    /// The worker says so.
    Refused(ForwardFailure),
    /// The worker says nothing.
    Unanswered(Unanswered),
}

impl From<Unanswered> for NoForward {
    fn from(reason: Unanswered) -> Self {
        Self::Unanswered(reason)
    }
}

/// A number that means something to the worker, until this value goes.
pub(super) struct Forward {
    worker: Arc<Worker>,
    number: u32,
    /// None when there is nobody left who could end it.
    end: Option<oneshot::Receiver<()>>,
}

/// Something that accepts connections, until this value goes.
pub(super) struct Listener {
    forward: Forward,
    /// The port; 0 for a Unix socket.
    pub(super) port: u16,
    arrivals: mpsc::Receiver<Accepted>,
}

/// A connection that was accepted.
pub(super) struct Arrival {
    pub(super) forward: Forward,
    pub(super) origin: Origin,
    pub(super) socket: OwnedFd,
}

impl ForwardRoutes {
    /// Brings a message where it is waited for. What nobody waits for any more is closed, and
    /// an accepted connection's number returned, which is to be given back.
    pub(super) fn dispatch(&mut self, message: ToSession, fds: Vec<OwnedFd>) -> Option<u32> {
        let mut fds = fds.into_iter();
        match message {
            ToSession::Connected { forward } => {
                if let Some(socket) = fds.next() {
                    self.answer(forward, Answer::Connected(socket));
                }
            }
            ToSession::Listening { forward, port } => {
                self.answer(forward, Answer::Listening(port));
            }
            ToSession::NotForwarded { forward, failure } => {
                self.listeners.remove(&forward);
                if let Some(end) = self.ends.remove(&forward) {
                    let _ = end.send(());
                }
                self.answer(forward, Answer::Failed(failure));
            }
            ToSession::Accepted {
                listener,
                forward,
                origin,
            } => {
                let (route, socket) = (self.listeners.get(&listener), fds.next());
                let (end, ended) = oneshot::channel();
                let delivered = route.zip(socket).is_some_and(|(route, socket)| {
                    route.try_send((forward, ended, origin, socket)).is_ok()
                });
                if delivered {
                    self.ends.insert(forward, end);
                }
                return (!delivered).then_some(forward);
            }
            _ => {}
        }
        None
    }

    fn answer(&mut self, forward: u32, answer: Answer) {
        if let Some(waiting) = self.answers.remove(&forward) {
            let _ = waiting.send(answer);
        }
    }
}

impl Worker {
    /// Asks for a connection.
    ///
    /// # Errors
    /// [`NoForward`].
    pub(super) async fn connect(
        self: &Arc<Self>,
        target: Endpoint,
    ) -> Result<(Forward, OwnedFd), NoForward> {
        let ask = |forward| FromSession::Connect { forward, target };
        let (forward, answer) = self.ask_forward(ask, None).await?;
        match answer {
            Answer::Connected(socket) => Ok((forward, socket)),
            Answer::Failed(failure) => Err(NoForward::Refused(failure)),
            Answer::Listening(_) => Err(Unanswered::Gone.into()),
        }
    }

    /// Asks for a listener.
    ///
    /// # Errors
    /// [`NoForward`].
    pub(super) async fn listen(self: &Arc<Self>, at: Endpoint) -> Result<Listener, NoForward> {
        let ask = |forward| FromSession::Listen { forward, at };
        self.ask_listener(ask).await
    }

    /// Offers the client's agent to what is started on a channel from now on.
    ///
    /// # Errors
    /// [`NoForward`].
    pub(super) async fn forward_agent(
        self: &Arc<Self>,
        channel: u32,
    ) -> Result<Listener, NoForward> {
        let ask = |forward| FromSession::ForwardAgent { forward, channel };
        self.ask_listener(ask).await
    }

    /// Whether something is still listening under this number.
    pub(super) fn listens(&self, number: u32) -> bool {
        self.forwards().listeners.contains_key(&number)
    }

    async fn ask_listener(
        self: &Arc<Self>,
        ask: impl FnOnce(u32) -> FromSession,
    ) -> Result<Listener, NoForward> {
        let (route, arrivals) = mpsc::channel(ARRIVALS);
        let (forward, answer) = self.ask_forward(ask, Some(route)).await?;
        match answer {
            Answer::Listening(port) => Ok(Listener {
                forward,
                port,
                arrivals,
            }),
            Answer::Failed(failure) => Err(NoForward::Refused(failure)),
            Answer::Connected(_) => Err(Unanswered::Gone.into()),
        }
    }

    async fn ask_forward(
        self: &Arc<Self>,
        ask: impl FnOnce(u32) -> FromSession,
        route: Option<mpsc::Sender<Accepted>>,
    ) -> Result<(Forward, Answer), Unanswered> {
        let (answer, answered) = oneshot::channel();
        let (ends, end) = oneshot::channel();
        // Numbers reach the worker in their order.
        let mut next = self.next_forward().await;
        let number = *next;
        *next += 1;
        {
            let mut routes = self.forwards();
            routes.answers.insert(number, answer);
            routes.ends.insert(number, ends);
            if let Some(route) = route {
                routes.listeners.insert(number, route);
            }
        }
        let forward = Forward {
            worker: self.clone(),
            number,
            end: Some(end),
        };
        self.send(&ask(number)).await?;
        drop(next);
        Ok((forward, self.forward_answered(answered).await?))
    }

    /// The client has taken an accepted connection.
    pub(super) async fn taken(&self, forward: &Forward) {
        let forward = forward.number;
        let _ = self.send(&FromSession::Taken { forward }).await;
    }
}

impl Forward {
    /// Comes when the worker does not permit it any more.
    pub(super) async fn end(&mut self) {
        if let Some(end) = &mut self.end {
            if end.await.is_ok() {
                return;
            }
            self.end = None;
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let forward = self.number;
        let mut routes = self.worker.forwards();
        routes.answers.remove(&forward);
        routes.listeners.remove(&forward);
        routes.ends.remove(&forward);
        drop(routes);
        self.worker.tell(FromSession::EndForward { forward });
    }
}

impl Listener {
    /// By what [`Worker::listens`] knows it.
    pub(super) fn number(&self) -> u32 {
        self.forward.number
    }

    /// The next connection; none when nothing is accepted any more.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        let (number, end, origin, socket) = self.arrivals.recv().await?;
        let worker = self.forward.worker.clone();
        Some(Arrival {
            forward: Forward {
                worker,
                number,
                end: Some(end),
            },
            origin,
            socket,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.arrivals.close();
        while let Ok((forward, ..)) = self.arrivals.try_recv() {
            self.forward
                .worker
                .tell(FromSession::EndForward { forward });
        }
    }
}
