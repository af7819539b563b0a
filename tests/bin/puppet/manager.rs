//! The manager's side: hands sockets to the broker.

use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;

use meshd_contract::broker::{FromManager, ToManager};
use meshd_contract::wire::WireError;
use meshd_contract::{paths, wire};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};

use crate::say;

/// While this file is there, every connection is to end.
const END: &str = "/tmp/end";

/// What to say to a worker that asks for a check, and to one that does so again.
const ANSWERS: &str = "/tmp/answers";
const FRESH_ANSWERS: &str = "/tmp/fresh-answers";

/// Hands a socket to the broker as the manager does, prints the answer, and stays until the
/// session process's end of the link is closed.
pub(crate) fn offer(what: &str, address: &str, device: &str) {
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
    match hand_over(tcp) {
        Ok((answer, link)) => {
            say(&format!("{answer:?}"));
            let _ = nix::unistd::read(&link.1, &mut [0; 1]);
            say("link closed");
        }
        Err(sentence) => say(&sentence),
    }
}

/// Hands every connection to the broker, without end, and prints what is refused.
pub(crate) fn serve(address: &str, device: &str) {
    let address = SocketAddrV4::new(address.parse().expect("an address"), paths::SSH_PORT);
    let listener = listen(address, device);
    say("listening");
    for connection in listener.incoming() {
        let connection = connection.expect("a connection");
        thread::spawn(move || match hand_over(connection.into()) {
            Ok((ToManager::Bound { .. }, (worker, link))) => keep(&worker, &link),
            Ok((answer, _)) => say(&format!("{answer:?}")),
            Err(sentence) => say(&sentence),
        });
    }
}

/// Keeps a connection until its session process has ended, has it ended when there is [`END`], and
/// answers what the worker asks.
fn keep(worker: &OwnedFd, link: &OwnedFd) {
    const PAUSE: u16 = 100;
    loop {
        let ended = PollFd::new(link.as_fd(), PollFlags::POLLHUP);
        let asks = PollFd::new(worker.as_fd(), PollFlags::POLLIN);
        let mut ready = [ended, asks];
        let _ = poll(&mut ready, PAUSE);
        let [ended, asks] = ready.map(|ready| ready.any() == Some(true));
        if ended {
            return;
        }
        if Path::new(END).exists() {
            let _ = wire::send(worker.as_fd(), &FromManager::End, &[]);
            let _ = poll(
                &mut [PollFd::new(link.as_fd(), PollFlags::POLLHUP)],
                PollTimeout::NONE,
            );
        }
        if asks {
            match wire::receive::<ToManager>(worker.as_fd()) {
                Ok((ToManager::Check { need, fresh }, _)) => {
                    say(&format!("{need:?} fresh: {fresh}"));
                    answer(worker, if fresh { FRESH_ANSWERS } else { ANSWERS });
                }
                Ok(_) => {}
                Err(_) => {
                    let _ = poll(
                        &mut [PollFd::new(link.as_fd(), PollFlags::POLLHUP)],
                        PollTimeout::NONE,
                    );
                }
            }
        }
    }
}

/// Says what the lines of a file are.
fn answer(worker: &OwnedFd, file: &str) {
    let lines = std::fs::read_to_string(file).unwrap_or_default();
    for line in lines.lines() {
        let message: FromManager = serde_json::from_str(line).expect("a message");
        wire::send(worker.as_fd(), &message, &[]).expect("sends");
    }
}

/// The answer, and the manager's connection to the worker and link to the session process.
fn hand_over(tcp: OwnedFd) -> Result<(ToManager, (OwnedFd, OwnedFd)), String> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let broker = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
    let broker = broker.expect("a socket");
    let place = UnixAddr::new(paths::BROKER_SOCKET).expect("a path");
    connect(broker.as_raw_fd(), &place).map_err(|errno| format!("no connection: {errno}"))?;
    let (link, theirs) = wire::pair().expect("a link");
    let fds = [tcp.as_fd(), theirs.as_fd()];
    wire::send(broker.as_fd(), &FromManager::Bind, &fds)
        .map_err(|error| format!("not sent: {error}"))?;
    drop((tcp, theirs));
    let said = |error: WireError| format!("no answer: {error}");
    let (answer, _) = wire::receive::<ToManager>(broker.as_fd()).map_err(said)?;
    Ok((answer, (broker, link)))
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
    let backlog = Backlog::new(128).expect("a number");
    nix::sys::socket::listen(&listener, backlog).expect("a listener");
    listener.into()
}
