//! Which forwards a connection has, by number; the numbers of the session process only grow, so
//! that none means two things.

use std::collections::BTreeMap;

use meshd_contract::broker::FIRST_ACCEPTED;
use meshd_contract::forward::{Endpoint, ForwardFailure};

use super::{Request, Violation};

/// Bounds on the forwards of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardLimits {
    /// Connections at a time, on their way or open.
    pub connections: usize,
    /// Of these, connections on their way.
    pub connecting: usize,
    /// Listeners at a time.
    pub listeners: usize,
}

/// Accepted connections that the client has not taken yet.
const MOST_ARRIVING: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forward {
    /// The helper is asked for a connection.
    Connecting,
    /// Accepted, and not yet taken by the client.
    Arriving,
    /// Open.
    Open,
    /// Listens, or is about to.
    Listening,
}

/// What a connection has, and may have.
#[derive(Debug)]
pub struct Forwards {
    limits: ForwardLimits,
    forwards: BTreeMap<u32, Forward>,
    /// The next number that the session process may choose, and the next of the worker's.
    next: u32,
    next_accepted: u32,
    /// Connections that the helper may accept, and has not accepted yet.
    granted: usize,
}

impl Forwards {
    pub(super) fn new(limits: ForwardLimits) -> Self {
        Self {
            limits,
            forwards: BTreeMap::new(),
            next: 0,
            next_accepted: FIRST_ACCEPTED,
            granted: 0,
        }
    }

    pub(super) fn connect(&mut self, forward: u32, target: Endpoint) -> Result<Request, Violation> {
        self.choose(forward, "Connect")?;
        if !target.is_in_bounds() {
            return Err(Violation::OutOfBounds("Connect"));
        }
        if self.connections() >= self.limits.connections
            || self.count(Forward::Connecting) >= self.limits.connecting
        {
            return Ok(shortage(forward, "too many forwarded connections"));
        }
        self.forwards.insert(forward, Forward::Connecting);
        Ok(Request::Connect { forward, target })
    }

    pub(super) fn listen(&mut self, forward: u32, at: Endpoint) -> Result<Request, Violation> {
        self.choose(forward, "Listen")?;
        if !at.is_in_bounds() {
            return Err(Violation::OutOfBounds("Listen"));
        }
        Ok(match self.add_listener(forward) {
            Ok(()) => Request::Listen { forward, at },
            Err(refused) => refused,
        })
    }

    pub(super) fn agent(&mut self, forward: u32, channel: u32) -> Result<Request, Violation> {
        self.choose(forward, "ForwardAgent")?;
        Ok(match self.add_listener(forward) {
            Ok(()) => Request::ForwardAgent { forward, channel },
            Err(refused) => refused,
        })
    }

    /// What has been refused or has ended in the meantime may be named too: the messages may
    /// have crossed.
    pub(super) fn taken(&mut self, forward: u32) -> Request {
        if let Some(state @ Forward::Arriving) = self.forwards.get_mut(&forward) {
            *state = Forward::Open;
        }
        Request::Admit
    }

    /// As for [`Self::taken`].
    pub(super) fn end(&mut self, forward: u32) -> Request {
        match self.forwards.remove(&forward) {
            Some(_) => Request::EndForward(forward),
            None => Request::Admit,
        }
    }

    /// The helper has connected it; false when nobody waits for that.
    pub fn connected(&mut self, forward: u32) -> bool {
        match self.forwards.get_mut(&forward) {
            Some(state @ Forward::Connecting) => {
                *state = Forward::Open;
                true
            }
            _ => false,
        }
    }

    /// It did not come about, or is no more.
    pub fn failed(&mut self, forward: u32) {
        self.forwards.remove(&forward);
    }

    /// A listener has accepted a connection, which gets this number; none when there is no such
    /// listener, or no room.
    pub fn accepted(&mut self, listener: u32) -> Option<u32> {
        self.granted = self.granted.saturating_sub(1);
        let listens = self.forwards.get(&listener) == Some(&Forward::Listening);
        if !listens || self.connections() >= self.limits.connections {
            return None;
        }
        let forward = self.next_accepted;
        self.next_accepted = self.next_accepted.checked_add(1)?;
        self.forwards.insert(forward, Forward::Arriving);
        Some(forward)
    }

    /// How many connections more the helper may be told to accept; it counts as told.
    pub fn grant(&mut self) -> u32 {
        let arriving = MOST_ARRIVING.saturating_sub(self.count(Forward::Arriving));
        let open = self.limits.connections.saturating_sub(self.connections());
        let more = arriving.min(open).saturating_sub(self.granted);
        self.granted += more;
        u32::try_from(more).unwrap_or(0)
    }

    /// The helper is gone, with every listener and what it was about to connect: their numbers.
    pub fn lost(&mut self) -> Vec<u32> {
        self.granted = 0;
        let with_helper =
            |state: &Forward| matches!(state, Forward::Connecting | Forward::Listening);
        let lost = self.forwards.iter();
        let lost: Vec<u32> = lost
            .filter(|(_, state)| with_helper(state))
            .map(|(forward, _)| *forward)
            .collect();
        self.forwards.retain(|_, state| !with_helper(state));
        lost
    }

    fn choose(&mut self, forward: u32, what: &'static str) -> Result<(), Violation> {
        if forward < self.next || forward >= FIRST_ACCEPTED {
            return Err(Violation::OutOfBounds(what));
        }
        self.next = forward + 1;
        Ok(())
    }

    fn add_listener(&mut self, forward: u32) -> Result<(), Request> {
        if self.count(Forward::Listening) >= self.limits.listeners {
            return Err(shortage(forward, "too many listeners"));
        }
        self.forwards.insert(forward, Forward::Listening);
        Ok(())
    }

    fn connections(&self) -> usize {
        self.forwards.len() - self.count(Forward::Listening)
    }

    fn count(&self, state: Forward) -> usize {
        self.forwards.values().filter(|is| **is == state).count()
    }
}

fn shortage(forward: u32, sentence: &str) -> Request {
    Request::RefuseForward {
        forward,
        failure: ForwardFailure::Shortage(format!("{sentence} in this connection")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: ForwardLimits = ForwardLimits {
        connections: 3,
        connecting: 2,
        listeners: 1,
    };

    fn target() -> Endpoint {
        Endpoint::Tcp {
            host: "localhost".to_owned(),
            port: 80,
        }
    }

    #[test]
    fn numbers_only_grow() {
        let mut forwards = Forwards::new(LIMITS);
        assert!(forwards.connect(4, target()).is_ok());
        for again in [4, 3, FIRST_ACCEPTED] {
            let mut forwards = Forwards::new(LIMITS);
            assert!(forwards.connect(4, target()).is_ok());
            let violation = Err(Violation::OutOfBounds("Connect"));
            assert_eq!(forwards.connect(again, target()), violation);
        }
    }

    #[test]
    fn connections_and_listeners_are_bounded() {
        let mut forwards = Forwards::new(LIMITS);
        let refused = |request: &Result<Request, Violation>| {
            matches!(request, Ok(Request::RefuseForward { .. }))
        };
        assert!(!refused(&forwards.connect(0, target())));
        assert!(!refused(&forwards.connect(1, target())));
        assert!(refused(&forwards.connect(2, target())));
        assert!(forwards.connected(0));
        assert!(!refused(&forwards.connect(3, target())));
        assert!(!refused(&forwards.listen(4, target())));
        assert!(refused(&forwards.agent(5, 0)));
        assert_eq!(forwards.accepted(4), None);
        forwards.end(0);
        assert_eq!(forwards.accepted(4), Some(FIRST_ACCEPTED));
    }

    #[test]
    fn nothing_is_accepted_for_a_listener_that_has_ended() {
        let mut forwards = Forwards::new(LIMITS);
        assert!(forwards.listen(0, target()).is_ok());
        assert_eq!(forwards.end(0), Request::EndForward(0));
        assert_eq!(forwards.accepted(0), None);
    }

    proptest! {
        #[test]
        fn no_order_of_events_exceeds_a_limit(
            events in proptest::collection::vec((0u8..8, 0u32..12), 0..80),
        ) {
            let mut forwards = Forwards::new(LIMITS);
            for (event, number) in events {
                let number = if number < 10 { number } else { FIRST_ACCEPTED + number - 10 };
                let violation = match event {
                    0 => forwards.connect(number, target()).is_err(),
                    1 => forwards.listen(number, target()).is_err(),
                    2 => forwards.agent(number, 0).is_err(),
                    3 => { forwards.taken(number); false }
                    4 => { forwards.end(number); false }
                    5 => { forwards.connected(number); false }
                    6 => { forwards.accepted(number); false }
                    _ => { forwards.grant(); false }
                };
                if violation {
                    break;
                }
                prop_assert!(forwards.connections() <= LIMITS.connections);
                prop_assert!(forwards.count(Forward::Connecting) <= LIMITS.connecting);
                prop_assert!(forwards.count(Forward::Listening) <= LIMITS.listeners);
                prop_assert!(forwards.granted <= LIMITS.connections);
            }
            forwards.lost();
            prop_assert_eq!(forwards.count(Forward::Connecting), 0);
            prop_assert_eq!(forwards.count(Forward::Listening), 0);
        }
    }
}
