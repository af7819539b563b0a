//! One SSH connection, from the identification to its end.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use meshd_contract::broker::{FromSession, Hello, Leaving, MAX_ENVIRONMENT_VARIABLES};
use meshd_contract::forward::Endpoint;
use russh::keys::PublicKey;
use russh::keys::ssh_key::HashAlg;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Response, RunningSession, Session,
    run_stream,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodSet, SshId};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::admission::{Admission, VariableLimits};
use super::algorithms::{Family, cpu_has_aes, offer};
use super::authentication::{Authentication, Outcome, SERVED};
use super::channel::{Asked, SessionChannel};
use super::end::{End, leaving};
use super::forward;
use super::host_key::HostKeys;
use super::inherited::Inherited;
use super::listening::{Agent, GLOBAL_QUEUE, GlobalRequest, Listening, NO_MORE_SESSIONS, Tasks};
use super::output::{Output, Stream, shown};
use super::rekeying;
use super::request::Request;
use super::traffic;
use super::transport::{self, IDENTIFICATION};
use super::worker::Worker;
use super::{SessionError, log};

/// With credit on consumption a wide window costs memory only where a program does not read.
const WINDOW_BYTES: u32 = 4 << 20;

/// Above the 32 KiB that every side must take (RFC 4253, section 6.1): fewer packets for an upload.
const PACKET_BYTES: u32 = 64 << 10;

/// Requests that a channel may have waiting: more than a client's variables.
const REQUEST_QUEUE: usize = MAX_ENVIRONMENT_VARIABLES + 64;

/// How long the last words may take that a user is to read, and the rest of the farewell.
const LAST_WORDS: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves the connection.
///
/// # Errors
/// [`SessionError`] when it could not be begun.
pub(super) async fn serve(inherited: Inherited, hello: Hello) -> Result<(), SessionError> {
    // Its end tells the manager that the process has ended.
    let _manager = inherited.manager;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let worker = Worker::new(
        inherited.worker,
        seconds(hello.answer),
        seconds(hello.connect),
    )?;
    let keys = HostKeys::new(&hello.host_keys);
    if keys.locked().is_empty() {
        transport::refuse(inherited.connection, "meshd: this host has no host key").await?;
        return Err(SessionError::HostKeys);
    }
    let grace = Duration::from_secs(hello.login_grace.into());
    let config = config(&hello, &keys);
    let (ends, mut end) = mpsc::channel(4);
    let shared = Arc::new(Shared {
        variables: VariableLimits::of(&hello),
        name: hello.connection,
        max_channels: usize::try_from(hello.max_channels).unwrap_or(usize::MAX),
        max_forwards: usize::try_from(hello.max_forwards).unwrap_or(usize::MAX),
        worker: worker.clone(),
        keys,
        authentication: Arc::default(),
        channels: Mutex::default(),
        forwards: Arc::default(),
        listening: OnceLock::new(),
        handle: OnceLock::new(),
        ends,
    });
    let deadline = Instant::now() + grace;
    let reporting = traffic::report(worker.traffic().clone(), worker.clone());
    let reporting = tokio::spawn(reporting);
    let link = worker.route();
    tokio::pin!(link);
    let begun = tokio::select! {
        begun = timeout_at(deadline, begin(inherited.connection, config, &shared)) => begun,
        ended = &mut link => {
            log(&shared.name, &ended.to_string());
            return Ok(());
        }
    };
    let mut session = match begun {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => {
            shared.client_has_left(Err(error));
            return Ok(());
        }
        Err(_) => {
            log(&shared.name, "the client did not say what it is in time");
            worker.tell(FromSession::Leaving(Leaving::Late));
            return Ok(());
        }
    };
    let end = tokio::select! {
        ended = &mut session => Err(ended),
        ended = &mut link => Ok(End::Link(ended)),
        Some(end) = end.recv() => Ok(end),
        () = shared.authentication.grace(deadline) => Ok(End::LoginGrace),
    };
    match end {
        Ok(end) => shared.close(end, session).await,
        Err(ended) => shared.client_has_left(ended),
    }
    reporting.abort();
    worker.report_traffic();
    Ok(())
}

/// What the SSH engine keeps to, but for the algorithms. Nothing ends a connection because nothing
/// happens on it, unless root wants its clients to answer.
fn config(hello: &Hello, keys: &HostKeys) -> Config {
    let interval = u64::from(hello.client_alive_interval);
    Config {
        server_id: SshId::Standard(IDENTIFICATION.into()),
        methods: MethodSet::from(SERVED),
        auth_rejection_time: Duration::ZERO,
        keys: keys.locked(),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        limits: rekeying::limits(hello),
        inactivity_timeout: None,
        keepalive_interval: (interval > 0).then_some(Duration::from_secs(interval)),
        keepalive_max: usize::try_from(hello.client_alive_count_max).unwrap_or(usize::MAX),
        ..Config::default()
    }
}

/// Exchanges identifications and starts the SSH engine.
async fn begin(
    connection: OwnedFd,
    config: Config,
    shared: &Arc<Shared>,
) -> Result<RunningSession<Client>, russh::Error> {
    let (transport, client) = transport::identify(connection).await?;
    let family = Family::of(&client);
    let config = Config {
        preferred: offer(family, cpu_has_aes(), shared.keys.algorithms()),
        ..config
    };
    let client = Client {
        shared: shared.clone(),
        family,
        no_more_sessions: false,
    };
    let session = run_stream(Arc::new(config), transport, client).await?;
    // The engine's task starts at the next wait, so its handler finds the handle.
    let _ = shared.handle.set(session.handle());
    shared.serve_global_requests(session.handle());
    Ok(session)
}

/// What the tasks of a connection share.
struct Shared {
    name: String,
    max_channels: usize,
    variables: VariableLimits,
    max_forwards: usize,
    worker: Arc<Worker>,
    keys: HostKeys,
    authentication: Arc<Authentication>,
    channels: Mutex<HashMap<ChannelId, OpenChannel>>,
    forwards: Arc<Tasks>,
    listening: OnceLock<(mpsc::Sender<GlobalRequest>, Arc<Agent>)>,
    handle: OnceLock<Handle>,
    ends: mpsc::Sender<End>,
}

/// A channel that both sides have not closed yet.
struct OpenChannel {
    requests: mpsc::Sender<Asked>,
    output: Arc<Output>,
    admission: Admission,
    task: AbortHandle,
}

impl Shared {
    fn channels(&self) -> MutexGuard<'_, HashMap<ChannelId, OpenChannel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Result<Handle, russh::Error> {
        self.handle.get().cloned().ok_or(russh::Error::Inconsistent)
    }

    /// Ends the connection; the first reason counts.
    fn end(&self, end: End) {
        let _ = self.ends.try_send(end);
    }

    fn serve_global_requests(&self, handle: Handle) {
        let listening = Listening {
            worker: self.worker.clone(),
            handle,
            tasks: self.forwards.clone(),
            most: self.max_forwards,
        };
        let (requests, asked) = mpsc::channel(GLOBAL_QUEUE);
        let agent = Arc::new(Agent::new(listening.clone()));
        tokio::spawn(listening.serve(asked));
        let _ = self.listening.set((requests, agent));
    }

    /// Starts a forward's task.
    async fn forward(&self, target: Endpoint, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        if !self.forwards.has_room(self.max_forwards) {
            return forward::refuse(reply).await;
        }
        let task = forward::open(self.worker.clone(), target, channel, reply);
        self.forwards.spawn(self.max_forwards, task);
        // It gets its turn even while the socket has more.
        tokio::task::yield_now().await;
    }

    /// Starts the channel's task.
    fn open(&self, channel: Channel<Msg>) -> Result<(), russh::Error> {
        let id = channel.id();
        let (input, output) = channel.split();
        let traffic = self.worker.traffic().clone();
        let output = Arc::new(Output::new(output, self.handle()?, traffic));
        let (requests, asked) = mpsc::channel(REQUEST_QUEUE);
        let (_, agent) = self.listening.get().ok_or(russh::Error::Inconsistent)?;
        let session = SessionChannel {
            requests: asked,
            input: Some(input),
            output: output.clone(),
            link: self.worker.channel(),
            agent: agent.clone(),
        };
        let task = tokio::spawn(session.serve()).abort_handle();
        let open = OpenChannel {
            requests,
            output,
            admission: Admission::new(self.variables),
            task,
        };
        self.channels().insert(id, open);
        Ok(())
    }

    /// The client has ended the connection, or is gone without a word.
    fn client_has_left(&self, ended: Result<(), russh::Error>) {
        let leaving = leaving(&ended);
        let detail = ended.map_or_else(|error| format!(": {error}"), |()| String::new());
        log(&self.name, &format!("{}{detail}", leaving.reason()));
        self.worker.tell(FromSession::Leaving(leaving));
    }

    /// Says goodbye. A client that does not listen is not waited for: the process ends, and with
    /// it the socket.
    async fn close(&self, end: End, session: RunningSession<Client>) {
        log(&self.name, &format!("closing: {}", end.reason().1));
        if let Some(leaving) = end.leaving() {
            self.worker.tell(FromSession::Leaving(leaving));
        }
        let _ = timeout(FAREWELL, self.farewell(&end)).await;
        let _ = timeout(FAREWELL, session).await;
    }

    /// Hangs every channel up, tells its user why, and closes the connection.
    async fn farewell(&self, end: &End) {
        let (code, text) = end.reason();
        self.forwards.end();
        let channels: Vec<OpenChannel> = self.channels().drain().map(|(_, open)| open).collect();
        for channel in &channels {
            channel.task.abort();
        }
        let line = format!("{text}\n");
        let words = channels.iter().map(|channel| {
            timeout(
                LAST_WORDS,
                channel.output.text(Stream::Error, line.as_bytes()),
            )
        });
        futures_util::future::join_all(words).await;
        let Ok(handle) = self.handle() else {
            return;
        };
        if !channels.is_empty() {
            shown(&handle).await;
        }
        let _ = handle.disconnect(code, text, String::new()).await;
    }
}

/// What the SSH engine calls.
struct Client {
    shared: Arc<Shared>,
    family: Family,
    /// The client opens none any more; one that does is in other hands than its user's.
    no_more_sessions: bool,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn sign_exchange_hash(
        &mut self,
        key: &PublicKey,
        _hash_alg: Option<HashAlg>,
        exchange_hash: &[u8],
    ) -> Result<Option<Vec<u8>>, Self::Error> {
        let index = self
            .shared
            .keys
            .index(key)
            .ok_or(russh::Error::UnknownKey)?;
        let signed = self.shared.worker.sign(index, exchange_hash).await;
        signed.map(Some).map_err(|reason| {
            log(&self.shared.name, &format!("no signature: {reason}"));
            russh::Error::Disconnect
        })
    }

    async fn auth_request(
        &mut self,
        user: &[u8],
        method: &str,
        request: &[u8],
    ) -> Result<Option<Auth>, Self::Error> {
        match self.shared.authentication.request(user, method, request) {
            Outcome::Answer(auth) => Ok(Some(auth)),
            Outcome::Ask(login, pending) => {
                let (shared, family) = (self.shared.clone(), self.family);
                let (worker, handle) = (shared.worker.clone(), shared.handle()?);
                tokio::spawn(async move {
                    let authentication = shared.authentication.clone();
                    if let Err(end) = authentication.decide(worker, handle, family, login).await {
                        shared.end(end);
                    }
                });
                Ok(Some(pending))
            }
            Outcome::End(end) => {
                self.shared.end(end);
                // Nothing is answered any more: the number is nobody's.
                Ok(Some(Auth::Pending(0)))
            }
        }
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        _response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.shared.authentication.responded())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.no_more_sessions {
            self.shared.end(End::NoMoreSessions);
            return Ok(());
        }
        if self.shared.channels().len() >= self.shared.max_channels {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        reply.accept().await;
        self.shared.open(channel)
    }

    async fn channel_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        want_reply: bool,
        request: &[u8],
    ) -> Result<bool, Self::Error> {
        let parsed = Request::parse(name, request);
        let sent = match self.shared.channels().get_mut(&channel) {
            Some(open) => match open.admission.admit(parsed, request.len(), want_reply) {
                Some(admitted) => open.requests.try_send((admitted, want_reply)),
                None => return Ok(true),
            },
            None => return Ok(true),
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = sent {
            self.shared.end(End::Flood);
        }
        // The channel's task gets its turn even while the socket has more.
        tokio::task::yield_now().await;
        Ok(true)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(port) = u16::try_from(port) else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        let host = host.to_owned();
        let target = Endpoint::Tcp { host, port };
        self.shared.forward(target, channel, reply).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let path = path.as_bytes().to_vec();
        let target = Endpoint::Unix { path };
        self.shared.forward(target, channel, reply).await;
        Ok(())
    }

    async fn global_request(
        &mut self,
        name: &str,
        want_reply: bool,
        request: &[u8],
    ) -> Result<bool, Self::Error> {
        self.no_more_sessions |= name == NO_MORE_SESSIONS;
        let asked = (name.to_owned(), want_reply, request.to_vec());
        let sent = match self.shared.listening.get() {
            Some((requests, _)) => requests.try_send(asked),
            None => return Ok(false),
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = sent {
            self.shared.end(End::Flood);
        }
        tokio::task::yield_now().await;
        Ok(true)
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(open) = self.shared.channels().remove(&channel) {
            open.task.abort();
        }
        Ok(())
    }
}
