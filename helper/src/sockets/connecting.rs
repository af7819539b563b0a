//! One connection on its way: a name, then one address after the other.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::forward::Endpoint;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, getsockopt, setsockopt,
    socket, sockopt,
};

use crate::resolve::Lookup;

pub(super) struct Connecting {
    until: Instant,
    state: State,
    addresses: VecDeque<SocketAddr>,
    /// What became of the last address.
    words: String,
}

enum State {
    LookingUp(Lookup),
    Attempting {
        socket: OwnedFd,
        until: Instant,
    },
    /// Nothing to wait for.
    Settled(Option<OwnedFd>),
}

/// How far it is.
pub(super) enum Progress {
    Waiting,
    Connected(OwnedFd),
    Failed(String),
}

impl Connecting {
    /// Begins; all must be done by `until`.
    ///
    /// # Errors
    /// The system's words.
    pub(super) fn start(target: &Endpoint, until: Instant) -> Result<Self, String> {
        let mut connecting = Self {
            until,
            state: State::Settled(None),
            addresses: VecDeque::new(),
            words: String::new(),
        };
        match target {
            Endpoint::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(address) => {
                    connecting.addresses.push_back((address, *port).into());
                    connecting.try_next();
                }
                Err(_) => {
                    let lookup = Lookup::start(host, *port).map_err(|error| error.to_string())?;
                    connecting.state = State::LookingUp(lookup);
                }
            },
            Endpoint::Unix { path } => {
                let socket = connect_unix(path).map_err(|errno| errno.desc().to_owned())?;
                connecting.state = State::Settled(Some(socket));
            }
        }
        Ok(connecting)
    }

    /// What to wait for.
    pub(super) fn source(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::LookingUp(lookup) => Some((lookup.source(), PollFlags::POLLIN)),
            State::Attempting { socket, .. } => Some((socket.as_fd(), PollFlags::POLLOUT)),
            State::Settled(_) => None,
        }
    }

    /// When to look at it again in any case.
    pub(super) fn deadline(&self) -> Instant {
        match &self.state {
            State::LookingUp(_) => self.until,
            State::Attempting { until, .. } => *until,
            State::Settled(_) => Instant::now(),
        }
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn advance(&mut self, now: Instant) -> Progress {
        loop {
            match &mut self.state {
                State::LookingUp(lookup) => match lookup.read() {
                    Some(Ok(addresses)) => {
                        self.addresses = addresses.into();
                        self.try_next();
                    }
                    Some(Err(words)) => return Progress::Failed(words),
                    None if now >= self.until => return Progress::Failed(timed_out()),
                    None => return Progress::Waiting,
                },
                State::Attempting { socket, until } => {
                    if is_decided(socket) {
                        match getsockopt(socket, sockopt::SocketError) {
                            Ok(0) => self.settle(),
                            Ok(raw) => self.give_up(Errno::from_raw(raw).desc()),
                            Err(errno) => self.give_up(errno.desc()),
                        }
                    } else if now >= *until {
                        self.give_up(Errno::ETIMEDOUT.desc());
                    } else {
                        return Progress::Waiting;
                    }
                }
                State::Settled(socket) => {
                    let words = std::mem::take(&mut self.words);
                    return socket.take().map_or(Progress::Failed(words), |socket| {
                        let _ = setsockopt(&socket, sockopt::TcpNoDelay, &true);
                        Progress::Connected(socket)
                    });
                }
            }
        }
    }

    fn settle(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Settled(None));
        if let State::Attempting { socket, .. } = state {
            self.state = State::Settled(Some(socket));
        }
    }

    fn give_up(&mut self, words: &str) {
        words.clone_into(&mut self.words);
        self.try_next();
    }

    /// Tries the addresses that are left until one is on its way. Each has its share of the time.
    fn try_next(&mut self) {
        self.state = State::Settled(None);
        while let Some(address) = self.addresses.pop_front() {
            let now = Instant::now();
            let left = self.until.saturating_duration_since(now);
            if left < Duration::from_millis(1) {
                self.words = timed_out();
                return;
            }
            let others = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
            let until = now + left / others.saturating_add(1);
            match connect_tcp(address) {
                Ok(socket) => {
                    self.state = State::Attempting { socket, until };
                    return;
                }
                Err(errno) => errno.desc().clone_into(&mut self.words),
            }
        }
    }
}

fn timed_out() -> String {
    Errno::ETIMEDOUT.desc().to_owned()
}

fn is_decided(socket: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..))
}

fn connect_tcp(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = stream(family)?;
    started(connect(socket.as_raw_fd(), &SockaddrStorage::from(address)))?;
    Ok(socket)
}

fn connect_unix(path: &[u8]) -> nix::Result<OwnedFd> {
    let socket = stream(AddressFamily::Unix)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// A new socket that does not block.
pub(super) fn stream(family: AddressFamily) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None)
}

fn started(connected: nix::Result<()>) -> nix::Result<()> {
    match connected {
        Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(()),
        other => other,
    }
}
