//! The session process's side, word by word.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use meshd_contract::broker::{FromSession, Open, OpenKind, ToSession};
use meshd_contract::{paths, wire};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::WORKER;

/// The session process's side: one line of the script after the other.
struct Session {
    worker: OwnedFd,
    log: File,
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
            "login" => self.send(&FromSession::Login { name: rest.into() }),
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
            "shell" => self.open(OpenKind::Shell),
            "descriptor" => {
                let null = File::open("/dev/null").expect("a file");
                let message = FromSession::Login { name: rest.into() };
                wire::send(self.worker.as_fd(), &message, &[null.as_fd()]).expect("sends");
            }
            "garbage" => {
                let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
                let _ = nix::sys::socket::send(WORKER, rest.as_bytes(), flags);
            }
            "abroad" => self.try_abroad(),
            _ => panic!("{word} is no word of the script"),
        }
    }

    fn open(&mut self, kind: OpenKind) {
        let term = b"xterm".to_vec();
        self.send(&FromSession::Open(Open {
            channel: 0,
            kind,
            term,
            environment: Vec::new(),
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

    /// What a session process in the hands of an attacker would try first.
    fn try_abroad(&mut self) {
        let broker = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::empty(),
            None,
        );
        let place = UnixAddr::new(paths::BROKER_SOCKET).expect("a path");
        let connected = broker.and_then(|socket| connect(socket.as_raw_fd(), &place));
        self.write(&format!("broker socket: {connected:?}"));
        let ids = nix::unistd::setuid(nix::unistd::Uid::from_raw(0));
        self.write(&format!("setuid 0: {ids:?}"));
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        for line in status.lines().filter(|line| line.starts_with("Cap")) {
            self.write(line);
        }
        let killed = nix::sys::signal::kill(nix::unistd::getppid(), None);
        self.write(&format!("signal the worker: {killed:?}"));
    }

    fn write(&mut self, line: &str) {
        writeln!(self.log, "{line}").expect("a log");
    }
}
