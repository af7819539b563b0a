//! A worker that starts nothing and holds the session process to the order of messages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use ed25519_dalek::Signer;
use meshd_contract::broker::{
    Denial, ExitStatus, FIRST_ACCEPTED, FromSession, Hello, Open, OpenKind, Permitted, ToSession,
};
use meshd_contract::forward::ForwardFailure;
use meshd_contract::wire;
use nix::fcntl::OFlag;
use nix::pty::openpty;
use nix::unistd::pipe2;

use crate::worker::{host_key, host_key_blob};

const MAX_CHANNELS: usize = 4;
const MAX_VARIABLES: usize = 8;
const MAX_VARIABLE_BYTES: usize = 1024;

/// How often each kind of message came.
pub(super) type Heard = BTreeMap<&'static str, u64>;

/// A worker in a thread.
pub(super) struct StrictWorker {
    permitted: Arc<AtomicBool>,
    thread: JoinHandle<Result<Heard, String>>,
}

impl StrictWorker {
    pub(super) fn serve(socket: OwnedFd, login_grace: u32) -> Self {
        let permitted = Arc::new(AtomicBool::new(false));
        let conversation = Conversation {
            socket,
            permitted: permitted.clone(),
            asked: false,
            over: false,
            channels: BTreeMap::new(),
            next_forward: 0,
        };
        let thread = thread::spawn(move || conversation.run(login_grace));
        Self { permitted, thread }
    }

    pub(super) fn was_permitted(&self) -> bool {
        self.permitted.load(Ordering::Relaxed)
    }

    /// What it was asked, unless it was asked something out of order.
    pub(super) fn heard(self) -> Heard {
        let heard = self.thread.join().expect("no panic");
        heard.unwrap_or_else(|message| panic!("out of order: {message}"))
    }
}

enum Channel {
    Terminal(OwnedFd),
    /// What the program would hold.
    Running(#[expect(dead_code, reason = "held open")] Vec<OwnedFd>),
}

struct Conversation {
    socket: OwnedFd,
    permitted: Arc<AtomicBool>,
    asked: bool,
    over: bool,
    channels: BTreeMap<u32, Channel>,
    next_forward: u32,
}

impl Conversation {
    /// Until the session process closes; an error says what it must not have sent.
    fn run(mut self, login_grace: u32) -> Result<Heard, String> {
        let mut heard = Heard::new();
        self.send(
            &ToSession::Hello(Hello {
                connection: "fuzz".to_owned(),
                host_keys: vec![host_key_blob()],
                login_grace,
                answer: 60,
                max_channels: MAX_CHANNELS as u32,
                max_variables: MAX_VARIABLES as u32,
                max_variable_bytes: MAX_VARIABLE_BYTES as u32,
                max_forwards: 256,
                connect: 60,
                client_alive_interval: 0,
                client_alive_count_max: 3,
                rekey_bytes: 1 << 30,
                rekey_seconds: 0,
            }),
            &[],
        );
        while let Ok((message, fds)) = wire::receive::<FromSession>(self.socket.as_fd()) {
            // Why it ends asks for nothing.
            if !matches!(message, FromSession::Leaving(_)) {
                *heard.entry(kind(&message)).or_default() += 1;
            }
            let shown = format!("{message:?}");
            let kept = fds.is_empty() && !self.over && self.answer(message);
            if !kept {
                return Err(shown);
            }
        }
        Ok(heard)
    }

    /// Whether the message may come now.
    fn answer(&mut self, message: FromSession) -> bool {
        match message {
            FromSession::Sign { key, hash } => {
                let signature = host_key().sign(&hash).to_bytes();
                let name = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 64]].concat();
                let signature = [&name[..], &signature].concat();
                self.send(&ToSession::Signed { signature }, &[]);
                key == 0 && hash.len() == 32
            }
            FromSession::Login { name } => {
                let first = !std::mem::replace(&mut self.asked, true);
                self.login(name);
                first
            }
            FromSession::Traffic { .. } | FromSession::Leaving(_) => true,
            FromSession::AllocatePty { channel } => {
                let free = !self.channels.contains_key(&channel);
                let pty = openpty(None, None).expect("a terminal");
                self.send(&ToSession::Pty { channel }, &[pty.master.as_fd()]);
                self.channels.insert(channel, Channel::Terminal(pty.slave));
                free && self.is_permitted()
            }
            FromSession::Release { channel } => {
                let held = self.channels.remove(&channel);
                !matches!(held, Some(Channel::Running(_))) && self.is_permitted()
            }
            FromSession::Open(open) => self.open(&open),
            FromSession::Signal { .. } => self.is_permitted(),
            FromSession::Connect { forward, target } => {
                let (ours, _theirs) = UnixStream::pair().expect("a pair");
                self.send(&ToSession::Connected { forward }, &[ours.as_fd()]);
                self.is_next(forward) && target.is_in_bounds()
            }
            FromSession::Listen { forward, at } => {
                self.send(&ToSession::Listening { forward, port: 7 }, &[]);
                self.is_next(forward) && at.is_in_bounds()
            }
            FromSession::ForwardAgent { forward, .. } => {
                let failure = ForwardFailure::Failed("no agent here".to_owned());
                self.send(&ToSession::NotForwarded { forward, failure }, &[]);
                self.is_next(forward)
            }
            FromSession::Taken { .. } => false,
            FromSession::EndForward { forward } => {
                forward < self.next_forward && self.is_permitted()
            }
        }
    }

    /// Whether the number was not used before.
    fn is_next(&mut self, forward: u32) -> bool {
        let next = forward >= self.next_forward && forward < FIRST_ACCEPTED;
        self.next_forward = forward + 1;
        next && self.is_permitted()
    }

    fn is_permitted(&self) -> bool {
        self.permitted.load(Ordering::Relaxed) && self.channels.len() <= MAX_CHANNELS
    }

    fn login(&mut self, name: Vec<u8>) {
        if name == b"alice" {
            self.permitted.store(true, Ordering::Relaxed);
            let login = "alice".to_owned();
            return self.send(&ToSession::Permitted(Permitted { login }), &[]);
        }
        self.over = true;
        let name = String::from_utf8_lossy(&name).into_owned();
        self.send(&ToSession::Denied(Denial::Login { name }), &[]);
    }

    fn open(&mut self, open: &Open) -> bool {
        let channel = open.channel;
        let sizes = open
            .environment
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let bounded =
            open.environment.len() <= MAX_VARIABLES && sizes.sum::<usize>() <= MAX_VARIABLE_BYTES;
        let (held, free) = match self.channels.remove(&channel) {
            Some(Channel::Terminal(slave)) => {
                self.send(&ToSession::Opened { channel }, &[]);
                (vec![slave], true)
            }
            other => (self.open_on_pipes(channel), other.is_none()),
        };
        self.channels.insert(channel, Channel::Running(held));
        let ends = matches!(&open.kind, OpenKind::Exec(command) if command.len() % 2 == 0);
        if ends {
            self.channels.remove(&channel);
            let status = ExitStatus::Code(0);
            self.send(&ToSession::Exited { channel, status }, &[]);
        }
        free && bounded && self.is_permitted()
    }

    /// The program's ends.
    fn open_on_pipes(&self, channel: u32) -> Vec<OwnedFd> {
        let pipe = || pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let ((input, their_input), (output, their_output), (errors, their_errors)) =
            (pipe(), pipe(), pipe());
        let mut said = File::from(their_output);
        said.write_all(b"output").expect("writes");
        let fds = [their_input.as_fd(), output.as_fd(), errors.as_fd()];
        self.send(&ToSession::Opened { channel }, &fds);
        vec![input, said.into(), their_errors]
    }

    fn send(&self, message: &ToSession, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let _ = wire::send(self.socket.as_fd(), message, fds);
    }
}

fn kind(message: &FromSession) -> &'static str {
    match message {
        FromSession::Sign { .. } => "Sign",
        FromSession::Login { .. } => "Login",
        FromSession::AllocatePty { .. } => "AllocatePty",
        FromSession::Release { .. } => "Release",
        FromSession::Open(_) => "Open",
        FromSession::Signal { .. } => "Signal",
        FromSession::Traffic { .. } => "Traffic",
        FromSession::Leaving(_) => "Leaving",
        FromSession::Connect { .. } => "Connect",
        FromSession::Listen { .. } => "Listen",
        FromSession::ForwardAgent { .. } => "ForwardAgent",
        FromSession::Taken { .. } => "Taken",
        FromSession::EndForward { .. } => "EndForward",
    }
}
