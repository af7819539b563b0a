//! Which message may come when: the worker's side of the conversation with a session process
//! that may be in the hands of an attacker.
//!
//! No clock, no socket, no account here: [`Machine::receive`] takes one message and says what the
//! worker is to do, or that the conversation is over.

mod forwards;

use std::collections::BTreeMap;

use meshd_contract::broker::{
    EXCHANGE_HASH_BYTES, FromSession, Leaving, MAX_ENVIRONMENT_VARIABLES, Open,
};
use meshd_contract::forward::{Endpoint, ForwardFailure};
use thiserror::Error;

pub use forwards::{ForwardLimits, Forwards};

/// What one message asks of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Sign this hash with the host key of this index.
    Sign {
        /// Index into the host keys.
        key: u8,
        /// [`EXCHANGE_HASH_BYTES`].
        hash: Vec<u8>,
    },
    /// Decide whether the caller may become this account; asked once in a connection.
    Login {
        /// As the client sent it.
        name: Vec<u8>,
    },
    /// Make a terminal for this channel.
    AllocatePty(u32),
    /// Forget the terminal of this channel.
    Release(u32),
    /// Start a process on this channel.
    Open(Open),
    /// Send a signal to what runs on this channel.
    Signal {
        /// The channel.
        channel: u32,
        /// The signal's name without `SIG`.
        name: String,
    },
    /// Keep these counts for the records.
    Count {
        /// Bytes from the client.
        received: u64,
        /// Bytes to the client.
        sent: u64,
    },
    /// Keep this reason for the records.
    Leaving(Leaving),
    /// Refuse the channel, and go on.
    Refuse {
        /// The channel.
        channel: u32,
        /// What the client is told.
        message: &'static str,
    },
    /// Have a socket connected.
    Connect {
        /// The forward's number.
        forward: u32,
        /// Where to.
        target: Endpoint,
    },
    /// Have the helper listen.
    Listen {
        /// The forward's number.
        forward: u32,
        /// Where.
        at: Endpoint,
    },
    /// Have the helper listen for the client's agent, and tell what runs on the channel.
    ForwardAgent {
        /// The forward's number.
        forward: u32,
        /// The channel.
        channel: u32,
    },
    /// Forget what this number stands for, and have the helper do so.
    EndForward(u32),
    /// There may be room for more accepted connections.
    Admit,
    /// Refuse the forward, and go on.
    RefuseForward {
        /// The forward's number.
        forward: u32,
        /// Why.
        failure: ForwardFailure,
    },
}

/// The session process broke the rules of the conversation; the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// The message may not come in this state.
    #[error("the session process sent {0} when it may not")]
    OutOfOrder(&'static str),
    /// The message's content is out of bounds.
    #[error("the session process sent {0} with a content that is out of bounds")]
    OutOfBounds(&'static str),
}

/// Where the conversation stands. `P` is the proof that the login was permitted.
#[derive(Debug)]
enum State<P> {
    /// The caller is known; nobody has asked for an account.
    Bound,
    /// The worker is deciding.
    Deciding,
    /// The caller is the account.
    Permitted(P),
    /// Nothing more is done.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Terminal,
    Running,
}

/// The conversation with one session process.
#[derive(Debug)]
pub struct Machine<P> {
    state: State<P>,
    channels: BTreeMap<u32, Channel>,
    forwards: Forwards,
    host_keys: usize,
    max_channels: usize,
    max_variables: usize,
}

impl<P> Machine<P> {
    /// A conversation at its start.
    #[must_use]
    pub fn new(
        host_keys: usize,
        max_channels: usize,
        max_variables: usize,
        forwards: ForwardLimits,
    ) -> Self {
        Self {
            state: State::Bound,
            channels: BTreeMap::new(),
            forwards: Forwards::new(forwards),
            host_keys,
            max_channels,
            max_variables: max_variables.min(MAX_ENVIRONMENT_VARIABLES),
        }
    }

    /// Takes one message.
    ///
    /// # Errors
    /// [`Violation`]; the conversation is over then.
    pub fn receive(&mut self, message: FromSession) -> Result<Request, Violation> {
        let request = self.step(message);
        if request.is_err() {
            self.end();
        }
        request
    }

    fn step(&mut self, message: FromSession) -> Result<Request, Violation> {
        if matches!(self.state, State::Over) {
            return Err(Violation::OutOfOrder("a message after the end"));
        }
        match message {
            FromSession::Sign { key, hash } => {
                let known = usize::from(key) < self.host_keys;
                if !known || hash.len() != EXCHANGE_HASH_BYTES {
                    return Err(Violation::OutOfBounds("Sign"));
                }
                Ok(Request::Sign { key, hash })
            }
            FromSession::Login { name } => {
                if !matches!(self.state, State::Bound) {
                    return Err(Violation::OutOfOrder("Login"));
                }
                self.state = State::Deciding;
                Ok(Request::Login { name })
            }
            FromSession::AllocatePty { channel } => self.allocate_pty(channel),
            FromSession::Release { channel } => self.release(channel),
            FromSession::Open(open) => self.open(open),
            FromSession::Signal { channel, name } => {
                self.insist_permitted("Signal")?;
                if self.channels.get(&channel) == Some(&Channel::Running) {
                    return Ok(Request::Signal { channel, name });
                }
                Ok(Request::Refuse {
                    channel,
                    message: "nothing runs on this channel",
                })
            }
            FromSession::Traffic { received, sent } => Ok(Request::Count { received, sent }),
            FromSession::Leaving(leaving) => Ok(Request::Leaving(leaving)),
            FromSession::Connect { forward, target } => {
                self.insist_permitted("Connect")?;
                self.forwards.connect(forward, target)
            }
            FromSession::Listen { forward, at } => {
                self.insist_permitted("Listen")?;
                self.forwards.listen(forward, at)
            }
            FromSession::ForwardAgent { forward, channel } => {
                self.insist_permitted("ForwardAgent")?;
                self.forwards.agent(forward, channel)
            }
            FromSession::Taken { forward } => {
                self.insist_permitted("Taken")?;
                Ok(self.forwards.taken(forward))
            }
            FromSession::EndForward { forward } => {
                self.insist_permitted("EndForward")?;
                Ok(self.forwards.end(forward))
            }
        }
    }

    fn allocate_pty(&mut self, channel: u32) -> Result<Request, Violation> {
        self.insist_permitted("AllocatePty")?;
        if self.channels.contains_key(&channel) {
            return Err(Violation::OutOfOrder("AllocatePty"));
        }
        if self.channels.len() >= self.max_channels {
            return Ok(Request::Refuse {
                channel,
                message: TOO_MANY,
            });
        }
        self.channels.insert(channel, Channel::Terminal);
        Ok(Request::AllocatePty(channel))
    }

    /// A terminal that was refused may be given back too: the message may have been on its way.
    fn release(&mut self, channel: u32) -> Result<Request, Violation> {
        self.insist_permitted("Release")?;
        if self.channels.get(&channel) == Some(&Channel::Running) {
            return Err(Violation::OutOfOrder("Release"));
        }
        self.channels.remove(&channel);
        Ok(Request::Release(channel))
    }

    fn open(&mut self, open: Open) -> Result<Request, Violation> {
        self.insist_permitted("Open")?;
        if open.environment.len() > self.max_variables {
            return Err(Violation::OutOfBounds("Open"));
        }
        let channel = open.channel;
        match self.channels.get(&channel) {
            Some(Channel::Running) => return Err(Violation::OutOfOrder("Open")),
            None if self.channels.len() >= self.max_channels => {
                return Ok(Request::Refuse {
                    channel,
                    message: TOO_MANY,
                });
            }
            Some(Channel::Terminal) | None => {}
        }
        self.channels.insert(channel, Channel::Running);
        Ok(Request::Open(open))
    }

    fn insist_permitted(&self, what: &'static str) -> Result<(), Violation> {
        match self.state {
            State::Permitted(_) => Ok(()),
            State::Bound | State::Deciding | State::Over => Err(Violation::OutOfOrder(what)),
        }
    }

    /// The login that was asked for is permitted. Ignored unless one was asked for.
    pub fn permit(&mut self, proof: P) {
        if matches!(self.state, State::Deciding) {
            self.state = State::Permitted(proof);
        }
    }

    /// The proof, once the login is permitted.
    #[must_use]
    pub fn permitted(&self) -> Option<&P> {
        match &self.state {
            State::Permitted(proof) => Some(proof),
            State::Bound | State::Deciding | State::Over => None,
        }
    }

    /// What ran on the channel has ended, or could not be started.
    pub fn closed(&mut self, channel: u32) {
        self.channels.remove(&channel);
    }

    /// The forwards of the connection.
    pub fn forwards(&mut self) -> &mut Forwards {
        &mut self.forwards
    }

    /// Nothing more is done for this session process.
    pub fn end(&mut self) {
        self.state = State::Over;
    }

    /// Whether nothing more is done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

const TOO_MANY: &str = "too many sessions in this connection";

#[cfg(test)]
mod tests {
    use meshd_contract::broker::OpenKind;
    use meshd_contract::login::Login;
    use meshd_contract::time::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::authorize::tests::{document_for_alice, passwd};
    use crate::authorize::{Authorized, Proof, authorize};
    use crate::config::Config;
    use crate::evidence::tests::bound;

    const FORWARDS: ForwardLimits = ForwardLimits {
        connections: 3,
        connecting: 2,
        listeners: 2,
    };

    fn open(channel: u32) -> FromSession {
        FromSession::Open(Open {
            channel,
            kind: OpenKind::Shell,
            term: Vec::new(),
            environment: Vec::new(),
        })
    }

    fn login(name: &str) -> FromSession {
        FromSession::Login { name: name.into() }
    }

    #[test]
    fn the_usual_order_passes() {
        let mut machine = Machine::new(1, 10, 128, FORWARDS);
        assert!(
            machine
                .receive(FromSession::Sign {
                    key: 0,
                    hash: vec![0; 32]
                })
                .is_ok()
        );
        assert!(machine.receive(login("alice")).is_ok());
        machine.permit(());
        assert_eq!(
            machine.receive(FromSession::AllocatePty { channel: 0 }),
            Ok(Request::AllocatePty(0))
        );
        assert!(matches!(machine.receive(open(0)), Ok(Request::Open(_))));
        machine.closed(0);
        assert!(matches!(machine.receive(open(0)), Ok(Request::Open(_))));
    }

    #[test]
    fn a_connection_asked_for_two_logins_ends() {
        let mut machine: Machine<()> = Machine::new(1, 10, 128, FORWARDS);
        assert!(machine.receive(login("alice")).is_ok());
        assert_eq!(
            machine.receive(login("bob")),
            Err(Violation::OutOfOrder("Login"))
        );
        machine.permit(());
        assert!(machine.permitted().is_none());
    }

    #[test]
    fn only_hashes_of_one_length_are_signed() {
        for length in [0, 20, 31, 33, 48, 64, 256] {
            let mut machine: Machine<()> = Machine::new(1, 10, 128, FORWARDS);
            let message = FromSession::Sign {
                key: 0,
                hash: vec![0; length],
            };
            assert_eq!(
                machine.receive(message),
                Err(Violation::OutOfBounds("Sign"))
            );
        }
        let mut machine: Machine<()> = Machine::new(1, 10, 128, FORWARDS);
        let message = FromSession::Sign {
            key: 1,
            hash: vec![0; 32],
        };
        assert_eq!(
            machine.receive(message),
            Err(Violation::OutOfBounds("Sign"))
        );
    }

    #[test]
    fn channels_are_bounded() {
        let mut machine = Machine::new(1, 2, 128, FORWARDS);
        assert!(machine.receive(login("alice")).is_ok());
        machine.permit(());
        assert!(matches!(machine.receive(open(0)), Ok(Request::Open(_))));
        assert!(matches!(machine.receive(open(1)), Ok(Request::Open(_))));
        assert!(matches!(
            machine.receive(open(2)),
            Ok(Request::Refuse { channel: 2, .. })
        ));
    }

    #[test]
    fn a_terminal_that_is_given_back_makes_room() {
        let mut machine = Machine::new(1, 1, 128, FORWARDS);
        assert!(machine.receive(login("alice")).is_ok());
        machine.permit(());
        for _ in 0..3 {
            let asked = machine.receive(FromSession::AllocatePty { channel: 0 });
            assert_eq!(asked, Ok(Request::AllocatePty(0)));
            let given = machine.receive(FromSession::Release { channel: 0 });
            assert_eq!(given, Ok(Request::Release(0)));
        }
        assert!(matches!(machine.receive(open(0)), Ok(Request::Open(_))));
        let running = machine.receive(FromSession::Release { channel: 0 });
        assert_eq!(running, Err(Violation::OutOfOrder("Release")));
    }

    fn forward() -> impl Strategy<Value = FromSession> {
        let endpoint =
            || ("[a-z]{0,300}", 0u16..3).prop_map(|(host, port)| Endpoint::Tcp { host, port });
        let number = || prop_oneof![0u32..20, (1u32 << 31)..((1 << 31) + 4)];
        prop_oneof![
            (number(), endpoint())
                .prop_map(|(forward, target)| FromSession::Connect { forward, target }),
            (number(), endpoint()).prop_map(|(forward, at)| FromSession::Listen { forward, at }),
            (number(), 0u32..4)
                .prop_map(|(forward, channel)| FromSession::ForwardAgent { forward, channel }),
            number().prop_map(|forward| FromSession::Taken { forward }),
            number().prop_map(|forward| FromSession::EndForward { forward }),
        ]
    }

    fn message() -> impl Strategy<Value = FromSession> {
        let channel = 0u32..4;
        prop_oneof![
            (0u8..3, 0usize..80).prop_map(|(key, length)| FromSession::Sign {
                key,
                hash: vec![0; length]
            }),
            prop_oneof![Just("alice"), Just("root"), Just("-i"), Just("")].prop_map(login),
            channel
                .clone()
                .prop_map(|channel| FromSession::AllocatePty { channel }),
            channel
                .clone()
                .prop_map(|channel| FromSession::Release { channel }),
            channel.clone().prop_map(open),
            (channel, "[A-Z]{0,4}")
                .prop_map(|(channel, name)| FromSession::Signal { channel, name }),
            Just(FromSession::Leaving(Leaving::Left)),
            forward(),
        ]
    }

    /// What the worker does with a request to log in, on pure data.
    fn decide(name: &[u8], rules: bool) -> Option<Authorized> {
        let mut document = document_for_alice();
        if !rules {
            document.rules.clear();
        }
        let login = Login::from_bytes(name).ok()?;
        let uid = if name == b"root" { 0 } else { 1000 };
        let account = passwd(login.as_str(), uid);
        let config = Config::default();
        authorize(
            &bound(),
            &document,
            &login,
            Some(&account),
            &config,
            Proof::None,
            Timestamp(1),
        )
        .ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_order_of_messages_starts_anything_without_a_matching_rule(
            messages in proptest::collection::vec(message(), 0..24),
            rules: bool,
        ) {
            let mut machine = Machine::new(2, 2, 128, FORWARDS);
            let mut asked_for_alice = false;
            for message in messages {
                let Ok(request) = machine.receive(message) else {
                    prop_assert!(machine.is_over());
                    prop_assert!(machine.permitted().is_none());
                    continue;
                };
                match request {
                    Request::Login { name } => match decide(&name, rules) {
                        Some(authorized) => {
                            asked_for_alice = name == b"alice";
                            machine.permit(authorized);
                        }
                        None => machine.end(),
                    },
                    Request::AllocatePty(_)
                    | Request::Release(_)
                    | Request::Open(_)
                    | Request::Signal { .. }
                    | Request::Connect { .. }
                    | Request::Listen { .. }
                    | Request::ForwardAgent { .. }
                    | Request::EndForward(_)
                    | Request::Admit
                    | Request::RefuseForward { .. } => {
                        prop_assert!(rules && asked_for_alice);
                        let proof = machine.permitted().expect("a proof");
                        prop_assert_eq!(proof.passwd().account.login.as_str(), "alice");
                    }
                    Request::Refuse { .. } => prop_assert!(machine.permitted().is_some()),
                    Request::Sign { .. } | Request::Count { .. } | Request::Leaving(_) => {}
                }
            }
        }
    }
}
