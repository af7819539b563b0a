//! Commands in a host.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::error::{Doing, LabError, Result};
use crate::inside::PASSED;
use crate::{DEADLINE, Running, Terminal, programs};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command to run in a host; made by [`crate::Host::command`].
///
/// It has a clean environment, `/` as its working directory and, unless given, no input.
#[derive(Debug, Clone)]
#[must_use]
pub struct HostCommand {
    host: String,
    pid: u32,
    words: Vec<OsString>,
    user: Option<String>,
    variables: Vec<(String, OsString)>,
    input: Vec<u8>,
    deadline: Duration,
    /// Descriptors for it, from number 3 on.
    passed: Arc<Vec<OwnedFd>>,
}

/// How a command ended, and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output as text; [`Output::bytes`] has it as it was.
    pub stdout: String,
    /// Its standard error as text.
    pub stderr: String,
    /// Its standard output.
    pub bytes: Vec<u8>,
    /// From its start to its end.
    pub took: Duration,
}

impl HostCommand {
    pub(crate) fn new(host: &str, pid: u32, program: &str) -> Self {
        Self {
            host: host.to_owned(),
            pid,
            words: vec![program.into()],
            user: None,
            variables: Vec::new(),
            input: Vec::new(),
            deadline: DEADLINE,
            passed: Arc::default(),
        }
    }

    /// The same command, started by another one that these words begin.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        self.words.splice(0..0, words.iter().map(OsString::from));
        self
    }

    /// Descriptors that it begins with, from number 3 on.
    pub(crate) fn pass(mut self, fds: Vec<OwnedFd>) -> Self {
        self.passed = Arc::new(fds);
        self
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.words.push(argument.into());
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.words.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it as this account of the host's, with its groups and home; no PAM is asked.
    pub fn user(mut self, name: &str) -> Self {
        self.user = Some(name.to_owned());
        self
    }

    /// One more variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// What it reads, for [`HostCommand::output`].
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// How long it may take; [`DEADLINE`] unless given.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The command as a person would type it.
    #[must_use]
    pub fn line(&self) -> String {
        let words = self
            .words
            .iter()
            .map(|word| quoted(&word.to_string_lossy()));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, and to the end of its output.
    ///
    /// # Errors
    /// [`LabError::Late`] if one of the two does not come in time; the command is killed then.
    pub fn output(self) -> Result<Output> {
        let began = Instant::now();
        let (what, deadline) = (self.described(), self.deadline);
        let input = self.input.clone();
        let mut child = self.spawn()?;
        let stdin = child.stdin.take();
        thread::spawn(move || {
            let _ = stdin.map(|mut stdin| std::io::Write::write_all(&mut stdin, &input));
        });
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = child.wait(deadline)?;
        let rest = || {
            deadline
                .saturating_sub(began.elapsed())
                .max(Duration::from_secs(1))
        };
        let late = |_| LabError::Late {
            what: format!("end of the output of {what}"),
            deadline,
        };
        let bytes = stdout.recv_timeout(rest()).map_err(late)?;
        let stderr = stderr.recv_timeout(rest()).map_err(late)?;
        Ok(Output {
            status,
            stdout: String::from_utf8_lossy(&bytes).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            bytes,
            took: began.elapsed(),
        })
    }

    /// Runs it to its end and expects exit status 0.
    ///
    /// # Errors
    /// [`LabError::Failed`] with what it said, or [`LabError::Late`].
    pub fn succeed(self) -> Result<Output> {
        let line = self.described();
        let output = self.output()?;
        if output.status.success() {
            return Ok(output);
        }
        Err(LabError::Failed(format!(
            "{line} failed ({}):\n{}{}",
            output.status, output.stdout, output.stderr
        )))
    }

    /// Starts it with pipes for its three streams. Killing the child kills the command; the
    /// host's end does too.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be started.
    pub fn spawn(self) -> Result<Running> {
        let mut command = self.entering("plain")?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.start(command)
    }

    /// Starts it with no input, and its output and errors in a file.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be started.
    pub fn spawn_into(self, log: &File) -> Result<Running> {
        let doing = || "share the log".to_owned();
        let mut command = self.entering("plain")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().doing(doing)?)
            .stderr(log.try_clone().doing(doing)?);
        self.start(command)
    }

    /// Starts it on a terminal of the same host.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be started.
    pub fn spawn_on(self, terminal: &Terminal) -> Result<Running> {
        let mut command = self.entering("tty")?;
        command
            .stdin(terminal.slave()?)
            .stdout(terminal.slave()?)
            .stderr(terminal.slave()?);
        self.start(command)
    }

    fn start(&self, mut command: Command) -> Result<Running> {
        if !self.passed.is_empty() {
            self.pass_on(&mut command)?;
        }
        let child = command
            .spawn()
            .doing(|| format!("start {}", self.described()))?;
        Ok(Running::new(child, self.described()))
    }

    /// Above the numbers that they are to have, they do not get into each other's way.
    fn pass_on(&self, command: &mut Command) -> Result<()> {
        let free = i32::try_from(self.passed.len()).unwrap_or(i32::MAX) + 64;
        let copy = |fd: &OwnedFd| {
            let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(free))?;
            // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
            Ok(unsafe { OwnedFd::from_raw_fd(raw) })
        };
        let copies: std::io::Result<Vec<OwnedFd>> = self.passed.iter().map(copy).collect();
        let copies = copies.doing(|| "copy descriptors".to_owned())?;
        command.env(PASSED, copies.len().to_string());
        // SAFETY: the closure makes system calls only, on descriptors that it owns, and the numbers
        // that it gives them are this child's own.
        unsafe {
            command.pre_exec(move || {
                for (number, fd) in (3..).zip(&copies) {
                    Errno::result(nix::libc::dup2(fd.as_raw_fd(), number))?;
                }
                Ok(())
            });
        }
        Ok(())
    }

    fn described(&self) -> String {
        format!("{} on {}", self.line(), self.host)
    }

    fn entering(&self, mode: &str) -> Result<Command> {
        let mut command = Command::new(programs::lab_init()?);
        command
            .arg("enter")
            .arg(self.pid.to_string())
            .arg(mode)
            .env_clear()
            .envs([
                ("PATH", PATH),
                ("HOME", "/root"),
                ("TERM", "xterm"),
                ("USER", "root"),
            ]);
        if let Some(user) = &self.user {
            command.args(["setpriv", "--reset-env", "--init-groups"]);
            command.args(["--reuid", user, "--regid", user]);
        }
        // What runs the tests may ignore signals, as nohup(1) does; a host's programs do not.
        command.args(["env", "--default-signal"]);
        for (name, value) in &self.variables {
            let mut assignment = OsString::from(format!("{name}="));
            assignment.push(value);
            command.arg(assignment);
        }
        command.args(&self.words);
        Ok(command)
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    receiver
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=:,./@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
