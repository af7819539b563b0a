//! What one connection forwards, by its helper: a process of the account's that opens sockets and
//! hands them over. It is believed nothing but that a socket is one, and never waited for.

mod description;
mod helper;
mod open;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::broker::ChannelDescription;
use meshd_contract::document::Version;
use meshd_contract::forward::{Endpoint, Origin};
use meshd_contract::helper::{FromHelper, ToHelper};
use meshd_contract::paths::HELPER_PROGRAM;
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::fcntl::{F_SETFL, OFlag, fcntl, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use thiserror::Error;

use super::now;
use crate::config::Config;
use crate::process::{self, Identity, Plan, Program, StartError};
use crate::record::{self, Event, Records};
use helper::{Broken, Helper, Pending};
use open::OpenForwards;

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

/// What was asked for, as it is now.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) ask: Ask,
    /// What a listener was given; else 0.
    pub(super) port: u16,
}

/// What comes of it.
pub(super) enum Outcome {
    Connected(u32, Made, OwnedFd),
    Listening(u32, u16),
    /// The agent's path, for what runs on the channel.
    Agent(u32, u32, String),
    /// By this listener.
    Accepted(u32, Made, Origin, OwnedFd),
    Failed(u32, String),
    /// The helper is gone, and what it has made in the file system may be left.
    Lost(Vec<CString>),
}

/// The helper, while one runs, what it does, and the connections that came of it.
pub(super) struct Forwards {
    records: Records,
    /// The helper's program of this worker's own version: an upgrade may put another one in its
    /// place before the first forward.
    program: Result<OwnedFd, Errno>,
    anywhere: bool,
    seconds: u32,
    helper: Option<Helper>,
    pub(super) open: OpenForwards,
    /// The document by which all of this is permitted.
    permitted_by: Option<Version>,
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
            program: open(
                HELPER_PROGRAM,
                OFlag::O_PATH | OFlag::O_CLOEXEC,
                Mode::empty(),
            ),
            anywhere: config.gateway_ports,
            seconds: config.limits.connect,
            helper: None,
            open: OpenForwards::default(),
            permitted_by: None,
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
        let program = self.program.as_ref().map_err(|errno| *errno)?;
        let null = process::null().map_err(|_| Errno::last())?;
        let null = null.as_fd();
        let pid = process::start(&Plan {
            program: Program::Open(program.as_fd()),
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

    /// Whether they were permitted by another document than this one, by which they are from now
    /// on.
    pub(super) fn are_older_than(&mut self, document: Version) -> bool {
        self.permitted_by.replace(document) != Some(document)
    }

    /// Everything that is there or is on its way, and was not told yet to end.
    pub(super) fn asks(&self) -> impl Iterator<Item = (u32, &Ask)> {
        let of_helper = self.helper.iter().flat_map(|helper| {
            let pending = helper.pending.iter().map(|(number, p)| (*number, &p.ask));
            pending.chain(helper.listening.iter().map(|(number, l)| (*number, &l.ask)))
        });
        of_helper.chain(self.open.asks())
    }

    /// The path of the agent's socket, if there is one.
    pub(super) fn agent(&self) -> Option<&str> {
        let (_, path) = self.helper.as_ref()?.agent.as_ref()?;
        Some(path)
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

    /// Forgets a connection, or has the helper forget a request or a listener.
    pub(super) fn forget(&mut self, number: u32) -> Option<Outcome> {
        if self.open.remove(number) {
            return None;
        }
        let helper = self.helper.as_mut()?;
        helper.agent.take_if(|(listener, _)| *listener == number);
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
        self.lose(why)
    }

    fn lose(&mut self, how: &str) -> Outcome {
        let left = self.helper.as_ref().map(Helper::paths);
        self.end(how);
        Outcome::Lost(left.unwrap_or_default())
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

    /// Takes note of a process that has ended; it may have been the helper.
    pub(super) fn has_ended(&mut self, pid: Pid) -> Option<Outcome> {
        let is_helper = |helper: &Helper| helper.pid == pid;
        let ended = self.helper.as_ref().is_some_and(is_helper);
        ended.then(|| self.lose("by itself"))
    }

    /// The helper, if one runs.
    pub(super) fn describe_helper(&self) -> Option<ChannelDescription> {
        self.helper.as_ref().map(|helper| ChannelDescription {
            channel: NO_CHANNEL,
            kind: KIND.to_owned(),
            terminal: None,
            pid: helper.pid.as_raw(),
            since: helper.since,
        })
    }
}

/// Starts a helper that removes sockets which one has left, and does not wait for it: the paths
/// are the account's, and may lie where nothing ever answers.
pub(super) fn remove(
    left: &[CString],
    identity: &Identity,
    null: BorrowedFd<'_>,
) -> Result<(), HelperError> {
    if left.is_empty() {
        return Ok(());
    }
    let program = CString::new(HELPER_PROGRAM).map_err(|_| Errno::EINVAL)?;
    process::start(&Plan {
        program: Program::Path(&program),
        arguments: &[&[c"meshd-helper".into(), c"remove".into()], left].concat(),
        environment: &[],
        descriptors: &[null, null, null],
        identity,
        directory: c"/",
        terminal: false,
        keep_chroot: false,
        parent_death_signal: 0,
    })?;
    Ok(())
}

/// A number that no channel of the session process has.
const NO_CHANNEL: u32 = 0;

/// What the records call it.
const KIND: &str = "forwards";
