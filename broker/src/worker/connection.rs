//! The worker's loop: messages of the session process, newer peer documents, ended children, the
//! clock.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::broker::{Denial, FromSession, Permitted, ToSession};
use meshd_contract::login::Login;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::channels::Channels;
use super::now;
use crate::account::{self, check_shell};
use crate::authorize::{Authorized, authorize};
use crate::config::Config;
use crate::evidence::Bound;
use crate::host_keys::HostKeys;
use crate::machine::{Machine, Request};
use crate::pam::{AccountChecked, Pam};
use crate::trust::Files;
use crate::{descendants, log};

/// One SSH connection, from the running session process to its end.
pub(super) struct Connection {
    id: String,
    config: Config,
    files: Files,
    document: PeerDocument,
    bound: Bound,
    host_keys: HostKeys,
    session: OwnedFd,
    session_pid: Pid,
    session_ended: bool,
    changes: Inotify,
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

/// Watches the directory of the peer document for the rename that brings a newer one.
pub(super) fn watch(files: &Files) -> nix::Result<Inotify> {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let directory = files.peer_document.parent().unwrap_or(&files.peer_document);
    changes.add_watch(directory, AddWatchFlags::IN_MOVED_TO)?;
    Ok(changes)
}

impl Connection {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is made by one step of the start"
    )]
    pub(super) fn new(
        id: &str,
        config: Config,
        files: Files,
        document: PeerDocument,
        bound: Bound,
        host_keys: HostKeys,
        session: OwnedFd,
        session_pid: Pid,
        changes: Inotify,
    ) -> nix::Result<Self> {
        nix::fcntl::fcntl(&session, nix::fcntl::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        let keys = host_keys.public_blobs().map_or(0, |blobs| blobs.len());
        let machine = Machine::new(keys, config.limits.channels as usize);
        Ok(Self {
            id: id.to_owned(),
            channels: Channels::new(id, &bound),
            config,
            files,
            document,
            bound,
            host_keys,
            session,
            session_pid,
            session_ended: false,
            changes,
            signals: block_signals()?,
            machine,
            started: Instant::now(),
            revoked_until: None,
        })
    }

    /// Serves until the end, and cleans up.
    pub(super) fn run(mut self) {
        let end = loop {
            match self.turn() {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        match end {
            End::HangUp(reason) => {
                log::connection(&self.id, &format!("ended: {reason}"));
                self.channels.hang_up();
            }
            End::Violation(reason) => {
                let _ = kill(self.session_pid, Signal::SIGKILL);
                log::connection(&self.id, &format!("ended: {reason}"));
                self.channels.hang_up();
            }
            End::Kill => {
                let left = descendants::kill_all(Some(self.session_pid));
                log::connection(&self.id, &format!("ended: revoked, processes left: {left}"));
            }
        }
        self.channels.close_pam();
        self.end_session_process();
    }

    /// The end of its socket tells the session process that all is over; it has a moment to tell
    /// the client.
    fn end_session_process(mut self) {
        const FAREWELL: Duration = Duration::from_secs(2);
        drop(self.session);
        let until = Instant::now() + FAREWELL;
        while !self.session_ended && Instant::now() < until {
            let mut ready = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let left = until.saturating_duration_since(Instant::now());
            let _ = poll(
                &mut ready,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO),
            );
            while let Ok(Some(_)) = self.signals.read_signal() {}
            let ended = self.channels.reap();
            self.session_ended = ended.iter().any(|(pid, ..)| *pid == self.session_pid);
        }
        if !self.session_ended {
            let _ = kill(self.session_pid, Signal::SIGKILL);
        }
    }

    /// Waits for one round of events and handles them.
    fn turn(&mut self) -> Result<(), End> {
        let mut ready = [
            PollFd::new(self.session.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(End::HangUp(format!("cannot wait for events: {errno}"))),
        }
        let [session, changes, signals] = ready.map(|entry| entry.any() == Some(true));
        if signals {
            self.read_signals()?;
        }
        if changes {
            self.read_changes();
        }
        self.recheck();
        self.end_if_revoked()?;
        if self.machine.permitted().is_none() && self.grace_left().is_zero() {
            return Err(End::HangUp("no login in time".to_owned()));
        }
        if session && !self.session_ended {
            self.read_message()?;
        }
        Ok(())
    }

    /// Until something must be looked at again: the end of the grace, or the next second at which
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
        let grace = Duration::from_secs(self.config.limits.login_grace.into()) + MARGIN;
        grace.saturating_sub(self.started.elapsed())
    }

    fn next_expiry(&self) -> Option<Duration> {
        let authorized = self.machine.permitted()?.authorized();
        let seconds_left = |end: Timestamp| Duration::from_secs(end.0.saturating_sub(now().0));
        let document = seconds_left(self.document.header.expires_at);
        let key = authorized.peer().key_expires_at.map(seconds_left);
        let session = authorized
            .rule()
            .rights
            .session_seconds
            .map(|most| Duration::from_secs(most).saturating_sub(self.started.elapsed()));
        let next = [Some(document), key, session].into_iter().flatten().min()?;
        Some(next.clamp(Duration::from_millis(10), Duration::from_secs(3600)))
    }

    fn read_signals(&mut self) -> Result<(), End> {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                return Err(End::HangUp("the worker was told to stop".to_owned()));
            }
        }
        for (pid, channel, status) in self.channels.reap() {
            if pid == self.session_pid {
                self.session_ended = true;
                continue;
            }
            if let Some(channel) = channel {
                self.machine.closed(channel);
                self.tell(&ToSession::Exited { channel, status }, &[]);
            }
        }
        if self.session_ended && self.revoked_until.is_none() {
            return Err(End::HangUp("the session process has ended".to_owned()));
        }
        Ok(())
    }

    fn read_changes(&mut self) {
        let name = self.files.peer_document.file_name();
        let events = self.changes.read_events().unwrap_or_default();
        if !events.iter().any(|event| event.name.as_deref() == name) {
            return;
        }
        match self.files.peer_document(now()) {
            Ok(document) => self.document = document,
            // What is in force stays in force until it expires: to take a document away is no
            // way to end a session, and to bring a bad one is none to keep it.
            Err(error) => log::connection(&self.id, &format!("newer document ignored: {error}")),
        }
    }

    /// Decides the login again, by the newest document and the clock.
    fn recheck(&mut self) {
        let Some(checked) = self.machine.permitted() else {
            return;
        };
        let authorized = checked.authorized();
        let limit = authorized
            .rule()
            .rights
            .session_seconds
            .map(Duration::from_secs);
        let over = limit.is_some_and(|limit| self.started.elapsed() >= limit);
        let again = authorized.again(&self.bound, &self.document, &self.config, now());
        if over || again.is_err() {
            self.revoke();
        }
    }

    fn revoke(&mut self) {
        if self.revoked_until.is_some() {
            return;
        }
        log::connection(&self.id, "access revoked");
        let grace = Duration::from_secs(self.config.limits.kill_grace.into());
        self.revoked_until = Some(Instant::now() + grace);
        self.machine.end();
        self.tell(&ToSession::Revoked, &[]);
        self.channels.hang_up();
    }

    /// Ends as soon as nothing is left to kill, and at the end of the grace in any case.
    fn end_if_revoked(&mut self) -> Result<(), End> {
        let Some(until) = self.revoked_until else {
            return Ok(());
        };
        let spared = Some(self.session_pid);
        let nothing_left = || descendants::living(spared).is_empty();
        if Instant::now() >= until || (self.session_ended && nothing_left()) {
            return Err(End::Kill);
        }
        Ok(())
    }

    fn read_message(&mut self) -> Result<(), End> {
        let message = match wire::receive::<FromSession>(self.session.as_fd()) {
            Ok((message, fds)) if fds.is_empty() => message,
            Ok(_) => {
                return Err(End::HangUp(
                    "the session process sent descriptors".to_owned(),
                ));
            }
            Err(WireError::WouldBlock) => return Ok(()),
            Err(error) if self.revoked_until.is_some() => {
                self.session_ended = matches!(error, WireError::Closed);
                return Ok(());
            }
            Err(WireError::Closed) => {
                return Err(End::HangUp("the session process has closed".to_owned()));
            }
            Err(error) => return Err(End::Violation(error.to_string())),
        };
        if self.revoked_until.is_some() {
            return Ok(());
        }
        match self.machine.receive(message) {
            Ok(request) => self.answer(request),
            Err(violation) => Err(End::Violation(violation.to_string())),
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Sign { key, hash } => {
                let signature = self.host_keys.sign(key.into(), &hash);
                let signature = signature.map_err(|error| End::HangUp(error.to_string()))?;
                self.tell(&ToSession::Signed { signature }, &[]);
            }
            Request::Login { name } => self.login(&name),
            Request::Refuse { channel, message } => {
                self.tell(
                    &ToSession::Failed {
                        channel,
                        message: message.to_owned(),
                    },
                    &[],
                );
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
        match self.decide(name) {
            Ok((checked, pam)) => {
                let authorized = checked.authorized();
                let login = authorized.passwd().account.login.to_string();
                let rule = &authorized.rule().origin;
                log::connection(&self.id, &format!("accepted login={login} rule={rule}"));
                self.channels.set_pam(pam);
                self.machine.permit(checked);
                self.tell(&ToSession::Permitted(Permitted { login }), &[]);
            }
            Err(denial) => {
                log::connection(&self.id, &format!("denied: {}", denial.message()));
                self.machine.end();
                self.tell(&ToSession::Denied(denial), &[]);
            }
        }
    }

    /// Policy, account, shell, PAM: in this order, so that only what policy permits is told from
    /// what does not exist.
    fn decide(&self, name: &[u8]) -> Result<(AccountChecked, Pam), Denial> {
        let authorized = self.authorize(name)?;
        check_shell(authorized.passwd()).map_err(|error| Denial::Account(error.to_string()))?;
        let mut pam = Pam::start(&self.bound, &authorized).map_err(|error| {
            log::connection(&self.id, &error.to_string());
            Denial::Account("this host could not start PAM; its log says why".to_owned())
        })?;
        let checked = pam.check_account(authorized).map_err(|(denial, error)| {
            log::connection(&self.id, &error.to_string());
            denial
        })?;
        Ok((checked, pam))
    }

    fn authorize(&self, name: &[u8]) -> Result<Authorized, Denial> {
        let (bound, document, config) = (&self.bound, &self.document, &self.config);
        let Ok(login) = Login::from_bytes(name) else {
            return Err(self.no_login(name));
        };
        let passwd = account::find(&login).map_err(|error| {
            log::connection(&self.id, &error.to_string());
            Denial::Account(error.to_string())
        })?;
        authorize(bound, document, &login, passwd.as_ref(), config, now())
    }

    /// The denial of something that is no login name: as for a name that no account has.
    fn no_login(&self, name: &[u8]) -> Denial {
        let shown: String = String::from_utf8_lossy(name).chars().take(64).collect();
        let name = shown
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let nobody = Login::from_bytes(b"_").map(|nobody| {
            authorize(
                &self.bound,
                &self.document,
                &nobody,
                None,
                &self.config,
                now(),
            )
        });
        match nobody {
            Ok(Err(Denial::Node)) => Denial::Node,
            _ => Denial::Login { name },
        }
    }

    fn send_all(&mut self, answer: Vec<(ToSession, Vec<OwnedFd>)>) {
        for (message, fds) in answer {
            if let ToSession::Failed { channel, .. } = message {
                self.machine.closed(channel);
            }
            self.tell(&message, &fds);
        }
    }

    /// Never waits: a session process that does not read what it asked for could otherwise keep
    /// the worker from ending its session. It is killed, and that ends the connection.
    fn tell(&mut self, message: &ToSession, fds: &[OwnedFd]) {
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(error) = wire::send(self.session.as_fd(), message, &borrowed) {
            log::connection(
                &self.id,
                &format!("the session process does not listen: {error}"),
            );
            let _ = kill(self.session_pid, Signal::SIGKILL);
        }
    }
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
