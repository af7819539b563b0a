//! What the worker waits for, and how long.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use meshd_contract::time::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Connection, End};
use crate::authorize::Authorized;
use crate::config::Config;
use crate::worker::now;

/// What has happened while the worker waited.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) signals: bool,
    pub(super) session: bool,
    pub(super) overseer: bool,
    pub(super) helper: bool,
}

impl Connection {
    /// What can be read. A socket that has closed is not waited for, as its end would never let
    /// anything wait.
    pub(super) fn wait(&self) -> Result<Ready, End> {
        let session = self
            .session
            .is_open()
            .then(|| self.session.socket().as_fd());
        let sources = [
            Some(self.signals.as_fd()),
            session,
            self.overseer.socket().map(AsFd::as_fd),
            self.forwards.socket().map(AsFd::as_fd),
        ];
        let watched = sources.iter().flatten();
        let mut watched: Vec<PollFd<'_>> = watched
            .map(|source| PollFd::new(*source, PollFlags::POLLIN))
            .collect();
        match poll(&mut watched, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(End::HangUp(format!("cannot wait for events: {errno}"))),
        }
        let mut watched = watched.iter().map(|entry| entry.any() == Some(true));
        let [signals, session, overseer, helper] =
            sources.map(|source| source.is_some() && watched.next() == Some(true));
        Ok(Ready {
            signals,
            session,
            overseer,
            helper,
        })
    }

    /// Until something must be looked at again: the end of a grace, or the next second at which
    /// a right may end.
    fn timeout(&self) -> PollTimeout {
        const RETRY: Duration = Duration::from_secs(1);
        const ROUNDING: Duration = Duration::from_millis(1);
        let wait = match self.revoked_until {
            Some(_) => Duration::from_millis(50),
            None => self.next_expiry().unwrap_or(self.grace_left()),
        };
        let wait = match &self.hold {
            Some(hold) => wait.min(hold.next_look()),
            None => wait,
        };
        let now = Instant::now();
        let late = [self.forwards.deadline(), self.forwards.open.deadline()];
        let late = late.into_iter().flatten().min();
        let late = late.map(|at| at.saturating_duration_since(now) + ROUNDING);
        let wait = late.map_or(wait, |late| wait.min(late));
        let wait = if self.basis.is_unread() {
            wait.min(RETRY)
        } else {
            wait.min(self.next_look())
        };
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }

    /// How long until a newer document is looked for. The manager tells of it, but may be gone, or
    /// be a new one that does not know this connection.
    fn next_look(&self) -> Duration {
        match self.overseer.socket() {
            Some(_) => Duration::from_secs(5),
            None => Duration::from_secs(1),
        }
    }

    /// What is left of the time to authenticate.
    pub(super) fn grace_left(&self) -> Duration {
        self.login_until.saturating_duration_since(Instant::now())
    }

    fn next_expiry(&self) -> Option<Duration> {
        const SHORTEST: Duration = Duration::from_millis(10);
        // Waits do not count the time that the host was asleep; rights end in it all the same.
        const LONGEST: Duration = Duration::from_secs(60);
        // A newer document may end a key or a session sooner than the one that permitted it.
        let Ok(authorized) = self.in_force()? else {
            return Some(SHORTEST);
        };
        let seconds_left = |end: Timestamp| Duration::from_secs(end.0.saturating_sub(now().0));
        let document = seconds_left(self.basis.expires_at());
        let key = authorized.peer().key_expires_at.map(seconds_left);
        let session =
            session_limit(&authorized).map(|most| most.saturating_sub(self.started.elapsed()));
        let next = [Some(document), key, session].into_iter().flatten().min()?;
        Some(next.clamp(SHORTEST, LONGEST))
    }
}

/// How long a client may take to log in. The session process keeps to it too, and ends first with
/// a word to the client; here it holds also against one that does not.
pub(super) fn login_grace(config: &Config) -> Duration {
    const MARGIN: Duration = Duration::from_secs(5);
    Duration::from_secs(config.limits.login_grace.into()) + MARGIN
}

/// How long a session may last by the rule that permits it.
pub(super) fn session_limit(authorized: &Authorized) -> Option<Duration> {
    let seconds = authorized.rule().rights.session_seconds;
    seconds.map(Duration::from_secs)
}
