//! Sockets on the worker's behalf, opened with the user's rights and handed over: no forwarded
//! byte passes through here.

mod connecting;
mod link;
mod listening;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::forward::Endpoint;
use meshd_contract::helper::{FromHelper, ToHelper};
use nix::errno::Errno;
use nix::fcntl::{F_SETFD, F_SETFL, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{SockType, getsockopt, sockopt};

use connecting::{Connecting, Progress};
use link::{Heard, Link};
use listening::Listener;

/// The descriptor of the socket to the worker.
const WORKER: i32 = 3;

/// How long nothing is accepted after the process has run out of descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves the worker until it has gone or a signal ends the session; then what was made in the
/// file system is removed.
///
/// # Errors
/// The kernel's, when this was not started by a worker.
pub(crate) fn serve() -> nix::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    let mut ends = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        ends.add(signal);
    }
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut sockets = Sockets {
        link: Link::new(worker()?),
        connecting: BTreeMap::new(),
        listening: BTreeMap::new(),
        may_accept: 0,
        paused: None,
    };
    while sockets.turn(&signals)? {}
    Ok(())
}

/// Takes the descriptor, once it is known to be the socket.
#[allow(
    unsafe_code,
    reason = "a descriptor that was inherited has no owner yet"
)]
fn worker() -> nix::Result<OwnedFd> {
    // SAFETY: only looks at the descriptor, whether it is open or not.
    let socket = unsafe { BorrowedFd::borrow_raw(WORKER) };
    if getsockopt(&socket, sockopt::SockType)? != SockType::SeqPacket {
        return Err(Errno::EPROTOTYPE);
    }
    // SAFETY: it is open, as just seen, and this is the one place that takes it.
    let socket = unsafe { OwnedFd::from_raw_fd(WORKER) };
    fcntl(&socket, F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&socket, F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(socket)
}

struct Sockets {
    link: Link,
    connecting: BTreeMap<u32, Connecting>,
    listening: BTreeMap<u32, Listener>,
    /// How many connections the worker is ready to take.
    may_accept: u32,
    /// Until when nothing is accepted.
    paused: Option<Instant>,
}

/// What a descriptor that is waited for belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Worker,
    Signals,
    Connecting(u32),
    Listening(u32),
}

impl Sockets {
    /// Waits for one round of events and handles them; false at the end.
    fn turn(&mut self, signals: &SignalFd) -> nix::Result<bool> {
        for source in self.wait(signals)? {
            match source {
                Source::Signals => return Ok(false),
                Source::Worker => {
                    self.link.flush();
                    if !self.hear() {
                        return Ok(false);
                    }
                }
                Source::Connecting(number) => self.advance(number),
                Source::Listening(number) => self.accept(number),
            }
        }
        self.expire();
        Ok(self.link.is_open())
    }

    fn wait(&self, signals: &SignalFd) -> nix::Result<Vec<Source>> {
        let mut sources = vec![Source::Worker, Source::Signals];
        let mut watched = vec![
            PollFd::new(self.link.source(), self.link.events()),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        for (number, connecting) in &self.connecting {
            if let Some((source, events)) = connecting.source() {
                sources.push(Source::Connecting(*number));
                watched.push(PollFd::new(source, events));
            }
        }
        if self.may_accept > 0 && self.link.has_room() && self.paused.is_none() {
            for (number, listener) in &self.listening {
                for source in listener.sources() {
                    sources.push(Source::Listening(*number));
                    watched.push(PollFd::new(source, PollFlags::POLLIN));
                }
            }
        }
        match poll(&mut watched, self.timeout()) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        let ready = sources.iter().zip(&watched);
        let ready = ready.filter(|(_, watched)| watched.any() == Some(true));
        Ok(ready.map(|(source, _)| *source).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let ends = self.connecting.values().map(Connecting::deadline);
        let Some(next) = ends.chain(self.paused).min() else {
            return PollTimeout::NONE;
        };
        // Not earlier, or it would be asked again and again for the last millisecond.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    /// Takes one message of the worker's; false when it is gone.
    fn hear(&mut self) -> bool {
        match self.link.hear() {
            Heard::Message(message) => self.obey(message),
            Heard::Nothing => {}
            Heard::End => return false,
        }
        true
    }

    fn obey(&mut self, message: ToHelper) {
        match message {
            ToHelper::Connect {
                number,
                target,
                seconds,
            } => {
                let until = Instant::now() + Duration::from_secs(seconds.into());
                match Connecting::start(&target, until) {
                    Ok(connecting) => {
                        self.connecting.insert(number, connecting);
                        // A socket may be connected at once, and a name be none.
                        self.advance(number);
                    }
                    Err(words) => self.failed(number, &words),
                }
            }
            ToHelper::Listen {
                number,
                at,
                anywhere,
            } => self.listen(number, listen_at(&at, anywhere)),
            ToHelper::ListenAgent { number } => self.listen(number, Listener::agent()),
            ToHelper::Close { number } => {
                self.connecting.remove(&number);
                self.listening.remove(&number);
            }
            ToHelper::Accept { more } => self.may_accept = self.may_accept.saturating_add(more),
        }
    }

    fn listen(&mut self, number: u32, listener: nix::Result<Listener>) {
        match listener {
            Ok(listener) => {
                let (port, path) = (listener.port(), listener.agent_path());
                self.listening.insert(number, listener);
                let listening = FromHelper::Listening { number, port, path };
                self.link.tell(listening, None);
            }
            Err(errno) => self.failed(number, errno.desc()),
        }
    }

    fn failed(&mut self, number: u32, words: &str) {
        let words = link::bounded(words);
        self.link.tell(FromHelper::Failed { number, words }, None);
    }

    fn advance(&mut self, number: u32) {
        let Some(connecting) = self.connecting.get_mut(&number) else {
            return;
        };
        match connecting.advance(Instant::now()) {
            Progress::Waiting => return,
            Progress::Connected(socket) => {
                let connected = FromHelper::Connected { number };
                self.link.tell(connected, Some(socket));
            }
            Progress::Failed(words) => self.failed(number, &words),
        }
        self.connecting.remove(&number);
    }

    fn accept(&mut self, number: u32) {
        let Some(listener) = self.listening.get(&number) else {
            return;
        };
        if self.may_accept == 0 || !self.link.has_room() {
            return;
        }
        match listener.accept() {
            Ok(Some((socket, origin))) => {
                self.may_accept -= 1;
                let accepted = FromHelper::Accepted { number, origin };
                self.link.tell(accepted, Some(socket));
            }
            Ok(None) => {}
            Err(_) => self.paused = Some(Instant::now() + PAUSE),
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        let late = self.connecting.iter();
        let late: Vec<u32> = late
            .filter(|(_, connecting)| connecting.deadline() <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.advance(number);
        }
    }
}

fn listen_at(at: &Endpoint, anywhere: bool) -> nix::Result<Listener> {
    match at {
        Endpoint::Tcp { host, port } => Listener::tcp(host, *port, anywhere),
        Endpoint::Unix { path } => Listener::unix(path),
    }
}
