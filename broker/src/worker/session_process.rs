//! The session process of one connection: its start, what it is told, its end.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use meshd_contract::broker::{FromSession, Hello, ToSession};
use meshd_contract::paths;
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::fcntl::{F_SETFL, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{Pid, User};

use super::Refusal;
use crate::log;
use crate::process::{self, Identity, Plan, Program};

pub(super) struct SessionProcess {
    connection: String,
    socket: OwnedFd,
    pid: Pid,
    /// It will say nothing more.
    closed: bool,
    /// Its number may be another process's by now.
    reaped: bool,
}

/// What a turn at the session process's socket has brought.
pub(super) enum Heard {
    Message(FromSession),
    Nothing,
    Closed,
    /// It did not keep to the form of the messages; the sentence says how.
    Malformed(String),
}

impl SessionProcess {
    /// Starts the program with the connection's socket and link, and greets it.
    pub(super) fn start(tcp: &OwnedFd, link: &OwnedFd, hello: Hello) -> Result<Self, Refusal> {
        let (socket, remote) = wire::pair()?;
        let pid = start(tcp, link, &remote)?;
        fcntl(&socket, F_SETFL(OFlag::O_NONBLOCK))?;
        let connection = hello.connection.clone();
        wire::send(socket.as_fd(), &ToSession::Hello(hello), &[])?;
        Ok(Self {
            connection,
            socket,
            pid,
            closed: false,
            reaped: false,
        })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it may still say something.
    pub(super) fn is_open(&self) -> bool {
        !self.closed && !self.reaped
    }

    pub(super) fn set_closed(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_reaped(&self) -> bool {
        self.reaped
    }

    pub(super) fn set_reaped(&mut self) {
        self.reaped = true;
    }

    /// Lets it read the end of what it is told.
    pub(super) fn close(&mut self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        self.closed = true;
    }

    pub(super) fn hear(&self) -> Heard {
        match wire::receive::<FromSession>(self.socket.as_fd()) {
            Ok((message, fds)) if fds.is_empty() => Heard::Message(message),
            Ok(_) => Heard::Malformed("the session process sent descriptors".to_owned()),
            Err(WireError::WouldBlock) => Heard::Nothing,
            Err(WireError::Closed) => Heard::Closed,
            Err(
                error @ (WireError::TooLarge
                | WireError::Version(_)
                | WireError::Malformed
                | WireError::Socket(_)),
            ) => Heard::Malformed(error.to_string()),
        }
    }

    /// Never waits: a session process that does not read what it asked for could otherwise keep
    /// the worker from ending its session. It is killed, and that ends the connection.
    pub(super) fn tell(&self, message: &ToSession, fds: &[OwnedFd]) {
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(error) = wire::send(self.socket.as_fd(), message, &borrowed) {
            let text = format!("the session process does not listen: {error}");
            log::connection(&self.connection, &text);
            self.kill();
        }
    }

    pub(super) fn kill(&self) {
        if !self.reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// Without any privilege but that to enter its empty root.
fn start(tcp: &OwnedFd, link: &OwnedFd, worker: &OwnedFd) -> Result<Pid, Refusal> {
    let user = User::from_name(paths::SESSION_USER)?.ok_or(Refusal::NoSessionUser)?;
    let program = CString::new(paths::SESSION_PROGRAM).map_err(|_| Errno::EINVAL)?;
    let null = process::null().map_err(|_| Errno::last())?;
    let stderr = std::io::stderr();
    let log = stderr.as_fd();
    Ok(process::start(&Plan {
        program: Program::Path(&program),
        arguments: std::slice::from_ref(&program),
        environment: &[],
        descriptors: &[
            null.as_fd(),
            log,
            log,
            tcp.as_fd(),
            link.as_fd(),
            worker.as_fd(),
        ],
        identity: &Identity {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: Vec::new(),
        },
        directory: c"/",
        terminal: false,
        keep_chroot: true,
        parent_death_signal: 0,
    })?)
}
