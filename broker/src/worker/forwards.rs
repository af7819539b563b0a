//! The helper of one connection: a process of the account's that opens sockets and hands them
//! over. It is believed nothing but that a socket is one, and never waited for.

mod helper;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::broker::ChannelDescription;
use meshd_contract::forward::{Endpoint, Origin};
use meshd_contract::helper::{FromHelper, ToHelper};
use meshd_contract::paths::HELPER_PROGRAM;
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::fcntl::{F_SETFL, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

use super::now;
use crate::config::Config;
use crate::process::{self, Identity, Plan, StartError};
use crate::record::{self, Event, Records};
use helper::{Broken, Helper, Pending};

/// The helper keeps to the time that it is given; a little later it is silent.
const MARGIN: Duration = Duration::from_secs(10);

/// What the helper is asked for, and what listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Connect(Endpoint),
    Listen(Endpoint),
    /// For what runs on this channel.
    Agent(u32),
}

/// What comes of it.
pub(super) enum Outcome {
    Connected(u32, OwnedFd),
    Listening(u32, u16),
    /// The agent's path, for what runs on the channel.
    Agent(u32, u32, String),
    /// By this listener, which was asked for like this.
    Accepted(u32, Ask, Origin, OwnedFd),
    Failed(u32, String),
    /// The helper is gone, and everything with it.
    Lost,
}

/// The helper, while one runs, and what it does.
pub(super) struct Forwards {
    records: Records,
    anywhere: bool,
    seconds: u32,
    helper: Option<Helper>,
}

/// Why there is no helper.
#[derive(Debug, Error)]
pub(super) enum HelperError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot make the socket of the helper: {0}")]
    Socket(#[from] WireError),
    #[error("cannot set up the helper: {0}")]
    System(#[from] Errno),
}

impl Forwards {
    pub(super) fn new(records: &Records, config: &Config) -> Self {
        Self {
            records: records.clone(),
            anywhere: config.gateway_ports,
            seconds: config.limits.connect,
            helper: None,
        }
    }

    pub(super) fn know(&mut self, fact: record::Fact) {
        self.records.know(fact);
    }

    pub(super) fn is_running(&self) -> bool {
        self.helper.is_some()
    }

    /// Starts the helper, with nothing that the user could not have given it.
    pub(super) fn start(
        &mut self,
        identity: &Identity,
        environment: &[CString],
    ) -> Result<(), HelperError> {
        let (socket, remote) = wire::pair()?;
        fcntl(&socket, F_SETFL(OFlag::O_NONBLOCK))?;
        let program = CString::new(HELPER_PROGRAM).map_err(|_| Errno::EINVAL)?;
        let null = process::null().map_err(|_| Errno::last())?;
        let null = null.as_fd();
        let pid = process::start(&Plan {
            program: &program,
            arguments: &[c"meshd-helper".into(), c"sockets".into()],
            environment,
            descriptors: &[null, null, null, remote.as_fd()],
            identity,
            directory: c"/",
            terminal: false,
            keep_chroot: false,
            parent_death_signal: libc::SIGTERM,
        })?;
        let facts = [
            ("channel", NO_CHANNEL.to_string()),
            ("kind", KIND.to_owned()),
            ("pid", pid.to_string()),
        ];
        self.records.write(Event::ChannelOpened, &facts);
        self.helper = Some(Helper {
            pid,
            socket,
            since: now(),
            pending: BTreeMap::new(),
            listening: BTreeMap::new(),
            agent: None,
        });
        Ok(())
    }

    /// What becomes readable when the helper has said something.
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.helper.as_ref().map(|helper| &helper.socket)
    }

    /// When [`Self::expire`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let pending = self.helper.as_ref()?.pending.values();
        pending.map(|pending| pending.until).min()
    }

    /// The path of the agent's socket, if there is one.
    pub(super) fn agent(&self) -> Option<&str> {
        self.helper.as_ref()?.agent.as_deref()
    }

    /// Asks the helper, which must run; what comes of it comes later.
    pub(super) fn ask(&mut self, number: u32, ask: Ask) -> Option<Outcome> {
        let (anywhere, seconds) = (self.anywhere, self.seconds);
        let message = match ask.clone() {
            Ask::Connect(target) => ToHelper::Connect {
                number,
                target,
                seconds,
            },
            Ask::Listen(at) => ToHelper::Listen {
                number,
                at,
                anywhere,
            },
            Ask::Agent(_) => ToHelper::ListenAgent { number },
        };
        let until = Instant::now() + Duration::from_secs(seconds.into()) + MARGIN;
        let helper = self.helper.as_mut()?;
        helper.pending.insert(number, Pending { ask, until });
        self.tell(&message)
    }

    /// Has the helper forget a request or a listener.
    pub(super) fn forget(&mut self, number: u32) -> Option<Outcome> {
        let helper = self.helper.as_mut()?;
        let pending = helper.pending.remove(&number).is_some();
        let known = helper.listening.remove(&number).is_some() || pending;
        known
            .then(|| self.tell(&ToHelper::Close { number }))
            .flatten()
    }

    /// Lets the helper accept so many connections more.
    pub(super) fn admit(&mut self, more: u32) -> Option<Outcome> {
        self.tell(&ToHelper::Accept { more })
    }

    /// Never waits: a helper that does not read has no more use.
    fn tell(&mut self, message: &ToHelper) -> Option<Outcome> {
        let helper = self.helper.as_ref()?;
        let sent = wire::send(helper.socket.as_fd(), message, &[]);
        sent.is_err().then(|| self.kill("it does not listen"))
    }

    /// Takes one message of the helper's.
    pub(super) fn hear(&mut self) -> Option<Outcome> {
        let helper = self.helper.as_mut()?;
        let heard = match wire::receive::<FromHelper>(helper.socket.as_fd()) {
            Ok((message, fds)) => helper.take(message, fds),
            Err(WireError::WouldBlock) => return None,
            Err(WireError::Closed) => return Some(self.kill("it has closed its socket")),
            Err(
                WireError::TooLarge
                | WireError::Version(_)
                | WireError::Malformed
                | WireError::Socket(_),
            ) => Err(Broken("what it sends is no message")),
        };
        match heard {
            Ok(outcome) => outcome,
            Err(Broken(how)) => Some(self.kill(how)),
        }
    }

    /// What the helper has not answered in time fails.
    pub(super) fn expire(&mut self) -> Vec<Outcome> {
        let Some(helper) = &mut self.helper else {
            return Vec::new();
        };
        let now = Instant::now();
        let late = helper.pending.iter();
        let late: Vec<u32> = late
            .filter(|(_, pending)| pending.until <= now)
            .map(|(number, _)| *number)
            .collect();
        let mut outcomes = Vec::new();
        for number in late {
            outcomes.extend(self.forget(number));
            outcomes.push(Outcome::Failed(number, Errno::ETIMEDOUT.desc().to_owned()));
        }
        outcomes
    }

    fn kill(&mut self, why: &str) -> Outcome {
        if let Some(helper) = &self.helper {
            self.records.note(&format!("the helper is ended: {why}"));
            let _ = kill(helper.pid, Signal::SIGKILL);
        }
        self.end(why);
        Outcome::Lost
    }

    /// The helper reads the end of its socket, removes what it has made, and ends.
    pub(super) fn close(&mut self) {
        self.end("with the connection");
    }

    fn end(&mut self, how: &str) {
        if let Some(helper) = self.helper.take() {
            let facts = [
                ("channel", NO_CHANNEL.to_string()),
                ("kind", KIND.to_owned()),
                ("exit", how.to_owned()),
                ("seconds", record::seconds(helper.since, now())),
            ];
            self.records.write(Event::ChannelEnded, &facts);
        }
    }

    /// Whether the process that has ended was the helper.
    pub(super) fn has_ended(&mut self, pid: Pid) -> bool {
        let ended = self.helper.as_ref().is_some_and(|helper| helper.pid == pid);
        if ended {
            self.end("by itself");
        }
        ended
    }

    /// The helper, if one runs.
    pub(super) fn describe(&self) -> Option<ChannelDescription> {
        self.helper.as_ref().map(|helper| ChannelDescription {
            channel: NO_CHANNEL,
            kind: KIND.to_owned(),
            terminal: None,
            pid: helper.pid.as_raw(),
            since: helper.since,
        })
    }
}

/// A number that no channel of the session process has.
const NO_CHANNEL: u32 = 0;

/// What the records call it.
const KIND: &str = "forwards";
