//! The link to the worker: questions with deadlines, and the way of each answer.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_contract::broker::{Denial, ExitStatus, FromSession, Hello, Open, ToSession};
use meshd_contract::check::{FIRST_WORD_SECONDS, HOLD_SECONDS, Prompt};
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::SessionError;
use super::forward_link::ForwardRoutes;
use super::pipe::register;
use super::traffic::Traffic;

/// A signature takes the worker microseconds; a client waits for it before it shows anything.
const SIGN_DEADLINE: Duration = Duration::from_secs(20);

/// How long there may be no room for a message to the worker.
const SEND_DEADLINE: Duration = Duration::from_secs(60);

/// Somewhat longer than the worker waits.
const FORWARD_MARGIN: Duration = Duration::from_secs(20);

/// Words of the worker about a login that may wait.
const VERDICTS: usize = 8;

/// Messages that one channel may be behind; the worker sends a handful for each.
const CHANNEL_QUEUE: usize = 64;

/// What a channel is told.
#[derive(Debug)]
pub(super) enum ToChannel {
    /// The terminal's master side.
    Pty(OwnedFd),
    /// It runs, with these descriptors.
    Opened(Vec<OwnedFd>),
    /// It could not be started.
    Failed(String),
    /// To be shown before any output.
    Notice(Vec<u8>),
    /// It has ended.
    Exited(ExitStatus),
}

/// The worker's decision about a login.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// Channels may be opened.
    Permitted,
    /// The connection is over.
    Denied(Denial),
    /// Not yet: control is asked.
    Asking,
    /// Not yet: the user is to sign in first.
    Held(Prompt),
}

/// What the worker says of a login, in turn.
pub(super) struct Verdicts {
    received: mpsc::Receiver<Verdict>,
    /// How long the next word may take.
    patience: Duration,
    /// How long one may take that the worker needs no person for.
    answer: Duration,
}

impl Verdicts {
    /// The next word.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn next(&mut self) -> Result<Verdict, Unanswered> {
        let verdict = match timeout(self.patience, self.received.recv()).await {
            Err(_) => return Err(Unanswered::Late),
            Ok(verdict) => verdict.ok_or(Unanswered::Gone)?,
        };
        let longer = match verdict {
            Verdict::Asking => FIRST_WORD_SECONDS,
            Verdict::Held(_) => HOLD_SECONDS,
            Verdict::Permitted | Verdict::Denied(_) => 0,
        };
        self.patience = self.answer + Duration::from_secs(longer);
        Ok(verdict)
    }
}

/// Why the link ended.
#[derive(Debug, Error)]
pub(super) enum LinkEnd {
    /// The right to be here has ended.
    #[error("access was revoked")]
    Revoked,
    /// The worker is gone, or does not speak as agreed.
    #[error("the link to the worker ended: {0}")]
    Broken(WireError),
    /// A message that nobody waits for.
    #[error("the worker sent {0}, which was not expected")]
    Unexpected(&'static str),
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unanswered {
    /// The worker did not answer in time.
    #[error("the host did not answer in time; try again later")]
    Late,
    /// The worker is gone.
    #[error("internal error: the process in charge of this connection has ended")]
    Gone,
    /// The question is too long to ask.
    #[error("the command and its variables are too long")]
    TooLong,
}

/// Reads the greeting, before there is a runtime.
///
/// # Errors
/// [`SessionError::Hello`] when something else comes, nothing within `deadline`, or the end.
pub(super) fn read_hello(socket: &OwnedFd, deadline: Duration) -> Result<Hello, SessionError> {
    let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, timeout) {
        Ok(0) => return Err(SessionError::Hello(WireError::Socket(Errno::ETIMEDOUT))),
        Ok(_) => {}
        Err(errno) => return Err(SessionError::Hello(errno.into())),
    }
    match wire::receive(socket.as_fd()) {
        Ok((ToSession::Hello(hello), _)) => Ok(hello),
        Ok(_) => Err(SessionError::Hello(WireError::Malformed)),
        Err(error) => Err(SessionError::Hello(error)),
    }
}

/// The link.
pub(super) struct Worker {
    socket: AsyncFd<OwnedFd>,
    traffic: Arc<Traffic>,
    /// How long an answer of the host's may take.
    answer: Duration,
    /// How long a forward may take, with everything that comes before it.
    forward: Duration,
    routes: Mutex<Routes>,
    forwards: Mutex<ForwardRoutes>,
    /// The number of the next forward.
    next_forward: tokio::sync::Mutex<u32>,
}

#[derive(Default)]
struct Routes {
    signature: Option<oneshot::Sender<Vec<u8>>>,
    verdicts: Option<mpsc::Sender<Verdict>>,
    channels: HashMap<u32, mpsc::Sender<ToChannel>>,
    last_channel: u32,
}

impl Worker {
    /// Takes the socket over. Needs the runtime.
    ///
    /// # Errors
    /// The kernel's, when the socket cannot be watched.
    pub(super) fn new(
        socket: OwnedFd,
        answer: Duration,
        connect: Duration,
    ) -> std::io::Result<Arc<Self>> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Arc::new(Self {
            socket: register(socket)?,
            traffic: Arc::default(),
            answer,
            forward: answer + connect + FORWARD_MARGIN,
            routes: Mutex::default(),
            forwards: Mutex::default(),
            next_forward: tokio::sync::Mutex::new(0),
        }))
    }

    /// Brings every message where it is waited for, until the link ends.
    pub(super) async fn route(&self) -> LinkEnd {
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, |socket| {
                    nonblocking(wire::receive(socket.as_fd()))
                })
                .await;
            let routed = match received {
                Ok(Ok((message, fds))) => self.dispatch(message, fds),
                Ok(Err(error)) => Err(LinkEnd::Broken(error)),
                Err(error) => Err(LinkEnd::Broken(socket_error(&error))),
            };
            if let Err(end) = routed {
                // Whoever waits must not wait for an answer that cannot come.
                *self.routes() = Routes::default();
                *self.forwards() = ForwardRoutes::default();
                return end;
            }
        }
    }

    /// Has the worker sign an exchange hash with its host key number `key`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn sign(&self, key: u8, hash: &[u8]) -> Result<Vec<u8>, Unanswered> {
        let (answer, signed) = oneshot::channel();
        self.routes().signature = Some(answer);
        let hash = hash.to_vec();
        self.send(&FromSession::Sign { key, hash }).await?;
        answered(SIGN_DEADLINE, signed).await
    }

    /// Asks whether the client may become `name`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn login(&self, name: Vec<u8>) -> Result<Verdicts, Unanswered> {
        let (words, received) = mpsc::channel(VERDICTS);
        self.routes().verdicts = Some(words);
        self.send(&FromSession::Login { name }).await?;
        Ok(Verdicts {
            received,
            patience: self.answer,
            answer: self.answer,
        })
    }

    /// What the connection has carried.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Tells the worker what the connection has carried, unless it knows. Without room for it the
    /// next report has the sums.
    pub(super) fn report_traffic(&self) {
        if let Some((received, sent)) = self.traffic.news() {
            let message = FromSession::Traffic { received, sent };
            let _ = wire::send(self.socket.get_ref().as_fd(), &message, &[]);
        }
    }

    /// Makes the link of one more channel.
    pub(super) fn channel(self: &Arc<Self>) -> ChannelLink {
        let (route, messages) = mpsc::channel(CHANNEL_QUEUE);
        let mut routes = self.routes();
        routes.last_channel += 1;
        let number = routes.last_channel;
        routes.channels.insert(number, route);
        ChannelLink {
            worker: self.clone(),
            number,
            messages,
            terminal_waits: false,
        }
    }

    fn dispatch(&self, message: ToSession, mut fds: Vec<OwnedFd>) -> Result<(), LinkEnd> {
        let (channel, message) = match message {
            ToSession::Signed { signature } => {
                let waiting = self.routes().signature.take();
                return deliver(waiting, signature, "a signature");
            }
            ToSession::Asking => return self.verdict(Verdict::Asking),
            ToSession::Held(prompt) => return self.verdict(Verdict::Held(prompt)),
            ToSession::Permitted(_) => return self.verdict(Verdict::Permitted),
            ToSession::Denied(denial) => return self.verdict(Verdict::Denied(denial)),
            ToSession::Revoked => return Err(LinkEnd::Revoked),
            ToSession::Hello(_) => return Err(LinkEnd::Unexpected("a second greeting")),
            ToSession::Pty { channel } => match fds.pop() {
                Some(master) => (channel, ToChannel::Pty(master)),
                None => return Err(LinkEnd::Unexpected("a terminal without its descriptor")),
            },
            ToSession::Opened { channel } => (channel, ToChannel::Opened(fds)),
            ToSession::Failed { channel, message } => (channel, ToChannel::Failed(message)),
            ToSession::Notice { channel, text } => (channel, ToChannel::Notice(text)),
            ToSession::Exited { channel, status } => (channel, ToChannel::Exited(status)),
            message @ (ToSession::Connected { .. }
            | ToSession::Listening { .. }
            | ToSession::NotForwarded { .. }
            | ToSession::Accepted { .. }) => {
                let unwanted = self.forwards().dispatch(message, fds);
                if let Some(forward) = unwanted {
                    self.tell(FromSession::EndForward { forward });
                }
                return Ok(());
            }
        };
        // A channel that the client has closed is not there any more.
        match self
            .routes()
            .channels
            .get(&channel)
            .map(|route| route.try_send(message))
        {
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                Err(LinkEnd::Unexpected("more than a channel can take"))
            }
            _ => Ok(()),
        }
    }

    fn verdict(&self, verdict: Verdict) -> Result<(), LinkEnd> {
        let unexpected = LinkEnd::Unexpected("a decision");
        let mut routes = self.routes();
        let words = routes.verdicts.as_ref().ok_or(unexpected)?;
        let sent = words.try_send(verdict.clone());
        if matches!(verdict, Verdict::Permitted | Verdict::Denied(_)) {
            routes.verdicts = None;
        }
        match sent {
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(LinkEnd::Unexpected("more than one login can take"))
            }
            _ => Ok(()),
        }
    }

    /// Sends a message from where nothing can wait. Without room for it the worker counts one
    /// forward or terminal more, until the connection ends.
    pub(super) fn tell(&self, message: FromSession) {
        let _ = wire::send(self.socket.get_ref().as_fd(), &message, &[]);
    }

    /// The number of the next forward, until it was sent.
    pub(super) async fn next_forward(&self) -> tokio::sync::MutexGuard<'_, u32> {
        self.next_forward.lock().await
    }

    /// Waits for the answer to a question about a forward.
    pub(super) async fn forward_answered<T>(
        &self,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, Unanswered> {
        answered(self.forward, answer).await
    }

    pub(super) fn forwards(&self) -> MutexGuard<'_, ForwardRoutes> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn send(&self, message: &FromSession) -> Result<(), Unanswered> {
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| {
            nonblocking(wire::send(socket.as_fd(), message, &[]))
        });
        match timeout(SEND_DEADLINE, sent).await {
            Err(_) => Err(Unanswered::Late),
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(WireError::TooLarge))) => Err(Unanswered::TooLong),
            Ok(Ok(Err(_)) | Err(_)) => Err(Unanswered::Gone),
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker's side of one channel.
pub(super) struct ChannelLink {
    worker: Arc<Worker>,
    number: u32,
    messages: mpsc::Receiver<ToChannel>,
    /// There is a terminal, and nothing was to run on it yet.
    terminal_waits: bool,
}

impl ChannelLink {
    /// Asks for a terminal.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn allocate_pty(&mut self) -> Result<(), Unanswered> {
        let channel = self.number;
        self.terminal_waits = true;
        self.worker
            .send(&FromSession::AllocatePty { channel })
            .await
    }

    /// Asks for a program; `request` need not name the channel.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn open(&mut self, request: Open) -> Result<(), Unanswered> {
        let channel = self.number;
        self.terminal_waits = false;
        self.worker
            .send(&FromSession::Open(Open { channel, ..request }))
            .await
    }

    /// By what the worker knows the channel.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Passes a signal on.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn signal(&self, name: String) -> Result<(), Unanswered> {
        let channel = self.number;
        self.worker
            .send(&FromSession::Signal { channel, name })
            .await
    }

    /// What the connection has carried.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        self.worker.traffic()
    }

    /// The next message; none when the link has ended.
    pub(super) async fn next(&mut self) -> Option<ToChannel> {
        self.messages.recv().await
    }

    /// The next message, which answers a question.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn answer(&mut self) -> Result<ToChannel, Unanswered> {
        match timeout(self.worker.answer, self.messages.recv()).await {
            Err(_) => Err(Unanswered::Late),
            Ok(message) => message.ok_or(Unanswered::Gone),
        }
    }
}

impl Drop for ChannelLink {
    fn drop(&mut self) {
        self.worker.routes().channels.remove(&self.number);
        self.worker.report_traffic();
        if self.terminal_waits {
            let channel = self.number;
            self.worker.tell(FromSession::Release { channel });
        }
    }
}

fn deliver<T>(
    waiting: Option<oneshot::Sender<T>>,
    answer: T,
    what: &'static str,
) -> Result<(), LinkEnd> {
    // One that waited too long has gone, which the worker could not know.
    waiting.map_or(Err(LinkEnd::Unexpected(what)), |waiting| {
        drop(waiting.send(answer));
        Ok(())
    })
}

async fn answered<T>(deadline: Duration, answer: oneshot::Receiver<T>) -> Result<T, Unanswered> {
    match timeout(deadline, answer).await {
        Err(_) => Err(Unanswered::Late),
        Ok(answer) => answer.map_err(|_| Unanswered::Gone),
    }
}

/// Tells the runtime to wait where the socket was not ready, and nothing else.
fn nonblocking<T>(result: Result<T, WireError>) -> std::io::Result<Result<T, WireError>> {
    match result {
        Err(WireError::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
        other => Ok(other),
    }
}

fn socket_error(error: &std::io::Error) -> WireError {
    WireError::Socket(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
