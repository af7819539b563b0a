//! Forwards: what the rule in force permits, done by the helper.

use std::os::fd::OwnedFd;
use std::time::Instant;

use meshd_contract::broker::ToSession;
use meshd_contract::forward::{ForwardFailure, Origin};
use meshd_contract::ssh_rule::Forwarding;

use super::{Connection, End};
use crate::authorize::Authorized;
use crate::deadline;
use crate::machine::Request;
use crate::worker::forwards::{Ask, Made, Outcome};

impl Connection {
    /// Carries out a request that is about forwards.
    pub(super) fn forward(&mut self, request: Request) {
        let outcome = match request {
            Request::Connect { forward, target } => self.ask(forward, Ask::Connect(target)),
            Request::Listen { forward, at } => self.ask(forward, Ask::Listen(at)),
            Request::ForwardAgent { forward, channel } => self.ask(forward, Ask::Agent(channel)),
            Request::EndForward(forward) => self.forwards.forget(forward),
            Request::RefuseForward { forward, failure } => {
                self.not_forwarded(forward, failure);
                None
            }
            Request::Admit
            | Request::Sign { .. }
            | Request::Login { .. }
            | Request::AllocatePty(_)
            | Request::Release(_)
            | Request::Open(_)
            | Request::Signal { .. }
            | Request::Count { .. }
            | Request::Leaving(_)
            | Request::Refuse { .. } => None,
        };
        if let Some(outcome) = outcome {
            self.pass_on(outcome);
        }
        self.admit();
    }

    /// A session process that keeps a forward which is not permitted any more is no honest one.
    pub(super) fn end_if_kept(&self) -> Result<(), End> {
        let deadline = self.forwards.open.deadline();
        if deadline.is_some_and(|at| at <= Instant::now()) {
            let kept = "the session process keeps a forward that is not permitted any more";
            return Err(End::Violation(kept.to_owned()));
        }
        Ok(())
    }

    /// Takes what the helper has said, and gives up what it has not answered in time.
    pub(super) fn hear_helper(&mut self, ready: bool) {
        let heard = if ready { self.forwards.hear() } else { None };
        let late = self
            .forwards
            .deadline()
            .is_some_and(|at| at <= Instant::now());
        let late = if late {
            self.forwards.expire()
        } else {
            Vec::new()
        };
        let any = heard.is_some() || !late.is_empty();
        for outcome in heard.into_iter().chain(late) {
            self.pass_on(outcome);
        }
        if any {
            self.admit();
        }
    }

    /// Ends the forwards that a newer document does not permit any more.
    pub(super) fn recheck_forwards(&mut self, authorized: &Authorized) {
        if !self.forwards.are_older_than(self.basis.version()) {
            return;
        }
        let host = self.basis.config.forwarding;
        let asks = self.forwards.asks();
        let ended = asks.filter(|(_, ask)| prohibits(authorized, host, ask).is_some());
        for number in ended.map(|(number, _)| number).collect::<Vec<_>>() {
            self.end_forward(number);
        }
    }

    /// What the session process has been given stays counted until it says that it has let go.
    fn end_forward(&mut self, forward: u32) {
        let failure = ForwardFailure::Prohibited(POLICY.to_owned());
        if self.forwards.open.condemn(forward) {
            let message = ToSession::NotForwarded { forward, failure };
            return self.session.tell(&message, &[]);
        }
        let lost = self.forwards.forget(forward);
        self.not_forwarded(forward, failure);
        if let Some(outcome) = lost {
            self.pass_on(outcome);
        }
    }

    fn ask(&mut self, forward: u32, ask: Ask) -> Option<Outcome> {
        self.insist_permitted(forward, &ask)?;
        if let Err(sentence) = self.need_helper() {
            return Some(Outcome::Failed(forward, sentence));
        }
        // To start it may have taken its time, in which the right may have ended.
        self.machine.permitted()?;
        self.insist_permitted(forward, &ask)?;
        if let (Ask::Agent(channel), Some(path)) = (&ask, self.forwards.agent()) {
            let path = path.to_owned();
            self.machine.forwards().failed(forward);
            return Some(Outcome::Agent(forward, *channel, path));
        }
        self.forwards.ask(forward, ask)
    }

    /// Refuses what may not be.
    fn insist_permitted(&mut self, forward: u32, ask: &Ask) -> Option<()> {
        let Some(sentence) = self.prohibits(ask) else {
            return Some(());
        };
        self.not_forwarded(forward, ForwardFailure::Prohibited(sentence.to_owned()));
        None
    }

    /// Why it may not be, by the rule in force and root's configuration.
    fn prohibits(&self, ask: &Ask) -> Option<&'static str> {
        let Some(Ok(authorized)) = self.in_force() else {
            return Some(POLICY);
        };
        prohibits(&authorized, self.basis.config.forwarding, ask)
    }

    /// Starts the helper in the PAM session, which is opened if this is the first that needs it.
    fn need_helper(&mut self) -> Result<(), String> {
        let Some(checked) = self.machine.permitted() else {
            return Ok(());
        };
        if self.forwards.is_running() {
            return Ok(());
        }
        let (channels, forwards) = (&mut self.channels, &mut self.forwards);
        let patience = super::patience(&self.basis);
        let begun = deadline::within(patience, || channels.start_helper(forwards, checked));
        self.basis.refresh();
        self.recheck();
        begun
    }

    pub(super) fn pass_on(&mut self, outcome: Outcome) {
        let forwards = self.machine.forwards();
        match outcome {
            Outcome::Connected(forward, made, socket) => {
                if forwards.connected(forward) {
                    self.forwards.open.add(forward, made);
                    self.session
                        .tell(&ToSession::Connected { forward }, &[socket]);
                }
            }
            Outcome::Listening(forward, port) => {
                self.session
                    .tell(&ToSession::Listening { forward, port }, &[]);
            }
            Outcome::Agent(forward, channel, path) => {
                self.channels.offer_agent(channel, path);
                let port = 0;
                self.session
                    .tell(&ToSession::Listening { forward, port }, &[]);
            }
            Outcome::Accepted(listener, made, origin, socket) => {
                self.accepted(listener, made, origin, socket);
            }
            Outcome::Failed(forward, words) => {
                self.not_forwarded(forward, ForwardFailure::Failed(words));
            }
            Outcome::Lost(left) => {
                let lost = forwards.lost();
                self.channels.remove_left(&left);
                for forward in lost {
                    let words = "the helper of this connection has ended".to_owned();
                    self.not_forwarded(forward, ForwardFailure::Failed(words));
                }
            }
        }
    }

    /// A right that has ended since the listener was made ends what it accepts.
    fn accepted(&mut self, listener: u32, made: Made, origin: Origin, socket: OwnedFd) {
        let prohibited = self.prohibits(&made.ask).is_some();
        let Some(forward) = self.machine.forwards().accepted(listener) else {
            return;
        };
        if prohibited {
            self.machine.forwards().failed(forward);
            return;
        }
        self.forwards.open.add(forward, made);
        let message = ToSession::Accepted {
            listener,
            forward,
            origin,
        };
        self.session.tell(&message, &[socket]);
    }

    fn not_forwarded(&mut self, forward: u32, failure: ForwardFailure) {
        self.machine.forwards().failed(forward);
        self.session
            .tell(&ToSession::NotForwarded { forward, failure }, &[]);
    }

    fn admit(&mut self) {
        if !self.forwards.is_running() || self.machine.is_over() {
            return;
        }
        let more = self.machine.forwards().grant();
        if more > 0
            && let Some(outcome) = self.forwards.admit(more)
        {
            self.pass_on(outcome);
        }
    }
}

const POLICY: &str = "policy does not permit this forward";
const HOST: &str = "this host does not permit such forwards";

/// Why this may not be, by the rule that permits the login and by what root leaves of it.
fn prohibits(authorized: &Authorized, host: Forwarding, ask: &Ask) -> Option<&'static str> {
    let rights = &authorized.rule().rights;
    let (by_policy, by_host) = match ask {
        Ask::Connect(target) => (rights.permit_connecting(target), host.includes_local()),
        Ask::Listen(at) => (rights.permit_listening(at), host.includes_remote()),
        Ask::Agent(_) => (rights.forwarding.includes_agent(), host.includes_agent()),
    };
    match (by_policy, by_host) {
        (false, _) => Some(POLICY),
        (true, false) => Some(HOST),
        (true, true) => None,
    }
}
