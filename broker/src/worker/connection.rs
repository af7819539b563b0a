//! The worker's loop: messages of the session process, newer peer documents, ended children, the
//! clock.

mod forwarding;
mod hold;
mod login;
mod waiting;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use meshd_contract::broker::{
    Denial, Description, FromSession, Leaving, Open, ToManager, ToSession,
};
use meshd_contract::identity::NodeId;
use meshd_contract::login_event::{LoginEvent, LoginEventKind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::basis::Basis;
use super::channels::Channels;
use super::forwards::Forwards;
use super::now;
use super::overseer::{Order, Overseer};
use super::session_process::{Heard, SessionProcess};
use crate::authorize::Authorized;
use crate::deadline;
use crate::evidence::Caller;
use crate::host_keys::HostKeys;
use crate::machine::{Machine, Request};
use crate::pam::AccountChecked;
use crate::record::{self, Event};
use hold::Hold;
use waiting::session_limit;

/// One SSH connection, from the running session process to its end.
pub(super) struct Connection {
    basis: Basis,
    host_keys: HostKeys,
    session: SessionProcess,
    signals: SignalFd,
    machine: Machine<AccountChecked>,
    channels: Channels,
    forwards: Forwards,
    overseer: Overseer,
    started: Instant,
    /// Until then a login must be permitted.
    login_until: Instant,
    /// The login that waits for a check.
    hold: Option<Hold>,
    traffic: Traffic,
    /// The account, from the moment when its login was permitted.
    login: Option<String>,
    /// What the session process has said of its end.
    leaving: Option<Leaving>,
    /// The right to be here has ended; everything is killed then.
    revoked_until: Option<Instant>,
}

/// Bytes of channels, as the session process counts.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    received: u64,
    sent: u64,
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
        signals: SignalFd,
    ) -> Self {
        let started = Instant::now();
        let limits = &basis.config.limits;
        let login_until = started + waiting::login_grace(&basis.config);
        let machine = Machine::new(
            host_keys.count(),
            limits.channels as usize,
            limits.environment_variables as usize,
            limits.of_forwards(),
        );
        Self {
            machine,
            channels: Channels::new(&basis, session.pid()),
            forwards: Forwards::new(&basis.records, &basis.config),
            basis,
            host_keys,
            session,
            signals,
            overseer: Overseer::none(),
            started,
            login_until,
            hold: None,
            traffic: Traffic::default(),
            login: None,
            leaving: None,
            revoked_until: None,
        }
    }

    /// Serves until the end, and cleans up; the manager may look on.
    pub(super) fn run(mut self, overseer: Overseer) {
        self.overseer = overseer;
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        self.forwards.close();
        let reason = match end {
            End::HangUp(reason) => {
                self.channels.hang_up();
                reason
            }
            End::Violation(reason) => {
                self.session.kill();
                self.channels.hang_up();
                reason
            }
            End::Kill => match self.channels.processes().kill_all() {
                0 => "access revoked".to_owned(),
                left => format!("access revoked; {left} processes could not be killed"),
            },
        };
        let patience = self.patience();
        deadline::within(patience, || self.channels.close_pam());
        self.record_end(reason);
        self.part();
    }

    fn record_end(&self, reason: String) {
        if self.login.is_some() {
            self.overseer.happened(LoginEvent {
                reason: Some(reason.clone()),
                ..self.event(LoginEventKind::Ended)
            });
        }
        let facts = [
            ("reason", reason),
            ("received", self.traffic.received.to_string()),
            ("sent", self.traffic.sent.to_string()),
            ("seconds", record::seconds(self.basis.began, now())),
        ];
        self.basis.records.write(Event::Ended, &facts);
    }

    /// How long the user database, PAM and logind may take.
    fn patience(&self) -> Duration {
        patience(&self.basis)
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
        let ready = self.wait()?;
        if ready.signals {
            self.read_signals()?;
        }
        self.basis.refresh();
        if ready.overseer {
            self.hear_overseer();
        }
        self.recheck();
        self.end_if_revoked()?;
        self.end_hold_if_in_vain();
        self.end_if_late()?;
        self.end_if_kept()?;
        self.hear_helper(ready.helper);
        if ready.session && self.session.is_open() {
            self.read_message()?;
        }
        Ok(())
    }

    fn read_signals(&mut self) -> Result<(), End> {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                return Err(match self.revoked_until {
                    Some(_) => End::Kill,
                    None => End::HangUp("the worker was told to stop".to_owned()),
                });
            }
        }
        for (pid, channel, status) in self.channels.reap() {
            if pid == self.session.pid() {
                self.session.set_reaped();
                continue;
            }
            if let Some(outcome) = self.forwards.has_ended(pid) {
                self.pass_on(outcome);
            }
            if let Some(channel) = channel {
                self.machine.closed(channel);
                self.session
                    .tell(&ToSession::Exited { channel, status }, &[]);
            }
        }
        if self.session.is_reaped() && self.revoked_until.is_none() {
            return Err(self.left("the session process has ended"));
        }
        Ok(())
    }

    /// What permits the login now; none before it is permitted and after its right has ended.
    fn in_force(&self) -> Option<Result<Authorized, Denial>> {
        let checked = self.machine.permitted()?;
        Some(self.basis.in_force(checked))
    }

    /// Decides the login again, by the newest document and the clock.
    fn recheck(&mut self) {
        let over = |limit| self.started.elapsed() >= limit;
        match self.in_force() {
            Some(Ok(authorized)) if session_limit(&authorized).is_some_and(over) => {
                self.revoke("the longest time that the rule permits is over");
            }
            Some(Ok(authorized)) => self.recheck_forwards(&authorized),
            Some(Err(denial)) => self.revoke(&denial.message()),
            None => {}
        }
    }

    fn revoke(&mut self, reason: &str) {
        let facts = [("reason", reason.to_owned())];
        self.basis.records.write(Event::Revoked, &facts);
        self.overseer.happened(LoginEvent {
            reason: Some(reason.to_owned()),
            ..self.event(LoginEventKind::Revoked)
        });
        let grace = Duration::from_secs(self.basis.config.limits.kill_grace.into());
        self.revoked_until = Some(Instant::now() + grace);
        self.hold = None;
        self.machine.end();
        self.session.tell(&ToSession::Revoked, &[]);
        self.forwards.close();
        self.channels.hang_up();
        self.channels.processes().hang_up();
    }

    fn hear_overseer(&mut self) {
        match self.overseer.hear() {
            Some(Order::Describe) => self.introduce(),
            Some(Order::Checking(prompt)) => self.show_check(prompt),
            Some(Order::Checked(outcome)) => self.end_hold(outcome),
            Some(Order::End) if self.revoked_until.is_none() => {
                self.revoke("an administrator has ended the connection");
            }
            Some(Order::Look) => self.basis.refresh(),
            Some(Order::End) | None => {}
        }
    }

    /// A manager that asks may be a new one, which does not know what this connection waits for.
    fn introduce(&self) {
        self.overseer.tell(&ToManager::Described(self.describe()));
        if let Some(hold) = &self.hold {
            self.overseer.tell(&hold.question());
        }
    }

    /// What the manager is told of the login, for control; rule and reason are the caller's.
    fn event(&self, kind: LoginEventKind) -> LoginEvent {
        let basis = &self.basis;
        LoginEvent {
            kind,
            at: now(),
            connection: basis.records.connection().to_owned(),
            peer: match basis.bound.caller() {
                Caller::Peer(peer) => peer.node,
                Caller::Stranger => NodeId(0),
            },
            address: basis.bound.remote().ip(),
            login: self.login.clone(),
            rule: None,
            reason: None,
        }
    }

    fn describe(&self) -> Description {
        let basis = &self.basis;
        let (node, name, owner) = match basis.bound.caller() {
            Caller::Peer(peer) => (peer.node, peer.name.to_string(), peer.owner.to_string()),
            Caller::Stranger => (NodeId(0), String::new(), String::new()),
        };
        let authorized = self.in_force().and_then(Result::ok);
        let authorized = authorized.as_ref();
        Description {
            connection: basis.records.connection().to_owned(),
            peer: node,
            peer_name: name,
            owner,
            address: basis.bound.remote().ip(),
            login: authorized.map(|authorized| authorized.passwd().account.login.to_string()),
            rule: authorized.map(|authorized| authorized.rule().origin.clone()),
            since: basis.began,
            channels: [
                self.channels.describe(),
                self.forwards.describe_helper().into_iter().collect(),
            ]
            .concat(),
            forwards: self.forwards.describe(),
            received: self.traffic.received,
            sent: self.traffic.sent,
        }
    }

    /// Ends as soon as nothing is left to kill, and at the end of the grace in any case.
    fn end_if_revoked(&mut self) -> Result<(), End> {
        let Some(until) = self.revoked_until else {
            return Ok(());
        };
        let nothing_left = self.channels.processes().living().is_empty();
        if Instant::now() >= until || (!self.session.is_open() && nothing_left) {
            return Err(End::Kill);
        }
        Ok(())
    }

    fn end_if_late(&self) -> Result<(), End> {
        let waits = self.machine.permitted().is_none() && self.revoked_until.is_none();
        if waits && self.grace_left().is_zero() {
            return Err(End::HangUp("no login in time".to_owned()));
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
            Heard::Closed => Err(self.left("the session process has closed")),
            Heard::Malformed(sentence) => Err(End::Violation(sentence)),
            Heard::Message(message) => match self.machine.receive(message) {
                Ok(request) => self.answer(request),
                Err(violation) => Err(End::Violation(violation.to_string())),
            },
        }
    }

    /// The end of the session process, for the reason that it has given. What it said last may
    /// still be there to be read; nothing else of it is done.
    fn left(&mut self, otherwise: &'static str) -> End {
        while let Heard::Message(message) = self.session.hear() {
            if let FromSession::Leaving(leaving) = message {
                self.leaving = Some(leaving);
            } else if let FromSession::Traffic { received, sent } = message {
                self.traffic = Traffic { received, sent };
            }
        }
        let reason = self.leaving.map_or(otherwise, Leaving::reason);
        End::HangUp(reason.to_owned())
    }

    fn answer(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Sign { key, hash } => {
                let signature = self.host_keys.sign(key.into(), &hash);
                let signature = signature.map_err(|error| End::HangUp(error.to_string()))?;
                self.session.tell(&ToSession::Signed { signature }, &[]);
            }
            Request::Login { name } => self.login(&name),
            Request::Count { received, sent } => self.traffic = Traffic { received, sent },
            Request::Leaving(leaving) => self.leaving = Some(leaving),
            Request::Refuse { channel, message } => {
                let message = message.to_owned();
                self.session
                    .tell(&ToSession::Failed { channel, message }, &[]);
            }
            Request::Open(open) => self.open(open),
            Request::AllocatePty(_) | Request::Release(_) | Request::Signal { .. } => {
                self.carry_out(&request);
            }
            Request::Connect { .. }
            | Request::Listen { .. }
            | Request::ForwardAgent { .. }
            | Request::EndForward(_)
            | Request::Admit
            | Request::RefuseForward { .. } => self.forward(request),
        }
        Ok(())
    }

    /// PAM may take its time, in which the right may have ended.
    fn open(&mut self, open: Open) {
        let Some(checked) = self.machine.permitted() else {
            return;
        };
        let patience = self.patience();
        let channels = &mut self.channels;
        let begun = deadline::within(patience, || channels.begin_session(&open, checked));
        self.basis.refresh();
        self.recheck();
        match begun {
            Ok(()) => self.carry_out(&Request::Open(open)),
            Err(answer) => self.send_all(answer),
        }
    }

    /// By the rule in force: a newer document may have given the login another command, or other
    /// variables. Does nothing once the right has ended.
    fn carry_out(&mut self, request: &Request) {
        let Some(Ok(authorized)) = self.in_force() else {
            return;
        };
        let patience = self.patience();
        let channels = &mut self.channels;
        let answer = deadline::within(patience, || channels.answer(request, &authorized));
        self.send_all(answer);
    }

    fn send_all(&mut self, answer: Vec<(ToSession, Vec<OwnedFd>)>) {
        for (message, fds) in answer {
            if let ToSession::Failed { channel, .. } = message {
                self.machine.closed(channel);
            }
            self.session.tell(&message, &fds);
        }
    }
}

fn patience(basis: &Basis) -> Duration {
    Duration::from_secs(basis.config.limits.answer.into())
}

/// SIGCHLD and SIGTERM, to be read instead of being acted on.
pub(super) fn block_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
