//! What a worker may do, seen from its session process: the promises that are checked.

use std::collections::{BTreeMap, VecDeque};

use meshd_contract::broker::{EXCHANGE_HASH_BYTES, FromSession, Hello, OpenKind, ToSession};

use crate::forwards::Forwards;
use crate::packet::Packet;

/// The one account that the policy of the test permits.
const PERMITTED: &str = "alice";

/// What the worker says to a signal for nothing.
const NOTHING_RUNS: &str = "nothing runs on this channel";

/// What the worker does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Fine,
    /// It ends the connection.
    Fatal,
    /// One of the two: something that only the worker knows decides.
    Perhaps,
}

/// What a message may bring about; answers come in the order of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Signature,
    Login,
    Terminal(u32),
    /// With whether it stays.
    Program(u32, bool),
    Refusal(u32),
    /// Has no answer.
    Release(u32),
}

#[derive(Debug, Clone, Copy)]
struct Awaited {
    effect: Effect,
    /// It comes unless the connection ends.
    surely: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Terminal,
    /// Something runs that does not end by itself.
    Stays,
    /// Something runs, or has run.
    Runs,
}

/// The conversation so far.
#[derive(Clone)]
pub(crate) struct Model {
    host_keys: usize,
    max_channels: usize,
    max_variables: usize,
    asked_for: Option<Vec<u8>>,
    permitted: bool,
    denied: bool,
    awaited: VecDeque<Awaited>,
    /// As the answers so far have it.
    channels: BTreeMap<u32, Channel>,
    forwards: Forwards,
}

impl Model {
    pub(crate) fn new(hello: &Hello) -> Self {
        Self {
            host_keys: hello.host_keys.len(),
            max_channels: hello.max_channels as usize,
            max_variables: hello.max_variables as usize,
            asked_for: None,
            permitted: false,
            denied: false,
            awaited: VecDeque::new(),
            channels: BTreeMap::new(),
            forwards: Forwards::new(),
        }
    }

    /// Whether every answer that must come has come.
    pub(crate) fn is_answered(&self) -> bool {
        self.awaited.iter().all(|awaited| !awaited.surely)
    }

    /// Whether nothing is on its way, so that it is known what the worker will do.
    pub(crate) fn is_settled(&self) -> bool {
        self.awaited.is_empty()
    }

    pub(crate) fn is_permitted(&self) -> bool {
        self.permitted
    }

    /// How many answers may be on their way.
    pub(crate) fn unsettled(&self) -> usize {
        self.awaited.len()
    }

    /// What the worker must do with this packet, which is about to be sent.
    pub(crate) fn send(&mut self, packet: &Packet) -> Verdict {
        match &packet.message {
            None => Verdict::Fatal,
            Some(_) if self.is_over() => Verdict::Fatal,
            Some(message) => self.judge(message),
        }
    }

    /// A login that is denied is the end.
    fn is_over(&self) -> bool {
        let other = |name: &Vec<u8>| name.as_slice() != PERMITTED.as_bytes();
        self.asked_for.as_ref().is_some_and(other)
    }

    fn judge(&mut self, message: &FromSession) -> Verdict {
        match message {
            FromSession::Sign { key, hash } => {
                if usize::from(*key) >= self.host_keys || hash.len() != EXCHANGE_HASH_BYTES {
                    return Verdict::Fatal;
                }
                self.expect(Effect::Signature, Verdict::Fine)
            }
            FromSession::Login { name } => {
                if self.asked_for.is_some() {
                    return Verdict::Fatal;
                }
                self.asked_for = Some(name.clone());
                self.expect(Effect::Login, Verdict::Fine)
            }
            FromSession::Traffic { .. } | FromSession::Leaving(_) => Verdict::Fine,
            FromSession::Connect { .. }
            | FromSession::Listen { .. }
            | FromSession::ForwardAgent { .. }
            | FromSession::Taken { .. }
            | FromSession::EndForward { .. } => match self.asked_for {
                Some(_) => self.forwards.send(message),
                None => Verdict::Fatal,
            },
            FromSession::AllocatePty { channel } => self.on_channel(*channel, Effect::Terminal),
            FromSession::Release { channel } => self.on_channel(*channel, Effect::Release),
            FromSession::Signal { channel, .. } => self.on_channel(*channel, Effect::Refusal),
            FromSession::Open(open) => {
                if self.asked_for.is_none() || open.environment.len() > self.max_variables {
                    return Verdict::Fatal;
                }
                let stays = matches!(&open.kind, OpenKind::Exec(command) if command == b"stay")
                    || open.kind == OpenKind::Shell;
                self.on_channel(open.channel, |channel| Effect::Program(channel, stays))
            }
        }
    }

    fn on_channel(&mut self, channel: u32, effect: impl FnOnce(u32) -> Effect) -> Verdict {
        use Verdict::{Fatal, Fine, Perhaps};
        if self.asked_for.is_none() {
            return Fatal;
        }
        let effect = effect(channel);
        let is_signal = matches!(effect, Effect::Refusal(_));
        let known = self.channels.get(&channel).copied();
        if is_signal {
            self.may_end(channel);
        }
        if !self.permitted || !self.is_settled() {
            return self.expect(effect, Perhaps);
        }
        match (effect, known) {
            // Nobody says whether a signal has reached something that runs.
            (Effect::Refusal(_), Some(Channel::Stays | Channel::Runs)) => {
                self.expect(effect, Perhaps);
                Fine
            }
            (Effect::Program(..), Some(Channel::Terminal)) => self.expect(effect, Fine),
            (Effect::Release(_), Some(Channel::Terminal)) => {
                self.channels.remove(&channel);
                Fine
            }
            (Effect::Release(_), None) => Fine,
            (Effect::Refusal(_), Some(Channel::Terminal)) | (_, None) => self.expect(effect, Fine),
            (_, Some(Channel::Runs)) => self.expect(effect, Perhaps),
            (_, Some(Channel::Terminal | Channel::Stays)) => Fatal,
        }
    }

    fn expect(&mut self, effect: Effect, verdict: Verdict) -> Verdict {
        let surely = verdict == Verdict::Fine;
        self.awaited.push_back(Awaited { effect, surely });
        verdict
    }

    /// What runs on the channel, or is about to, has been sent a signal.
    fn may_end(&mut self, channel: u32) {
        if let Some(runs @ Channel::Stays) = self.channels.get_mut(&channel) {
            *runs = Channel::Runs;
        }
        for awaited in &mut self.awaited {
            if awaited.effect == Effect::Program(channel, true) {
                awaited.effect = Effect::Program(channel, false);
            }
        }
    }

    /// Takes what the worker said; an error is a broken promise.
    pub(crate) fn receive(&mut self, message: &ToSession) -> Result<(), String> {
        let kept = match message {
            // No rule of these tests asks for a check.
            ToSession::Hello(_) | ToSession::Revoked | ToSession::Asking | ToSession::Held(_) => {
                false
            }
            ToSession::Connected { .. }
            | ToSession::Listening { .. }
            | ToSession::NotForwarded { .. }
            | ToSession::Accepted { .. } => self.forwards.receive(message),
            ToSession::Signed { .. } => self.came(|effect| effect == Effect::Signature).is_some(),
            ToSession::Permitted(permitted) => {
                self.permitted = self.asked_for.as_deref() == Some(PERMITTED.as_bytes())
                    && permitted.login == PERMITTED;
                self.permitted && self.came(|effect| effect == Effect::Login).is_some()
            }
            ToSession::Denied(_) => {
                self.denied = true;
                self.is_over() && self.came(|effect| effect == Effect::Login).is_some()
            }
            ToSession::Pty { channel } => self.has_terminal(*channel),
            ToSession::Opened { channel } => self.has_opened(*channel),
            ToSession::Notice { channel, .. } => {
                let of_it = |awaited: &Awaited| matches!(awaited.effect, Effect::Program(c, _) if c == *channel);
                self.awaited.iter().any(of_it)
            }
            ToSession::Failed { channel, message } => self.has_failed(*channel, message),
            ToSession::Exited { channel, .. } => matches!(
                self.channels.remove(channel),
                Some(Channel::Stays | Channel::Runs)
            ),
        };
        let silent_before =
            self.permitted || matches!(message, ToSession::Signed { .. } | ToSession::Denied(_));
        if kept && silent_before && !(self.denied && self.permitted) {
            Ok(())
        } else {
            Err(format!("not asked for: {message:?}"))
        }
    }

    fn has_terminal(&mut self, channel: u32) -> bool {
        let free = self
            .came(|effect| effect == Effect::Terminal(channel))
            .is_some()
            && !self.channels.contains_key(&channel);
        self.channels.insert(channel, Channel::Terminal);
        free && self.channels.len() <= self.max_channels
    }

    fn has_opened(&mut self, channel: u32) -> bool {
        let came = self.came(|effect| matches!(effect, Effect::Program(c, _) if c == channel));
        let runs = match came {
            Some(Effect::Program(_, true)) => Channel::Stays,
            _ => Channel::Runs,
        };
        let before = self.channels.insert(channel, runs);
        came.is_some()
            && matches!(before, None | Some(Channel::Terminal))
            && self.channels.len() <= self.max_channels
    }

    fn has_failed(&mut self, channel: u32, message: &str) -> bool {
        if message == NOTHING_RUNS {
            return self
                .came(|effect| effect == Effect::Refusal(channel))
                .is_some();
        }
        let came = self.came(|effect| match effect {
            Effect::Terminal(of) | Effect::Program(of, _) => of == channel,
            Effect::Signature | Effect::Login | Effect::Refusal(_) | Effect::Release(_) => false,
        });
        // A terminal is given up with what was to run on it.
        if !matches!(came, Some(Effect::Terminal(_))) {
            self.channels.remove(&channel);
        }
        came.is_some()
    }

    /// The first of these effects that was awaited. What might have come before it will not.
    fn came(&mut self, is: impl Fn(Effect) -> bool) -> Option<Effect> {
        let index = self.awaited.iter().position(|awaited| is(awaited.effect))?;
        let effect = self.awaited.remove(index)?.effect;
        let (before, after): (VecDeque<_>, VecDeque<_>) = (
            self.awaited.iter().take(index).copied().collect(),
            self.awaited.iter().skip(index).copied().collect(),
        );
        let (still, not): (VecDeque<_>, VecDeque<_>) = before
            .into_iter()
            .partition(|awaited: &Awaited| awaited.surely);
        self.awaited = still.into_iter().chain(after).collect();
        for Awaited { effect, .. } in not {
            self.passed(effect);
        }
        Some(effect)
    }

    /// A message that the worker has dealt with without an answer.
    fn passed(&mut self, effect: Effect) {
        if let Effect::Release(channel) = effect
            && self.channels.get(&channel) == Some(&Channel::Terminal)
        {
            self.channels.remove(&channel);
        }
    }
}
