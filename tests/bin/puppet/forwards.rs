//! What a worker may do about forwards, seen from its session process.

use std::collections::BTreeMap;

use meshd_contract::broker::{FIRST_ACCEPTED, FromSession, ToSession};
use meshd_contract::forward::Endpoint;
use meshd_contract::paths;

use crate::model::Verdict;

/// The forwards that a session process has asked for.
#[derive(Clone)]
pub(crate) struct Forwards {
    /// The lowest number that may be chosen now.
    next: u32,
    next_accepted: u32,
    asked: BTreeMap<u32, (Asked, State)>,
}

#[derive(Clone)]
enum Asked {
    Connect(Endpoint),
    Listen(Endpoint),
    Agent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unanswered,
    Made,
    Failed,
}

impl Forwards {
    pub(crate) fn new() -> Self {
        Self {
            next: 0,
            next_accepted: FIRST_ACCEPTED,
            asked: BTreeMap::new(),
        }
    }

    /// What the worker must do with a message about forwards once a login was permitted; none of
    /// them has its answer in the order of the messages.
    pub(crate) fn send(&mut self, message: &FromSession) -> Verdict {
        let (number, asked) = match message {
            FromSession::Connect { forward, target } => (*forward, Asked::Connect(target.clone())),
            FromSession::Listen { forward, at } => (*forward, Asked::Listen(at.clone())),
            FromSession::ForwardAgent { forward, .. } => (*forward, Asked::Agent),
            _ => return Verdict::Fine,
        };
        let in_bounds = match &asked {
            Asked::Connect(endpoint) | Asked::Listen(endpoint) => endpoint.is_in_bounds(),
            Asked::Agent => true,
        };
        if number < self.next || number >= FIRST_ACCEPTED || !in_bounds {
            return Verdict::Fatal;
        }
        self.next = number + 1;
        self.asked.insert(number, (asked, State::Unanswered));
        Verdict::Fine
    }

    /// Whether the worker may say this; messages that are not about forwards it may not.
    pub(crate) fn receive(&mut self, message: &ToSession) -> bool {
        match message {
            ToSession::Connected { forward } => self.makes(*forward, may_be_connected),
            ToSession::Listening { forward, port } => {
                self.makes(*forward, |asked| may_listen(asked, *port))
            }
            ToSession::NotForwarded { forward, .. } => self.fails(*forward),
            ToSession::Accepted {
                listener, forward, ..
            } => {
                let is_next = *forward == self.next_accepted;
                self.next_accepted += 1;
                is_next && self.listens(*listener)
            }
            _ => false,
        }
    }

    fn makes(&mut self, number: u32, may: impl Fn(&Asked) -> bool) -> bool {
        let Some((asked, state @ State::Unanswered)) = self.asked.get_mut(&number) else {
            return false;
        };
        *state = State::Made;
        may(asked)
    }

    /// A listener fails also later, with the helper.
    fn fails(&mut self, number: u32) -> bool {
        let Some((asked, state)) = self.asked.get_mut(&number) else {
            return false;
        };
        let before = std::mem::replace(state, State::Failed);
        match asked {
            Asked::Connect(_) => before == State::Unanswered,
            Asked::Listen(_) | Asked::Agent => before != State::Failed,
        }
    }

    fn listens(&self, number: u32) -> bool {
        let listener = self.asked.get(&number);
        matches!(listener, Some((Asked::Listen(_) | Asked::Agent, _)))
    }
}

/// The sockets of root's are not the account's to reach.
fn may_be_connected(asked: &Asked) -> bool {
    match asked {
        Asked::Connect(Endpoint::Unix { path }) => path != paths::BROKER_SOCKET.as_bytes(),
        Asked::Connect(Endpoint::Tcp { .. }) => true,
        Asked::Listen(_) | Asked::Agent => false,
    }
}

/// At the port that was asked for, and at none that is root's.
fn may_listen(asked: &Asked, port: u16) -> bool {
    match asked {
        Asked::Listen(Endpoint::Tcp { port: 0, .. }) => port >= 1024,
        Asked::Listen(Endpoint::Tcp { port: asked, .. }) => port >= 1024 && port == *asked,
        Asked::Listen(Endpoint::Unix { .. }) | Asked::Agent => port == 0,
        Asked::Connect(_) => false,
    }
}
