//! Forwards: what the rule in force permits, done by the helper.

use std::os::fd::OwnedFd;
use std::time::Instant;

use meshd_contract::broker::ToSession;
use meshd_contract::forward::{ForwardFailure, Origin};

use super::Connection;
use crate::deadline;
use crate::machine::Request;
use crate::worker::forwards::{Ask, Outcome};

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
            | Request::Refuse { .. } => None,
        };
        if let Some(outcome) = outcome {
            self.pass_on(outcome);
        }
        self.admit();
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

    /// The helper has ended by itself.
    pub(super) fn helper_ended(&mut self) {
        self.pass_on(Outcome::Lost);
    }

    fn ask(&mut self, forward: u32, ask: Ask) -> Option<Outcome> {
        if let Some(sentence) = self.prohibits(&ask) {
            self.not_forwarded(forward, ForwardFailure::Prohibited(sentence.to_owned()));
            return None;
        }
        if let Err(sentence) = self.need_helper() {
            return Some(Outcome::Failed(forward, sentence));
        }
        // To start it may have taken its time, in which the right may have ended.
        self.machine.permitted()?;
        if let (Ask::Agent(channel), Some(path)) = (&ask, self.forwards.agent()) {
            let path = path.to_owned();
            self.machine.forwards().failed(forward);
            return Some(Outcome::Agent(forward, *channel, path));
        }
        self.forwards.ask(forward, ask)
    }

    /// Why it may not be, by the rule in force and root's configuration.
    fn prohibits(&self, ask: &Ask) -> Option<&'static str> {
        const POLICY: &str = "policy does not permit this forward";
        const HOST: &str = "this host does not permit such forwards";
        let Some(Ok(authorized)) = self.in_force() else {
            return Some(POLICY);
        };
        let (rights, host) = (&authorized.rule().rights, self.basis.config.forwarding);
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

    fn pass_on(&mut self, outcome: Outcome) {
        let forwards = self.machine.forwards();
        match outcome {
            Outcome::Connected(forward, socket) => {
                if forwards.connected(forward) {
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
            Outcome::Accepted(listener, ask, origin, socket) => {
                self.accepted(listener, &ask, origin, socket);
            }
            Outcome::Failed(forward, words) => {
                self.not_forwarded(forward, ForwardFailure::Failed(words));
            }
            Outcome::Lost => {
                for forward in forwards.lost() {
                    let words = "the helper of this connection has ended".to_owned();
                    self.not_forwarded(forward, ForwardFailure::Failed(words));
                }
            }
        }
    }

    /// A right that has ended since the listener was made ends what it accepts.
    fn accepted(&mut self, listener: u32, ask: &Ask, origin: Origin, socket: OwnedFd) {
        let prohibited = self.prohibits(ask).is_some();
        let Some(forward) = self.machine.forwards().accepted(listener) else {
            return;
        };
        if prohibited {
            self.machine.forwards().failed(forward);
            return;
        }
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
