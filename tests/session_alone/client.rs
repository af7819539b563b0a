//! The stock OpenSSH client against a session process.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::started::{self, Start};
use crate::worker::{Manners, Worker, host_key_blob};

/// Longer than anything that works takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One server, which takes any number of connections, each with its session process and worker.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: PathBuf,
    workers: std::sync::Arc<std::sync::Mutex<Vec<Worker>>>,
    sessions: std::sync::Arc<std::sync::Mutex<Vec<u32>>>,
}

impl Server {
    pub(crate) fn new(manners: Manners) -> Self {
        Self::started(manners, Start::Right)
    }

    /// One whose session processes are started so.
    pub(crate) fn started(manners: Manners, how: Start) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        take_back_interrupts();
        let (listener, address) = started::accepted();
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("meshd-session-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let key = BASE64_STANDARD.encode(host_key_blob());
        let line = format!("[127.0.0.1]:{} ssh-ed25519 {key}\n", address.port());
        fs::write(directory.join("known_hosts"), line).expect("known hosts");
        let server = Self {
            port: address.port(),
            directory,
            workers: std::sync::Arc::default(),
            sessions: std::sync::Arc::default(),
        };
        let (workers, sessions) = (server.workers.clone(), server.sessions.clone());
        thread::spawn(move || {
            loop {
                let mut session = started::start(started::accept(&listener), how);
                sessions.lock().expect("no panic").push(session.child.id());
                let worker = Worker::serve(session.worker, manners.clone());
                workers.lock().expect("no panic").push(worker);
                thread::spawn(move || session.child.wait());
            }
        });
        server
    }

    /// The worker of the newest connection.
    pub(crate) fn worker<T>(&self, with: impl FnOnce(&Worker) -> T) -> T {
        let workers = self.workers.lock().expect("no panic");
        with(workers.last().expect("a connection"))
    }

    /// The process id of the newest session process, once there is one.
    pub(crate) fn session(&self) -> u32 {
        until(|| !self.sessions.lock().expect("no panic").is_empty());
        let sessions = self.sessions.lock().expect("no panic");
        *sessions.last().expect("a connection")
    }

    /// A directory of this server's.
    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Waits until the newest session process has ended.
    pub(crate) fn wait_for_end(&self) {
        let status = format!("/proc/{}/stat", self.session());
        until(|| !fs::read_to_string(&status).is_ok_and(|line| !line.contains(") Z ")));
    }

    /// Waits until the worker of the newest connection has been asked this.
    pub(crate) fn wait_until_asked(&self, what: &str) {
        until(|| self.worker(|worker| worker.was_asked(what)));
    }

    /// Waits until a master takes sessions.
    pub(crate) fn wait_for_mux(&self) {
        until(|| {
            let check = run(&mut self.ssh(&["-O", "check"], &[]), b"");
            check.status.success()
        });
    }

    /// A command of OpenSSH's with what every test needs.
    pub(crate) fn client(&self, program: &str, options: &[&str]) -> Command {
        let mut command = Command::new(program);
        // OpenSSH takes the first value of an option.
        command.args(options);
        command.args(["-F", "none", "-o", "BatchMode=yes"]);
        let hosts = self.directory.join("known_hosts");
        command
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", hosts.display()));
        command.arg("-o").arg("GlobalKnownHostsFile=/dev/null");
        command.arg("-o").arg(format!("Port={}", self.port));
        command.arg("-o").arg(format!(
            "ControlPath={}",
            self.directory.join("mux").display()
        ));
        command
    }

    /// `ssh OPTIONS alice@host COMMAND`.
    pub(crate) fn ssh(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = self.client("ssh", options);
        ssh.arg("alice@127.0.0.1").args(command);
        ssh
    }

    /// Runs a remote command to its end.
    pub(crate) fn exec(&self, command: &str) -> Output {
        run(&mut self.ssh(&[], &[command]), b"")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs a program to its end, with this input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("ssh");
    let mut stdin = child.stdin.take().expect("a pipe");
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let read = |pipe: Box<dyn Read + Send>| thread::spawn(move || read_all(pipe));
    let stdout = read(Box::new(stdout.take().expect("a pipe")));
    let stderr = read(Box::new(stderr.take().expect("a pipe")));
    let status = wait(&mut child);
    writer.join().expect("no panic");
    Output {
        status,
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    }
}

/// Waits until something is so.
fn until(mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a program, and ends it when it takes too long.
/// A shell that starts its jobs in the background has them ignore the keyboard's signals, and what
/// is ignored at a program's start can be neither trapped nor delivered later.
fn take_back_interrupts() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for number in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: sets the default disposition; no handler runs.
        unsafe { signal(number, SigHandler::SigDfl) }.expect("a disposition");
    }
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("it did not end within {DEADLINE:?}");
}

fn read_all(mut pipe: Box<dyn Read + Send>) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("reads");
    bytes
}

/// The text of an output.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
