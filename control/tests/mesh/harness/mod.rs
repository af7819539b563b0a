//! A running control for one test, and nodes that talk to it over HTTPS.

mod browser;
mod chromium;
mod client;
mod identity_provider;
mod node;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

pub(crate) use browser::{Authenticator, Browser, ORIGIN, PASSWORD};
pub(crate) use chromium::{Chromium, Site};
pub(crate) use client::{Answer, Broken, Connection, Event, Events, connect, send};
pub(crate) use identity_provider::{CLIENT, IdentityProvider, Key, SECRET, SUBJECT};
use meshd_contract::key::PublicKey;
pub(crate) use node::{Node, now, page};

/// No event of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server process with a directory of its own; killed when dropped.
pub(crate) struct Control {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    child: Child,
    log: Log,
    pub(crate) address: SocketAddr,
}

/// A port that is free.
const ANYWHERE: &str = "127.0.0.1:0";

/// What the server said; shown when its test fails.
type Log = Arc<Mutex<Vec<String>>>;

impl Control {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let log = Log::default();
        let (child, address) = spawn(&directory, ANYWHERE, &arguments, &log);
        Self {
            directory,
            arguments,
            child,
            log,
            address,
        }
    }

    /// Whether the server has said something with this text.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().any(|line| line.contains(text))
    }

    /// Kills the process without warning and starts another one on the same directory.
    pub(crate) fn restart_after_kill(&mut self) {
        self.kill();
        (self.child, self.address) = spawn(&self.directory, ANYWHERE, &self.arguments, &self.log);
    }

    /// The same, and it is found where it was.
    pub(crate) fn restart_in_place(&mut self) {
        self.kill();
        let address = self.address.to_string();
        (self.child, self.address) = spawn(&self.directory, &address, &self.arguments, &self.log);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("waits");
    }

    /// Asks the process to end; its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.pid().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signals");
        self.child.wait().expect("waits").code()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// A copy of the program that every user may reach, beside a socket that every user may reach.
    pub(crate) fn program_for_others(&self) -> PathBuf {
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.directory.path(), open).expect("chmod");
        let program = self.directory.path().join("meshd-control");
        fs::copy(env!("CARGO_BIN_EXE_meshd-control"), &program).expect("copies");
        program
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a command that must fail; its standard error.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }

    /// A command for this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshd-control"));
        command.arg("--socket").arg(self.socket()).args(arguments);
        command
    }

    /// The number of the server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn set_policy(&self, text: &str) {
        let file = self.policy_file(text);
        self.admin(&["policy", "set", &file]);
    }

    pub(crate) fn policy_file(&self, text: &str) -> String {
        let path = self.directory.path().join("policy.hujson");
        fs::write(&path, text).expect("writes");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Control's key as its command prints it.
    pub(crate) fn key(&self) -> PublicKey {
        let printed = self.admin(&["key"]);
        let first = printed.lines().next().expect("a line");
        first.parse().expect("a key")
    }

    /// A one-time key for a host of `user`, who is created if need be.
    pub(crate) fn auth_key(&self, user: &str) -> String {
        let _ = self.run(&["users", "create", user]);
        let secret = self.admin(&["authkeys", "create", "--user", user]);
        secret.trim().to_owned()
    }

    /// A node that has joined with a key of its own.
    pub(crate) async fn join(&self, name: &str, user: &str) -> Node {
        let mut node = Node::new(self.address);
        let answer = node.register(&self.auth_key(user), name).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        node
    }
}

#[test]
fn a_server_ends_with_the_thread_that_has_started_it() {
    let started = std::thread::spawn(Control::start);
    let mut control = started.join().expect("starts");
    let ended = control.child.wait().expect("waits");
    assert_eq!(ended.signal(), Some(nix::libc::SIGKILL));
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(std::io::stderr(), "{}", log.join("\n"));
        }
    }
}

/// A server that is killed with the thread that starts it, so that none is left of a test that was
/// killed.
fn command(directory: &tempfile::TempDir, listen: &str, arguments: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_meshd-control")])
        .args(["serve", "--listen", listen])
        .arg("--state")
        .arg(directory.path().join("state"))
        .arg("--socket")
        .arg(directory.path().join("admin.sock"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn spawn(
    directory: &tempfile::TempDir,
    listen: &str,
    arguments: &[String],
    log: &Log,
) -> (Child, SocketAddr) {
    let child = command(directory, listen, arguments).spawn();
    let mut child = child.expect("setpriv, of the package util-linux");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let log = Arc::clone(log);
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(address) = listening(&line) {
                let _ = ready.send(address);
            }
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    });
    let address = wait.recv_timeout(PATIENCE).expect("control gets ready");
    (child, address)
}

fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("ready listen=")?;
    rest.split(' ').next()?.parse().ok()
}
