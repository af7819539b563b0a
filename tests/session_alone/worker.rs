//! A worker that permits what a test says and starts programs as itself.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use meshd_contract::broker::{
    Denial, ExitStatus, FromSession, Hello, Open, OpenKind, Permitted, ToSession,
};
use meshd_contract::check::Prompt;
use meshd_contract::forward::ForwardFailure;
use meshd_contract::wire;
use nix::pty::openpty;

/// How the worker of a test behaves.
#[derive(Clone)]
pub(crate) struct Manners {
    pub(crate) login_grace: u32,
    pub(crate) max_channels: u32,
    /// The login that is permitted.
    pub(crate) permitted: &'static str,
    /// Where the user is to sign in first; the login is permitted when the test releases it.
    pub(crate) prompt: Option<Prompt>,
    /// What another login hears.
    pub(crate) denial: Option<Denial>,
    /// Shown before the output of a shell.
    pub(crate) notice: Option<&'static str>,
    /// Why nothing is started.
    pub(crate) failure: Option<&'static str>,
    /// No terminal is given.
    pub(crate) no_terminal: bool,
    /// Whether there is a host key.
    pub(crate) host_key: bool,
    /// A command that is started only when the test releases it.
    pub(crate) slow: Option<&'static str>,
    /// Seconds between questions whether the client is there.
    pub(crate) client_alive_interval: u32,
    /// Bytes between key exchanges.
    pub(crate) rekey_bytes: u32,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            login_grace: 30,
            max_channels: 10,
            permitted: "alice",
            prompt: None,
            denial: None,
            notice: None,
            failure: None,
            no_terminal: false,
            host_key: true,
            slow: None,
            client_alive_interval: 0,
            rekey_bytes: 1 << 30,
        }
    }
}

/// What the worker was asked, in order, as words that a test compares.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// What a test has the worker do while it runs.
pub(crate) enum Order {
    /// Say that the right to be here has ended.
    Revoke,
    /// End, and with it the link.
    Die,
    /// Start what was held back, or permit the login that was.
    Release,
}

/// A worker in a thread.
pub(crate) struct Worker {
    pub(crate) orders: Sender<Order>,
    pub(crate) asked: Asked,
}

/// The host key of every test.
pub(crate) fn host_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The public host key as SSH encodes it.
pub(crate) fn host_key_blob() -> Vec<u8> {
    let key = host_key().verifying_key().to_bytes();
    [string(b"ssh-ed25519"), string(&key)].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

impl Worker {
    /// Serves a session process until either side ends.
    pub(crate) fn serve(socket: OwnedFd, manners: Manners) -> Self {
        let (orders, received) = channel();
        let asked = Asked::default();
        let state = State {
            socket: Arc::new(socket),
            manners,
            asked: asked.clone(),
            terminals: HashMap::new(),
            held: Arc::default(),
            children: Arc::default(),
        };
        thread::spawn(move || state.run(received));
        Self { orders, asked }
    }

    /// Whether the worker was asked this.
    pub(crate) fn was_asked(&self, what: &str) -> bool {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().any(|line| line == what)
    }
}

impl Worker {
    /// How often it was asked something that begins so.
    pub(crate) fn asked_with(&self, beginning: &str) -> usize {
        let asked = self.asked.lock().expect("no panic");
        asked
            .iter()
            .filter(|line| line.starts_with(beginning))
            .count()
    }

    /// What the connection had carried at the last report: bytes from the client and to it.
    pub(crate) fn last_traffic(&self) -> Option<(u64, u64)> {
        let asked = self.asked.lock().expect("no panic");
        let last = asked
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("traffic "))?;
        let (received, sent) = last.split_once(' ')?;
        Some((received.parse().ok()?, sent.parse().ok()?))
    }
}

struct State {
    socket: Arc<OwnedFd>,
    manners: Manners,
    asked: Asked,
    terminals: HashMap<u32, OwnedFd>,
    held: Arc<Mutex<Vec<Open>>>,
    children: Arc<Mutex<HashMap<u32, u32>>>,
}

/// As the real worker does it for a revoked session, so that no test leaves a program behind.
impl Drop for State {
    fn drop(&mut self) {
        for pid in self.children.lock().expect("no panic").values() {
            // SAFETY: the group of a child of this test that has not been waited for.
            unsafe { nix::libc::kill(-pid.cast_signed(), nix::libc::SIGKILL) };
        }
    }
}

impl State {
    fn run(mut self, orders: Receiver<Order>) {
        self.send(
            &ToSession::Hello(Hello {
                connection: "test".to_owned(),
                host_keys: self
                    .manners
                    .host_key
                    .then(host_key_blob)
                    .into_iter()
                    .collect(),
                login_grace: self.manners.login_grace,
                answer: 60,
                max_channels: self.manners.max_channels,
                max_variables: 128,
                max_variable_bytes: 64 << 10,
                max_forwards: 256,
                connect: 60,
                client_alive_interval: self.manners.client_alive_interval,
                client_alive_count_max: 2,
                rekey_bytes: self.manners.rekey_bytes,
                rekey_seconds: 0,
            }),
            &[],
        );
        let (messages, inbox) = channel();
        let socket = self.socket.clone();
        thread::spawn(move || {
            while let Ok((message, _)) = wire::receive::<FromSession>(socket.as_fd()) {
                let _ = messages.send(message);
            }
        });
        loop {
            match orders.try_recv() {
                Ok(Order::Revoke) => self.send(&ToSession::Revoked, &[]),
                Ok(Order::Die) => {
                    let how = nix::sys::socket::Shutdown::Both;
                    let _ = nix::sys::socket::shutdown(
                        std::os::fd::AsRawFd::as_raw_fd(&*self.socket),
                        how,
                    );
                    return;
                }
                Ok(Order::Release) if self.manners.prompt.take().is_some() => {
                    let login = self.manners.permitted.to_owned();
                    self.send(&ToSession::Permitted(Permitted { login }), &[]);
                }
                Ok(Order::Release) => {
                    let held: Vec<Open> = self.held.lock().expect("no panic").drain(..).collect();
                    held.into_iter().for_each(|open| self.start(open));
                }
                Err(_) => {}
            }
            match inbox.recv_timeout(Duration::from_millis(5)) {
                Ok(message) => self.answer(message),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(_) => return,
            }
        }
    }

    fn answer(&mut self, message: FromSession) {
        match message {
            FromSession::Sign { key, hash } => {
                assert_eq!((key, hash.len()), (0, 32), "one key, one length of hash");
                let signature = host_key().sign(&hash).to_bytes();
                let signature = [string(b"ssh-ed25519"), string(&signature)].concat();
                self.send(&ToSession::Signed { signature }, &[]);
            }
            FromSession::Login { name } => self.login(&name),
            FromSession::AllocatePty { channel } if self.manners.no_terminal => {
                let message = "no terminal is left on this host".to_owned();
                self.send(&ToSession::Failed { channel, message }, &[]);
            }
            FromSession::AllocatePty { channel } => {
                let pty = openpty(None, None).expect("a pty");
                self.send(&ToSession::Pty { channel }, &[pty.master.as_fd()]);
                self.terminals.insert(channel, pty.slave);
            }
            FromSession::Release { channel } => {
                self.note("release".to_owned());
                self.terminals.remove(&channel);
            }
            FromSession::Open(open) => self.open(open),
            FromSession::Traffic { received, sent } => {
                self.note(format!("traffic {received} {sent}"));
            }
            FromSession::Leaving(leaving) => self.note(format!("leaving: {}", leaving.reason())),
            FromSession::Taken { .. } | FromSession::EndForward { .. } => {}
            FromSession::Connect { forward, .. }
            | FromSession::Listen { forward, .. }
            | FromSession::ForwardAgent { forward, .. } => {
                let failure = ForwardFailure::Prohibited("no forwards here".to_owned());
                self.send(&ToSession::NotForwarded { forward, failure }, &[]);
            }
            FromSession::Signal { channel, name } => {
                self.note(format!("signal {name}"));
                let children = self.children.lock().expect("no panic");
                let number = match name.as_str() {
                    "TERM" => nix::libc::SIGTERM,
                    _ => nix::libc::SIGINT,
                };
                if let Some(pid) = children.get(&channel) {
                    // SAFETY: the group of a child of this test.
                    unsafe { nix::libc::kill(-pid.cast_signed(), number) };
                }
            }
        }
    }

    fn login(&self, name: &[u8]) {
        let name = String::from_utf8_lossy(name).into_owned();
        self.note(format!("login {name}"));
        if name == self.manners.permitted {
            if let Some(prompt) = self.manners.prompt.clone() {
                return self.send(&ToSession::Held(prompt), &[]);
            }
            self.send(&ToSession::Permitted(Permitted { login: name }), &[]);
        } else if name != "frozen" {
            let denial = self.manners.denial.clone();
            let denial = denial.unwrap_or(Denial::Login { name });
            self.send(&ToSession::Denied(denial), &[]);
        }
    }

    fn open(&mut self, open: Open) {
        for (name, value) in &open.environment {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            self.note(format!("env {}={}", text(name), text(value)));
        }
        let channel = open.channel;
        if let Some(failure) = self.manners.failure {
            let message = failure.to_owned();
            return self.send(&ToSession::Failed { channel, message }, &[]);
        }
        let slow = self.manners.slow.map(str::as_bytes);
        match &open.kind {
            OpenKind::Exec(command) if slow == Some(command) => {
                self.held.lock().expect("no panic").push(open);
            }
            _ => self.start(open),
        }
    }

    fn start(&mut self, open: Open) {
        let channel = open.channel;
        let terminal = self.terminals.remove(&channel);
        if let (Some(notice), OpenKind::Shell) = (self.manners.notice, &open.kind) {
            let text = notice.as_bytes().to_vec();
            self.send(&ToSession::Notice { channel, text }, &[]);
        }
        let mut command = Command::new("/bin/bash");
        command
            .arg0("bash")
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command.args(["--norc", "--noprofile"]);
        if !open.term.is_empty() {
            command.env("TERM", std::str::from_utf8(&open.term).expect("ASCII"));
        }
        match &open.kind {
            OpenKind::Shell => {}
            OpenKind::Exec(text) => {
                command.arg("-c");
                command.arg(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(text));
            }
            OpenKind::Sftp => {
                self.note("sftp".to_owned());
                command.args(["-c", "exit 0"]);
            }
        }
        let child = match terminal {
            Some(slave) => self.start_on_terminal(channel, command, slave),
            None => self.start_on_pipes(channel, command),
        };
        self.watch(channel, child);
    }

    fn start_on_terminal(&self, channel: u32, mut command: Command, slave: OwnedFd) -> Child {
        let copy = || slave.try_clone().expect("a copy");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        // SAFETY: between fork and exec, only system calls.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("a shell");
        drop(slave);
        self.send(&ToSession::Opened { channel }, &[]);
        child
    }

    fn start_on_pipes(&self, channel: u32, mut command: Command) -> Child {
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let stdin = OwnedFd::from(child.stdin.take().expect("a pipe"));
        let stdout = OwnedFd::from(child.stdout.take().expect("a pipe"));
        let stderr = OwnedFd::from(child.stderr.take().expect("a pipe"));
        let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        self.send(&ToSession::Opened { channel }, &fds);
        child
    }

    fn watch(&self, channel: u32, mut child: Child) {
        let socket = self.socket.clone();
        let children = self.children.clone();
        children
            .lock()
            .expect("no panic")
            .insert(channel, child.id());
        thread::spawn(move || {
            let status = child.wait().expect("a status");
            children.lock().expect("no panic").remove(&channel);
            let status = match status.signal() {
                Some(number) => ExitStatus::Signal {
                    number,
                    core: status.core_dumped(),
                },
                None => ExitStatus::Code(status.code().unwrap_or(255) as u8),
            };
            let _ = wire::send(socket.as_fd(), &ToSession::Exited { channel, status }, &[]);
        });
    }

    fn send(&self, message: &ToSession, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let _ = wire::send(self.socket.as_fd(), message, fds);
    }

    fn note(&self, line: String) {
        self.asked.lock().expect("no panic").push(line);
    }
}
