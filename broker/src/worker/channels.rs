//! What runs on the channels of one connection, as the account.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use meshd_contract::broker::{ChannelDescription, ExitStatus, Open, OpenKind, ToSession};
use meshd_contract::identity::Owner;
use meshd_contract::time::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, getgroups, setgroups};
use thiserror::Error;

use super::basis::Basis;
use super::forwards::{self, Forwards};
use super::now;
use super::processes::Processes;
use super::program::{asked, command, is_hushed, kind_name, signal_number, stdio};
use crate::account::{self, LookupError, Passwd};
use crate::audit::{self, AuditError};
use crate::authorize::Authorized;
use crate::descendants;
use crate::environment::{self, Sources};
use crate::evidence::Bound;
use crate::machine::Request;
use crate::memory;
use crate::pam::{AccountChecked, Pam, PamError};
use crate::process::{self, Identity, Plan, Program, StartError};
use crate::pty::{self, Terminal};
use crate::record::{self, Event, Fact, Records};

/// More channels than a connection has.
const MOST_AGENTS: usize = 1024;

/// What the session process is sent in answer to one request, in this order.
pub(super) type Answer = Vec<(ToSession, Vec<OwnedFd>)>;

/// Terminals and processes of one connection, and its PAM session.
pub(super) struct Channels {
    records: Records,
    bound: Bound,
    client_bytes: usize,
    pam: Option<Pam>,
    session: Option<Session>,
    processes: Processes,
    terminals: BTreeMap<u32, Terminal>,
    running: BTreeMap<Pid, Running>,
    /// The path of the client's agent, for the channels that it is offered to.
    agents: BTreeMap<u32, String>,
}

/// An open PAM session. Nothing is started as the account without one.
struct Session {
    identity: Identity,
    /// What PAM has to say, until it was shown.
    text: Vec<u8>,
}

struct Running {
    channel: u32,
    kind: &'static str,
    terminal: Option<String>,
    since: Timestamp,
}

/// Why a channel has no process.
#[derive(Debug, Error)]
enum ChannelError {
    #[error("cannot open a session on this host; its log says why")]
    Pam(#[from] PamError),
    #[error("cannot read the groups of the account; try again later")]
    Groups(#[from] LookupError),
    #[error("cannot record the login on this host; its log says why")]
    Audit(#[from] AuditError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("cannot make pipes or terminals: {0}")]
    System(#[from] Errno),
    #[error("the command or a path holds a zero byte")]
    ZeroByte(#[from] std::ffi::NulError),
}

impl Channels {
    pub(super) fn new(basis: &Basis, session_process: Pid) -> Self {
        Self {
            records: basis.records.clone(),
            bound: basis.bound.clone(),
            client_bytes: basis.config.limits.environment_bytes as usize,
            pam: None,
            session: None,
            processes: Processes::new(session_process),
            terminals: BTreeMap::new(),
            running: BTreeMap::new(),
            agents: BTreeMap::new(),
        }
    }

    /// Takes over PAM's handle, with which the account was checked.
    pub(super) fn set_pam(&mut self, pam: Pam) {
        self.pam = Some(pam);
    }

    /// One more fact for every record that follows.
    pub(super) fn know(&mut self, fact: Fact) {
        self.records.know(fact);
    }

    /// Everything that runs because of this connection.
    pub(super) fn processes(&mut self) -> &mut Processes {
        &mut self.processes
    }

    /// Does what a request asks, by the rule in force; [`Self::begin_session`] comes before the
    /// first [`Request::Open`].
    pub(super) fn answer(&mut self, request: &Request, authorized: &Authorized) -> Answer {
        let passwd = authorized.passwd();
        match request {
            Request::AllocatePty(channel) => match pty::allocate(passwd.account.uid, passwd.gid) {
                Ok((master, terminal)) => {
                    self.terminals.insert(*channel, terminal);
                    vec![(ToSession::Pty { channel: *channel }, vec![master])]
                }
                Err(errno) => vec![self.failed(*channel, &ChannelError::System(errno))],
            },
            Request::Release(channel) => {
                self.terminals.remove(channel);
                Vec::new()
            }
            Request::Open(open) => match self.open(open, authorized) {
                Ok(answer) => answer,
                Err(error) => vec![self.failed(open.channel, &error)],
            },
            Request::Signal { channel, name } => {
                self.signal(*channel, name, authorized);
                Vec::new()
            }
            Request::Sign { .. }
            | Request::Login { .. }
            | Request::Count { .. }
            | Request::Leaving(_)
            | Request::Refuse { .. }
            | Request::Connect { .. }
            | Request::Listen { .. }
            | Request::ForwardAgent { .. }
            | Request::EndForward(_)
            | Request::Admit
            | Request::RefuseForward { .. } => Vec::new(),
        }
    }

    fn failed(&mut self, channel: u32, error: &ChannelError) -> (ToSession, Vec<OwnedFd>) {
        self.terminals.remove(&channel);
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        let cause = cause.unwrap_or_default();
        self.records
            .note(&format!("channel {channel} not opened: {error}{cause}"));
        (
            ToSession::Failed {
                channel,
                message: error.to_string(),
            },
            Vec::new(),
        )
    }

    fn open(&mut self, open: &Open, authorized: &Authorized) -> Result<Answer, ChannelError> {
        let channel = open.channel;
        let terminal = self.terminals.remove(&channel);
        let path = terminal.as_ref().map(|terminal| terminal.path.clone());
        let environment = self.environment(Some(open), authorized, path.as_deref());
        let session = self.session.as_mut().ok_or(Errno::EPERM)?;
        let passwd = authorized.passwd();
        let (program, arguments) = command(open, authorized)?;
        let directory = CString::new(passwd.home.as_os_str().as_bytes())?;
        let (theirs, ours) = stdio(terminal.as_ref())?;
        let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let pid = process::start(&Plan {
            program: Program::Path(&program),
            arguments: &arguments,
            environment: &environment,
            descriptors: &descriptors,
            identity: &session.identity,
            directory: &directory,
            terminal: terminal.is_some(),
            keep_chroot: false,
            parent_death_signal: libc::SIGHUP,
        })?;
        let mut answer = vec![(ToSession::Opened { channel }, ours)];
        let interactive = terminal.is_some() && open.kind == OpenKind::Shell;
        if interactive && !session.text.is_empty() && !is_hushed(&session.identity, passwd) {
            let text = std::mem::take(&mut session.text);
            answer.insert(0, (ToSession::Notice { channel, text }, Vec::new()));
        }
        let running = Running {
            channel,
            kind: kind_name(&open.kind),
            terminal: path,
            since: now(),
        };
        self.record_open(pid, &running);
        self.running.insert(pid, running);
        Ok(answer)
    }

    fn record_open(&self, pid: Pid, running: &Running) {
        let mut facts = vec![
            ("channel", running.channel.to_string()),
            ("kind", running.kind.to_owned()),
            ("pid", pid.to_string()),
        ];
        if let Some(path) = &running.terminal {
            facts.push(("terminal", path.clone()));
        }
        self.records.write(Event::ChannelOpened, &facts);
    }

    /// Opens the PAM session for the first channel, when it is known whether there is a terminal;
    /// does nothing when it is open. What cannot be is answered as the channel's failure.
    pub(super) fn begin_session(
        &mut self,
        open: &Open,
        checked: &AccountChecked,
    ) -> Result<(), Answer> {
        let terminal = self.terminals.get(&open.channel);
        let terminal = terminal.map(|terminal| terminal.path.clone());
        self.need_session(terminal.as_deref(), checked)
            .map_err(|error| vec![self.failed(open.channel, &error)])
    }

    fn need_session(
        &mut self,
        terminal: Option<&str>,
        checked: &AccountChecked,
    ) -> Result<(), ChannelError> {
        if self.session.is_none() {
            let session = self.session(checked.authorized().passwd(), terminal);
            self.session = Some(session.inspect_err(|_| self.close_pam())?);
        }
        Ok(())
    }

    /// Starts the helper like a shell, in the PAM session. What cannot be is one sentence for the
    /// client.
    pub(super) fn start_helper(
        &mut self,
        forwards: &mut Forwards,
        checked: &AccountChecked,
    ) -> Result<(), String> {
        let begun = self.need_session(None, checked);
        begun.map_err(|error| self.no_helper(&error))?;
        let environment = self.environment(None, checked.authorized(), None);
        let session = self.session.as_ref();
        let identity = session.map(|session| session.identity.clone());
        let identity = identity.ok_or_else(|| Errno::EPERM.desc().to_owned())?;
        let started = forwards.start(&identity, &environment);
        started.map_err(|error| self.no_helper(&error))
    }

    /// Has a helper that is no more tidied up after, as the account and with nobody waiting for it.
    pub(super) fn remove_left(&self, paths: &[CString]) {
        let (Some(session), Ok(null)) = (&self.session, process::null()) else {
            return;
        };
        let removed = forwards::remove(paths, &session.identity, null.as_fd());
        if let Err(error) = removed {
            self.records.note(&format!("left of a helper: {error}"));
        }
    }

    fn no_helper(&self, error: &dyn std::error::Error) -> String {
        let cause = error.source().map(|cause| format!(": {cause}"));
        let cause = cause.unwrap_or_default();
        self.records.note(&format!("no forwards: {error}{cause}"));
        error.to_string()
    }

    /// From now on, what is started on this channel finds the client's agent there.
    pub(super) fn offer_agent(&mut self, channel: u32, path: String) {
        if self.agents.len() < MOST_AGENTS {
            self.agents.insert(channel, path);
        }
    }

    fn session(
        &mut self,
        passwd: &Passwd,
        terminal: Option<&str>,
    ) -> Result<Session, ChannelError> {
        let login = &passwd.account.login;
        // The account's groups first, so that a module that adds one (pam_group) finds them; the
        // list that is there after PAM is the account's (pam_setcred(3)).
        setgroups(&account::groups(login, passwd.gid)?)?;
        let pam = self.pam.as_mut().ok_or(Errno::EPERM)?;
        let text = pam.open_session(terminal, login.as_str())?;
        memory::give_back();
        self.processes.session_began(&self.records);
        self.record_login(passwd.account.uid, terminal)?;
        let identity = Identity {
            uid: passwd.account.uid,
            gid: passwd.gid,
            groups: getgroups()?.into_iter().map(Gid::as_raw).collect(),
        };
        Ok(Session { identity, text })
    }

    fn record_login(&self, uid: u32, terminal: Option<&str>) -> Result<(), AuditError> {
        let login = audit::Login {
            account: audit::Account::Id(uid),
            address: self.bound.remote().ip(),
            terminal: terminal.unwrap_or("ssh"),
            success: true,
        };
        match audit::record(&login) {
            Err(error @ AuditError::Send(_)) => {
                self.records.note(&error.to_string());
                Ok(())
            }
            recorded => recorded,
        }
    }

    /// What a process begins with; the helper's is not of a channel.
    fn environment(
        &self,
        open: Option<&Open>,
        authorized: &Authorized,
        terminal: Option<&str>,
    ) -> Vec<CString> {
        let (remote, local) = (self.bound.remote(), self.bound.local());
        let (from, port, to) = (remote.ip(), remote.port(), local.ip());
        let mut connection = vec![
            ("SSH_CLIENT", format!("{from} {port} 22").into_bytes()),
            (
                "SSH_CONNECTION",
                format!("{from} {port} {to} 22").into_bytes(),
            ),
            ("MESH_PEER", authorized.peer().name.to_string().into_bytes()),
        ];
        if let Owner::User(user) = &authorized.peer().owner {
            connection.push(("MESH_USER", user.as_bytes().to_vec()));
        }
        if let Some(path) = terminal {
            connection.push(("SSH_TTY", path.as_bytes().to_vec()));
        }
        if let Some(path) = open.and_then(|open| self.agents.get(&open.channel)) {
            connection.push(("SSH_AUTH_SOCK", path.as_bytes().to_vec()));
        }
        let forced = authorized.rule().rights.command.as_ref();
        let original = open.and_then(|open| asked(&open.kind));
        if let Some(original) = forced.and(original) {
            connection.push(("SSH_ORIGINAL_COMMAND", original.into_owned()));
        }
        environment::build(&Sources {
            passwd: authorized.passwd(),
            accept: &authorized.rule().accept_env,
            client: open.map_or(&[], |open| &open.environment),
            client_bytes: self.client_bytes,
            term: terminal.and(open).map_or(&[], |open| &open.term),
            pam: &self.pam.as_ref().map(Pam::environment).unwrap_or_default(),
            connection: &connection,
        })
    }

    /// Signals the group of a channel's process, as the account and while the process is known
    /// to be there, so that no reused number is ever hit. As with sshd, what the client has not
    /// chosen itself, a file transfer or a command of the rule's, is not the client's to signal.
    fn signal(&self, channel: u32, name: &str, authorized: &Authorized) {
        let chosen = authorized.rule().rights.command.is_none();
        let running = self.running.iter().find(|(_, running)| {
            running.channel == channel && chosen && running.kind != kind_name(&OpenKind::Sftp)
        });
        let (Some((pid, _)), Some(session), Some(signal)) =
            (running, &self.session, signal_number(name))
        else {
            return;
        };
        let group = pid.as_raw();
        process::succeeds_as(&session.identity, || {
            // SAFETY: takes two integers.
            unsafe { libc::killpg(group, signal as libc::c_int) == 0 }
        });
    }

    /// Reaps what has ended: pid, channel if it was one's, and how.
    pub(super) fn reap(&mut self) -> Vec<(Pid, Option<u32>, ExitStatus)> {
        let mut ended = Vec::new();
        while let Some((pid, status)) = ended_child() {
            let running = self.running.remove(&pid);
            if let Some(running) = &running {
                self.agents.remove(&running.channel);
                self.record_end(running, status);
            }
            ended.push((pid, running.map(|running| running.channel), status));
        }
        ended
    }

    fn record_end(&self, running: &Running, status: ExitStatus) {
        let exit = match status {
            ExitStatus::Code(code) => code.to_string(),
            ExitStatus::Signal { number, .. } => format!("signal {number}"),
        };
        let facts = [
            ("channel", running.channel.to_string()),
            ("kind", running.kind.to_owned()),
            ("exit", exit),
            ("seconds", record::seconds(running.since, now())),
        ];
        self.records.write(Event::ChannelEnded, &facts);
    }

    /// What runs.
    pub(super) fn describe(&self) -> Vec<ChannelDescription> {
        let describe = |(pid, running): (&Pid, &Running)| ChannelDescription {
            channel: running.channel,
            kind: running.kind.to_owned(),
            terminal: running.terminal.clone(),
            pid: pid.as_raw(),
            since: running.since,
        };
        self.running.iter().map(describe).collect()
    }

    /// SIGHUP to what runs without a terminal; closing the terminals hangs up the others.
    pub(super) fn hang_up(&mut self) {
        self.terminals.clear();
        for (pid, running) in &self.running {
            descendants::signal_group(*pid, Signal::SIGHUP);
            if running.terminal.is_none() {
                descendants::signal_group(*pid, Signal::SIGCONT);
            }
        }
    }

    /// Closes the PAM session, if one is open.
    pub(super) fn close_pam(&mut self) {
        if let Some(pam) = &mut self.pam {
            pam.close();
        }
        self.session = None;
        self.processes.session_ended();
    }
}

/// A child that has ended, if there is one. By the C library itself: a name for every signal is
/// more than nix has, and real-time signals end processes too.
fn ended_child() -> Option<(Pid, ExitStatus)> {
    let mut status = 0;
    // SAFETY: writes one integer, which lives until the call returns.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    let status = if libc::WIFSIGNALED(status) {
        ExitStatus::Signal {
            number: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        }
    } else {
        ExitStatus::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    };
    (pid > 0).then(|| (Pid::from_raw(pid), status))
}
