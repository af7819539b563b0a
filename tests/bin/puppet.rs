//! Plays the manager and the session process against a real broker, word by word.
//!
//! As `puppet offer accepted|connected|listening`, run as the manager's user, it hands the broker
//! a socket and prints the answer. Under the name of the session process it carries out the lines
//! of `/var/lib/puppet/script` and writes what the worker answers to `/var/lib/puppet/log`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use meshd_contract::broker::{FromManager, FromSession, Open, OpenKind, ToManager, ToSession};
use meshd_contract::{paths, wire};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};

/// The descriptor on which a session process speaks with its worker.
const WORKER: i32 = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "offer", what, address, device] => offer(what, address, device),
        [_] => session(),
        _ => panic!("usage: puppet offer accepted|connected|listening ADDRESS DEVICE"),
    }
}

/// Hands a socket to the broker as the manager does, prints the answer, and stays until the
/// session process's end of the link is closed.
fn offer(what: &str, address: &str, device: &str) {
    let address = SocketAddrV4::new(address.parse().expect("an address"), paths::SSH_PORT);
    let (tcp, _other): (OwnedFd, Option<TcpListener>) = match what {
        "accepted" => {
            let listener = listen(address, device);
            say("listening");
            (
                listener.accept().expect("a connection").0.into(),
                Some(listener),
            )
        }
        "connected" => {
            let listener = listen(address, device);
            let own = TcpStream::connect(address).expect("a connection");
            (own.into(), Some(listener))
        }
        "listening" => (listen(address, device).into(), None),
        _ => panic!("{what} is nothing to offer"),
    };
    let broker = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    let place = UnixAddr::new(paths::BROKER_SOCKET).expect("a path");
    if let Err(errno) = connect(broker.as_raw_fd(), &place) {
        return say(&format!("no connection: {errno}"));
    }
    let (link, theirs) = wire::pair().expect("a link");
    let fds = [tcp.as_fd(), theirs.as_fd()];
    if let Err(error) = wire::send(broker.as_fd(), &FromManager::Bind, &fds) {
        return say(&format!("not sent: {error}"));
    }
    drop((tcp, theirs));
    match wire::receive::<ToManager>(broker.as_fd()) {
        Ok((answer, _)) => say(&format!("{answer:?}")),
        Err(error) => return say(&format!("no answer: {error}")),
    }
    let _ = nix::unistd::read(&link, &mut [0; 1]);
    say("link closed");
}

fn listen(address: SocketAddrV4, device: &str) -> TcpListener {
    let listener = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let listener = listener.expect("a socket");
    setsockopt(&listener, sockopt::ReuseAddr, &true).expect("an option");
    if device != "-" {
        setsockopt(&listener, sockopt::BindToDevice, &device.into()).expect("the device");
    }
    let on: nix::libc::c_int = 1;
    // SAFETY: passes one integer and its size.
    let saved = unsafe {
        nix::libc::setsockopt(
            listener.as_raw_fd(),
            nix::libc::IPPROTO_TCP,
            nix::libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            size_of::<nix::libc::c_int>() as nix::libc::socklen_t,
        )
    };
    assert_eq!(saved, 0, "TCP_SAVE_SYN");
    let name = nix::sys::socket::SockaddrIn::from(address);
    nix::sys::socket::bind(listener.as_raw_fd(), &name).expect("the address");
    let backlog = nix::sys::socket::Backlog::new(8).expect("a number");
    nix::sys::socket::listen(&listener, backlog).expect("a listener");
    listener.into()
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}

/// The session process's side: one line of the script after the other.
struct Session {
    worker: OwnedFd,
    log: File,
}

fn session() {
    let script = std::fs::read_to_string("/var/lib/puppet/script").expect("a script");
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
