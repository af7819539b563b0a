//! The worker's loop: messages of the session process, newer peer documents, ended children, the
//! clock.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::broker::{Permitted, ToSession};
use meshd_contract::time::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::basis::Basis;
use super::channels::Channels;
use super::now;
use super::session_process::{Heard, SessionProcess};
use crate::host_keys::HostKeys;
use crate::machine::{Machine, Request};
use crate::pam::AccountChecked;
use crate::{descendants, log};

/// One SSH connection, from the running session process to its end.
pub(super) struct Connection {
    basis: Basis,
    host_keys: HostKeys,
    session: SessionProcess,
    signals: SignalFd,
    machine: Machine<AccountChecked>,
    channels: Channels,
    started: Instant,
    /// The right to be here has ended; everything is killed then.
    revoked_until: Option<Instant>,
}

/// Why the loop ends.
enum End {
    /// The session process is gone, or is to go: hang up, as sshd does.
    HangUp(String),
    /// The session process broke the rules of the conversation: it is killed first.
    Violation(String),
    /// The right has ended, and the time to hang up gracefully too.
    Kill,
}

impl Connection {
    pub(super) fn new(
        basis: Basis,
        host_keys: HostKeys,
        session: SessionProcess,
    ) -> nix::Result<Self> {
        Ok(Self {
            machine: Machine::new(host_keys.count(), basis.config.limits.channels as usize),
            channels: Channels::new(&basis.id, &basis.bound),
            basis,
            host_keys,
            session,
            signals: block_signals()?,
            started: Instant::now(),
            revoked_until: None,
        })
    }

    /// Serves until the end, and cleans up.
    pub(super) fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        match end {
            End::HangUp(reason) => {
                self.log(&format!("ended: {reason}"));
                self.channels.hang_up();
            }
            End::Violation(reason) => {
                self.session.kill();
                self.log(&format!("ended: {reason}"));
                self.channels.hang_up();
            }
            End::Kill => {
                let left = descendants::kill_all(Some(self.session.pid()));
                self.log(&format!("ended: revoked, processes left: {left}"));
            }
        }
        self.channels.close_pam();
        self.part();
    }

    /// Tells the session process that all is over; it has a moment to tell the client.
    fn part(mut self) {
        const FAREWELL: Duration = Duration::from_secs(2);
        self.session.close();
        let until = Instant::now() + FAREWELL;
        while !self.session.is_reaped() && Instant::now() < until {
            let mut ready = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let left = until.saturating_duration_since(Instant::now());
            let _ = poll(
                &mut ready,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO),
            );
            while let Ok(Some(_)) = self.signals.read_signal() {}
            if self
                .channels
                .reap()
                .iter()
                .any(|(pid, ..)| *pid == self.session.pid())
            {
                self.session.set_reaped();
            }
        }
        self.session.kill();
    }

    /// Waits for one round of events and handles them.
    fn turn(&mut self) -> Result<(), End> {
        let (changes, signals, session) = self.wait()?;
        if signals {
            self.read_signals()?;
        }
        if changes {
            self.basis.refresh();
        }
        self.recheck();
        self.end_if_revoked()?;
        if self.machine.permitted().is_none() && self.grace_left().is_zero() {
            return Err(End::HangUp("no login in time".to_owned()));
        }
        if session && self.session.is_open() {
            self.read_message()?;
        }
        Ok(())
    }

    /// Which of these can be read: changes of documents, signals, the session process. One that
    /// has closed is not waited for, as the end of its socket would never let anything wait.
    fn wait(&self) -> Result<(bool, bool, bool), End> {
        let mut ready = vec![
            PollFd::new(self.basis.changes().as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        if self.session.is_open() {
            ready.push(PollFd::new(
                self.session.socket().as_fd(),
                PollFlags::POLLIN,
            ));
        }
        match poll(&mut ready, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(End::HangUp(format!("cannot wait for events: {errno}"))),
        }
        let is_ready = |index| ready.get(index).and_then(PollFd::any) == Some(true);
        Ok((is_ready(0), is_ready(1), is_ready(2)))
    }

    /// Until something must be looked at again: the end of a grace, or the next second at which
    /// a right may end.
    fn timeout(&self) -> PollTimeout {
        let wait = match self.revoked_until {
            Some(_) => Duration::from_millis(50),
            None => self.next_expiry().unwrap_or(self.grace_left()),
        };
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }

    /// What is left of the time to authenticate. The session process keeps it too, and ends
    /// first with a word to the client; here it holds also against one that does not.
    fn grace_left(&self) -> Duration {
        const MARGIN: Duration = Duration::from_secs(5);
        let grace = Duration::from_secs(self.basis.config.limits.login_grace.into()) + MARGIN;
        grace.saturating_sub(self.started.elapsed())
    }

    fn next_expiry(&self) -> Option<Duration> {
        const SHORTEST: Duration = Duration::from_millis(10);
        const LONGEST: Duration = Duration::from_secs(3600);
        let authorized = self.machine.permitted()?.authorized();
        let seconds_left = |end: Timestamp| Duration::from_secs(end.0.saturating_sub(now().0));
        let document = seconds_left(self.basis.expires_at());
        let key = authorized.peer().key_expires_at.map(seconds_left);
        let session = self
            .session_limit()
            .map(|most| most.saturating_sub(self.started.elapsed()));
        let next = [Some(document), key, session].into_iter().flatten().min()?;
        Some(next.clamp(SHORTEST, LONGEST))
    }

    fn session_limit(&self) -> Option<Duration> {
        let rule = self.machine.permitted()?.authorized().rule();
        rule.rights.session_seconds.map(Duration::from_secs)
    }

    fn read_signals(&mut self) -> Result<(), End> {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                return Err(End::HangUp("the worker was told to stop".to_owned()));
            }
        }
        for (pid, channel, status) in self.channels.reap() {
            if pid == self.session.pid() {
                self.session.set_reaped();
                continue;
            }
            if let Some(channel) = channel {
                self.machine.closed(channel);
                self.session
                    .tell(&ToSession::Exited { channel, status }, &[]);
            }
        }
        if self.session.is_reaped() && self.revoked_until.is_none() {
            return Err(End::HangUp("the session process has ended".to_owned()));
        }
        Ok(())
    }

    /// Decides the login again, by the newest document and the clock.
    fn recheck(&mut self) {
        let Some(checked) = self.machine.permitted() else {
            return;
        };
        let over = self
            .session_limit()
            .is_some_and(|limit| self.started.elapsed() >= limit);
        if over || !self.basis.still_permits(checked) {
            self.revoke();
        }
    }

    fn revoke(&mut self) {
        self.log("access revoked");
        let grace = Duration::from_secs(self.basis.config.limits.kill_grace.into());
        self.revoked_until = Some(Instant::now() + grace);
        self.machine.end();
        self.session.tell(&ToSession::Revoked, &[]);
        self.channels.hang_up();
    }

    /// Ends as soon as nothing is left to kill, and at the end of the grace in any case.
    fn end_if_revoked(&mut self) -> Result<(), End> {
        let Some(until) = self.revoked_until else {
            return Ok(());
        };
        let nothing_left = || descendants::living(Some(self.session.pid())).is_empty();
        if Instant::now() >= until || (!self.session.is_open() && nothing_left()) {
            return Err(End::Kill);
        }
        Ok(())
    }

    fn read_message(&mut self) -> Result<(), End> {
        let heard = self.session.hear();
        if self.revoked_until.is_some() {
            // Nothing is done for it any more; that it has closed is all that counts.
            if matches!(heard, Heard::Closed) {
                self.session.set_closed();
            }
            return Ok(());
        }
        match heard {
            Heard::Nothing => Ok(()),
            Heard::Closed => Err(End::HangUp("the session process has closed".to_owned())),
            Heard::Malformed(sentence) => Err(End::Violation(sentence)),
            Heard::Message(message) => match self.machine.receive(message) {
                Ok(request) => self.answer(request),
                Err(violation) => Err(End::Violation(violation.to_string())),
            },
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Sign { key, hash } => {
                let signature = self.host_keys.sign(key.into(), &hash);
                let signature = signature.map_err(|error| End::HangUp(error.to_string()))?;
                self.session.tell(&ToSession::Signed { signature }, &[]);
            }
            Request::Login { name } => self.login(&name),
            Request::Count { .. } => {}
            Request::Refuse { channel, message } => {
                let message = message.to_owned();
                self.session
                    .tell(&ToSession::Failed { channel, message }, &[]);
            }
            Request::AllocatePty(_)
            | Request::Release(_)
            | Request::Open(_)
            | Request::Signal { .. } => {
                let Some(checked) = self.machine.permitted() else {
                    return Ok(());
                };
                let answer = self.channels.answer(&request, checked);
                self.send_all(answer);
            }
        }
        Ok(())
    }

    fn login(&mut self, name: &[u8]) {
        match self.basis.decide(name) {
            Ok((checked, pam)) => {
                let authorized = checked.authorized();
                let login = authorized.passwd().account.login.to_string();
                self.log(&format!(
                    "accepted login={login} rule={}",
                    authorized.rule().origin
                ));
                self.channels.set_pam(pam);
                self.machine.permit(checked);
                self.session
                    .tell(&ToSession::Permitted(Permitted { login }), &[]);
            }
            Err(denial) => {
                self.log(&format!("denied: {}", denial.message()));
                self.machine.end();
                self.session.tell(&ToSession::Denied(denial), &[]);
            }
        }
    }

    fn send_all(&mut self, answer: Vec<(ToSession, Vec<OwnedFd>)>) {
        for (message, fds) in answer {
            if let ToSession::Failed { channel, .. } = message {
                self.machine.closed(channel);
            }
            self.session.tell(&message, &fds);
        }
    }

    fn log(&self, text: &str) {
        log::connection(&self.basis.id, text);
    }
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
