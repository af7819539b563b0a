//! The session process's side, word by word.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use meshd_contract::broker::{FromSession, Open, OpenKind, ToSession};
use meshd_contract::forward::Endpoint;
use meshd_contract::wire;

use crate::{WORKER, trespass};

/// The session process's side: one line of the script after the other.
struct Session {
    worker: OwnedFd,
    log: File,
    /// What the next program is to be given.
    variables: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Carries out the lines of a script and writes what the worker answers to `/var/lib/puppet/log`.
pub(crate) fn run(script: &str) {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open("/var/lib/puppet/log");
    // SAFETY: the worker has put its socket there.
    let worker = unsafe { OwnedFd::from_raw_fd(WORKER) };
    let mut session = Session {
        worker,
        log: log.expect("a log"),
        variables: Vec::new(),
    };
    for line in script.lines() {
        session.carry_out(line);
    }
}

impl Session {
    fn carry_out(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "read" => self.read(),
            // With line feeds as \n, since a line is a word of the script.
            "login" => self.send(&FromSession::Login {
                name: rest.replace("\\n", "\n").into(),
            }),
            "sign" => {
                let hash = vec![7; rest.parse().expect("a length")];
                self.send(&FromSession::Sign { key: 0, hash });
            }
            "flood" => {
                let hash = vec![7; 32];
                let message = FromSession::Sign { key: 0, hash };
                while wire::send(self.worker.as_fd(), &message, &[]).is_ok() {}
            }
            "wait" => {
                let forever = nix::poll::PollTimeout::NONE;
                let _ = nix::poll::poll(&mut [], forever);
            }
            "pty" => {
                let channel = rest.parse().expect("a channel");
                self.send(&FromSession::AllocatePty { channel });
            }
            "exec" => self.open(OpenKind::Exec(rest.into())),
            "connect" => {
                let (host, port) = rest.split_once(' ').expect("HOST PORT");
                let (host, port) = (host.to_owned(), port.parse().expect("a port"));
                let target = Endpoint::Tcp { host, port };
                self.send(&FromSession::Connect { forward: 0, target });
            }
            "shell" => self.open(OpenKind::Shell),
            "variable" => {
                let (name, value) = rest.split_once('=').expect("NAME=VALUE");
                self.variables.push((name.into(), value.into()));
            }
            "descriptor" => {
                let null = File::open("/dev/null").expect("a file");
                let message = FromSession::Login { name: rest.into() };
                wire::send(self.worker.as_fd(), &message, &[null.as_fd()]).expect("sends");
            }
            "garbage" => {
                let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
                let _ = nix::sys::socket::send(WORKER, rest.as_bytes(), flags);
            }
            "trespass" => self.trespass(rest),
            _ => panic!("{word} is no word of the script"),
        }
    }

    fn open(&mut self, kind: OpenKind) {
        let term = b"xterm".to_vec();
        self.send(&FromSession::Open(Open {
            channel: 0,
            kind,
            term,
            environment: self.variables.clone(),
        }));
    }

    fn send(&mut self, message: &FromSession) {
        if let Err(error) = wire::send(self.worker.as_fd(), message, &[]) {
            self.write(&format!("not sent: {error}"));
        }
    }

    fn read(&mut self) {
        match wire::receive::<ToSession>(self.worker.as_fd()) {
            Ok((message, fds)) => {
                self.write(&format!("{message:?} with {} descriptors", fds.len()));
                if let (ToSession::Opened { .. }, [_, output, errors]) = (&message, fds.as_slice())
                {
                    self.copy("output", output.as_fd());
                    self.copy("errors", errors.as_fd());
                }
            }
            Err(error) => self.write(&format!("no message: {error}")),
        }
    }

    fn copy(&mut self, what: &str, from: BorrowedFd<'_>) {
        let mut file = File::from(from.try_clone_to_owned().expect("a descriptor"));
        let mut text = String::new();
        file.read_to_string(&mut text).expect("reads");
        for line in text.lines() {
            self.write(&format!("{what}: {line}"));
        }
    }

    fn trespass(&mut self, other: &str) {
        let other = other.parse().ok();
        trespass::run(other, |line| self.write(line));
        self.write("trespassed");
    }

    fn write(&mut self, line: &str) {
        writeln!(self.log, "{line}").expect("a log");
    }
}
