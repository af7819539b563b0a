//! The listener: one Unix socket for the manager, one worker per connection.
//!
//! It reads nothing but the credentials of who connects; the worker, a fresh program, does the
//! rest. Workers do not depend on it: it may be restarted under them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

use meshd_contract::paths;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen,
    socket, sockopt,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, User, chown};
use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::host_keys::{HostKeyError, HostKeys};
use crate::process::{self, Identity, Plan, Program, StartError};
use crate::{host_keys, inherited, log, open_sessions, readiness, state_file};

/// Why the listener cannot serve.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Not started as root.
    #[error("meshd-broker listen must run as root: it makes peers Unix users")]
    NotRoot,
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host keys.
    #[error(transparent)]
    HostKeys(#[from] HostKeyError),
    /// A user that the package makes is missing.
    #[error("there is no user {0}: install the package again, or run systemd-sysusers")]
    NoUser(&'static str),
    /// A file or directory could not be made.
    #[error("cannot make {path}: {source}")]
    File {
        /// What was to be made.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a socket or a signal descriptor.
    #[error("cannot listen on {path}: {0}", path = paths::BROKER_SOCKET)]
    Socket(#[from] Errno),
}

impl ListenError {
    /// Whether another try would end in the same way.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::NotRoot | Self::Config(_) | Self::HostKeys(_) | Self::NoUser(_) => true,
            Self::File { .. } | Self::Socket(_) => false,
        }
    }
}

/// Serves until SIGTERM; SIGHUP reads the configuration again.
///
/// # Errors
/// [`ListenError`] when it cannot begin.
pub fn run() -> Result<(), ListenError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ListenError::NotRoot);
    }
    let config = Config::load(paths::SSH_CONFIG.as_ref())?;
    make_directories()?;
    let host_keys = watch_host_keys()?;
    publish(&HostKeys::load_or_make()?)?;
    let manager = user(paths::MANAGER_USER)?;
    user(paths::SESSION_USER)?;
    open_sessions::prepare().map_err(|error| ListenError::File {
        path: paths::BROKER_RUN,
        source: error,
    })?;
    look_around();
    let signals = block_signals()?;
    let (listener, socket) = listen_on(paths::BROKER_SOCKET, &manager)?;
    log::line(&format!("listening on {}", paths::BROKER_SOCKET));
    readiness::announce()?;
    let served = Listener {
        listener,
        signals,
        host_keys,
        manager: manager.uid.as_raw(),
        worker: worker_program()?,
        oom_score: keep_from_oom_killer(),
        most: config.limits.connections as usize,
        inherited: open_sessions::inherited(),
    }
    .serve();
    unlink(paths::BROKER_SOCKET, socket);
    served
}

/// Logs what the host is like, for whoever wonders about a session.
fn look_around() {
    for complaint in inherited::complaints() {
        log::line(&complaint);
    }
    match landlock_abi() {
        0 => log::line("this kernel has no Landlock: session processes do without that layer"),
        abi => log::line(&format!("Landlock ABI {abi}")),
    }
}

/// Landlock's version (landlock_create_ruleset(2)); 0 where there is none.
fn landlock_abi() -> i64 {
    const VERSION: libc::c_uint = 1;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the call takes no attributes and returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    abi.max(0)
}

/// Without its listener a host is out of reach; workers get back what the listener had.
fn keep_from_oom_killer() -> Option<i32> {
    const NEVER: i32 = -1000;
    let before = inherited::oom_score();
    inherited::set_oom_score(NEVER);
    before
}

fn make_directories() -> Result<(), ListenError> {
    for (path, mode) in [
        (paths::BROKER_STATE, 0o700),
        (paths::BROKER_RUN, 0o755),
        (paths::EMPTY_ROOT, 0o555),
    ] {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path);
        made.map_err(|error| ListenError::File {
            path,
            source: error,
        })?;
    }
    Ok(())
}

/// Where there is no such directory there are no keys; those that come with one are served from the
/// next start on.
fn watch_host_keys() -> nix::Result<Inotify> {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let complete = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
    match changes.add_watch(host_keys::SYSTEM_DIRECTORY, complete) {
        Ok(_) | Err(Errno::ENOENT) => Ok(changes),
        Err(errno) => Err(errno),
    }
}

fn publish(keys: &HostKeys) -> Result<(), ListenError> {
    let lines = keys.public_lines()?;
    if std::fs::read(paths::HOST_KEYS).is_ok_and(|published| published == lines.as_bytes()) {
        return Ok(());
    }
    state_file::replace(paths::HOST_KEYS.as_ref(), lines.as_bytes(), 0o644).map_err(|error| {
        ListenError::File {
            path: paths::HOST_KEYS,
            source: error,
        }
    })
}

fn user(name: &'static str) -> Result<User, ListenError> {
    User::from_name(name)
        .ok()
        .flatten()
        .ok_or(ListenError::NoUser(name))
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGHUP);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Listens under another name first and renames: there is no moment in which the manager could not
/// connect, or anybody else could. With the file's number (inode(7)).
fn listen_on(path: &'static str, manager: &User) -> Result<(OwnedFd, u64), ListenError> {
    let temporary = format!("{path}.new");
    let _ = std::fs::remove_file(&temporary);
    let listener = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(listener.as_raw_fd(), &UnixAddr::new(temporary.as_str())?)?;
    chown(temporary.as_str(), None, Some(manager.gid))?;
    let group_may_connect = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(&temporary, group_may_connect).map_err(|error| ListenError::File {
        path,
        source: error,
    })?;
    listen(&listener, Backlog::new(128)?)?;
    let renamed = std::fs::rename(&temporary, path).and_then(|()| std::fs::metadata(path));
    let file = renamed.map_err(|error| ListenError::File {
        path,
        source: error,
    })?;
    Ok((listener, file.ino()))
}

/// Tells the manager that SSH is off now, unless another listener has begun already.
fn unlink(path: &str, number: u64) {
    if std::fs::metadata(path).is_ok_and(|file| file.ino() == number) {
        let _ = std::fs::remove_file(path);
    }
}

/// The program by its path, so that after an upgrade new connections get the new code.
fn worker_program() -> Result<CString, ListenError> {
    let failed = |error: io::Error| ListenError::File {
        path: "the path of this program",
        source: error,
    };
    let path = std::env::current_exe().map_err(failed)?;
    CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))
}

/// Accepts, and cleans up after workers that were killed.
struct Listener {
    listener: OwnedFd,
    signals: SignalFd,
    /// New files beside the system's host keys.
    host_keys: Inotify,
    manager: u32,
    worker: CString,
    /// What sessions are to have (proc_pid_oom_score_adj(5)).
    oom_score: Option<i32>,
    /// The most workers of this listener at a time.
    most: usize,
    /// Workers of an earlier listener.
    inherited: Vec<(Pid, OwnedFd)>,
}

impl Listener {
    fn serve(mut self) -> Result<(), ListenError> {
        let mut workers = 0;
        loop {
            let (accept, ended) = self.wait(workers < self.most)?;
            if self.read_signals()? {
                return Ok(());
            }
            self.publish_changed_host_keys();
            workers -= reap().min(workers);
            for worker in ended {
                self.inherited.retain(|(pid, _)| *pid != worker);
                open_sessions::clean_after(worker);
            }
            if accept {
                workers += usize::from(self.accept_one());
            }
        }
    }

    /// Whether somebody connects, and which inherited workers have ended.
    fn wait(&self, accepting: bool) -> nix::Result<(bool, Vec<Pid>)> {
        let wanted = if accepting {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let mut watched = vec![
            PollFd::new(self.listener.as_fd(), wanted),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.host_keys.as_fd(), PollFlags::POLLIN),
        ];
        let handles = self.inherited.iter();
        watched.extend(handles.map(|(_, handle)| PollFd::new(handle.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut happened = watched.iter().map(|entry| entry.any() == Some(true));
        let accept = happened.next() == Some(true);
        let handles = self.inherited.iter().zip(happened.skip(2));
        let ended = handles.filter_map(|((pid, _), ended)| ended.then_some(*pid));
        Ok((accept, ended.collect()))
    }

    /// Workers serve keys that were replaced at once, so clients must learn of them.
    fn publish_changed_host_keys(&self) {
        if self.host_keys.read_events().is_err() {
            return;
        }
        let published = HostKeys::load().map_err(ListenError::from);
        if let Err(error) = published.and_then(|keys| publish(&keys)) {
            log::line(&format!("new host keys are not published: {error}"));
        }
    }

    /// Reads pending signals; true if one of them ends the listener.
    fn read_signals(&mut self) -> nix::Result<bool> {
        let mut stop = false;
        while let Some(signal) = self.signals.read_signal()? {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGCHLD)) => {}
                Ok(Ok(Signal::SIGHUP)) => self.reload(),
                _ => stop = true,
            }
        }
        Ok(stop)
    }

    /// Workers read the configuration themselves, each at its start.
    fn reload(&mut self) {
        match Config::load(paths::SSH_CONFIG.as_ref()) {
            Ok(config) => {
                self.most = config.limits.connections as usize;
                log::line("the configuration was read again");
            }
            Err(error) => log::line(&format!("{error}; what was read before stays")),
        }
    }

    fn accept_one(&self) -> bool {
        let Ok(raw) = accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) else {
            return false;
        };
        // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
        let connection = unsafe { OwnedFd::from_raw_fd(raw) };
        if !self.is_manager(&connection) {
            return false;
        }
        match self.start_worker(&connection) {
            Ok(_) => true,
            Err(error) => {
                log::line(&format!("cannot start a worker: {error}"));
                false
            }
        }
    }

    fn is_manager(&self, connection: &OwnedFd) -> bool {
        match getsockopt(connection, sockopt::PeerCredentials) {
            Ok(credentials) if credentials.uid() == self.manager => true,
            Ok(credentials) => {
                let uid = credentials.uid();
                log::line(&format!(
                    "refused a connection from user {uid}: only the manager may"
                ));
                false
            }
            Err(errno) => {
                log::line(&format!("refused a connection of unknown origin: {errno}"));
                false
            }
        }
    }

    fn start_worker(&self, connection: &OwnedFd) -> Result<Pid, StartError> {
        let failed = |_| StartError {
            stage: "cannot open /dev/null",
            errno: Errno::last(),
        };
        let null = process::null().map_err(failed)?;
        let stderr = io::stderr();
        let mut arguments: Vec<CString> = vec![c"meshd-broker".into(), c"worker".into()];
        let score = self.oom_score.map(|score| CString::new(score.to_string()));
        arguments.extend(score.and_then(Result::ok));
        process::start(&Plan {
            program: Program::Path(&self.worker),
            arguments: &arguments,
            environment: &[],
            descriptors: &[
                null.as_fd(),
                null.as_fd(),
                stderr.as_fd(),
                connection.as_fd(),
            ],
            identity: &Identity {
                uid: 0,
                gid: 0,
                groups: Vec::new(),
            },
            directory: c"/",
            terminal: false,
            keep_chroot: false,
            parent_death_signal: 0,
        })
    }
}

/// Reaps workers; returns how many have ended. What a killed one has left is ended too.
fn reap() -> usize {
    let mut ended = 0;
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => break,
            WaitStatus::Signaled(worker, Signal::SIGALRM, _) => {
                log::line(&format!(
                    "worker {worker} was ended: the user database, PAM or logind did not answer"
                ));
                open_sessions::clean_after(worker);
            }
            WaitStatus::Signaled(worker, signal, _) => {
                log::line(&format!("worker {worker} was ended by {signal}"));
                open_sessions::clean_after(worker);
            }
            WaitStatus::Exited(..)
            | WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_) => {}
        }
        ended += 1;
    }
    ended
}
