//! A helper that runs, and what its messages mean.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use meshd_contract::forward::{Endpoint, MAX_PATH_BYTES, printable};
use meshd_contract::helper::{FromHelper, MAX_WORDS_BYTES};
use meshd_contract::time::Timestamp;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname, getsockopt,
    sockopt,
};
use nix::unistd::Pid;

use super::{Ask, Made, Outcome};

/// A helper that runs.
pub(super) struct Helper {
    pub(super) pid: Pid,
    pub(super) socket: OwnedFd,
    pub(super) since: Timestamp,
    pub(super) pending: BTreeMap<u32, Pending>,
    pub(super) listening: BTreeMap<u32, Made>,
    /// The listener that is the client's agent, and its path.
    pub(super) agent: Option<(u32, String)>,
}

/// What it was asked for, and when the answer is late.
pub(super) struct Pending {
    pub(super) ask: Ask,
    pub(super) until: Instant,
}

/// The helper did not keep to the form of the messages.
pub(super) struct Broken(pub(super) &'static str);

impl Helper {
    /// Understands one message, as far as it was waited for.
    pub(super) fn take(
        &mut self,
        message: FromHelper,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Outcome>, Broken> {
        match message {
            FromHelper::Connected { number } => {
                let socket = stream_socket(fds)?;
                let Some(asked) = self.pending.remove(&number) else {
                    return Ok(None);
                };
                match &asked.ask {
                    Ask::Connect(target) if leads_to(&socket, target) => {
                        let (ask, port) = (asked.ask, 0);
                        let made = Made { ask, port };
                        Ok(Some(Outcome::Connected(number, made, socket)))
                    }
                    Ask::Connect(_) | Ask::Listen(_) | Ask::Agent(_) => {
                        Err(Broken("it sent another socket than was asked for"))
                    }
                }
            }
            FromHelper::Listening { number, port, path } => {
                expect_none(&fds)?;
                self.listening(number, port, path)
            }
            FromHelper::Failed { number, words } => {
                expect_none(&fds)?;
                if words.len() > MAX_WORDS_BYTES {
                    return Err(Broken("its words are too long"));
                }
                let asked = self.pending.remove(&number);
                Ok(asked.map(|_| Outcome::Failed(number, printable(&words))))
            }
            FromHelper::Accepted { number, origin } => {
                let socket = stream_socket(fds)?;
                if !origin.is_in_bounds() {
                    return Err(Broken("an address is out of bounds"));
                }
                let accepted =
                    |made: &Made| Outcome::Accepted(number, made.clone(), origin, socket);
                Ok(self.listening.get(&number).map(accepted))
            }
        }
    }

    fn listening(
        &mut self,
        number: u32,
        port: u16,
        path: Vec<u8>,
    ) -> Result<Option<Outcome>, Broken> {
        let Some(pending) = self.pending.remove(&number) else {
            return Ok(None);
        };
        let outcome = match &pending.ask {
            Ask::Connect(_) => return Err(Broken("it listens where it was to connect")),
            Ask::Listen(_) => Outcome::Listening(number, port),
            Ask::Agent(channel) => {
                let path = String::from_utf8(path).ok();
                let path = path.filter(|path| {
                    (1..=MAX_PATH_BYTES).contains(&path.len()) && !path.contains('\0')
                });
                let path = path.ok_or(Broken("the agent's path is out of bounds"))?;
                self.agent = Some((number, path.clone()));
                Outcome::Agent(number, *channel, path)
            }
        };
        let ask = pending.ask;
        self.listening.insert(number, Made { ask, port });
        Ok(Some(outcome))
    }
}

impl Helper {
    /// Paths in the file system that only it removes.
    pub(super) fn paths(&self) -> Vec<CString> {
        let agent = self.agent.iter().map(|(_, path)| path.clone().into_bytes());
        let listening = self.listening.values().filter_map(|made| match &made.ask {
            Ask::Listen(Endpoint::Unix { path }) => Some(path.clone()),
            Ask::Listen(Endpoint::Tcp { .. }) | Ask::Connect(_) | Ask::Agent(_) => None,
        });
        let paths = agent.chain(listening).map(CString::new);
        paths.filter_map(Result::ok).collect()
    }
}

fn expect_none(fds: &[OwnedFd]) -> Result<(), Broken> {
    let none = fds.is_empty();
    none.then_some(())
        .ok_or(Broken("it sent a descriptor that was not expected"))
}

/// The one descriptor, if it is a stream socket of a family that forwards have, and no listener.
fn stream_socket(fds: Vec<OwnedFd>) -> Result<OwnedFd, Broken> {
    const OTHER: Broken = Broken("it did not send one stream socket");
    let [socket] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| OTHER)?;
    let stream = getsockopt(&socket, sockopt::SockType) == Ok(SockType::Stream);
    let listens = getsockopt(&socket, sockopt::AcceptConn) != Ok(false);
    let name = getsockname::<SockaddrStorage>(socket.as_raw_fd());
    let family = name.ok().and_then(|name| name.family());
    let known = matches!(
        family,
        Some(AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix)
    );
    if stream && known && !listens {
        Ok(socket)
    } else {
        Err(OTHER)
    }
}

/// Whether a socket is of the kind that was asked for, to the port that was asked for. What a name
/// means, the user's look-up says. A socket without a peer has been closed by it already.
fn leads_to(socket: &OwnedFd, target: &Endpoint) -> bool {
    let Ok(peer) = getpeername::<SockaddrStorage>(socket.as_raw_fd()) else {
        return true;
    };
    let port = peer
        .as_sockaddr_in()
        .map(|v4| v4.port())
        .or_else(|| peer.as_sockaddr_in6().map(|v6| v6.port()));
    match target {
        Endpoint::Tcp { port: asked, .. } => port == Some(*asked),
        Endpoint::Unix { .. } => peer.family() == Some(AddressFamily::Unix),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use meshd_contract::wire;

    use super::*;
    use crate::process;

    #[test]
    fn only_one_stream_socket_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).expect("connects");
        let (a, b) = UnixStream::pair().expect("a pair");
        assert!(stream_socket(vec![stream.into()]).is_ok());
        assert!(stream_socket(vec![a.into()]).is_ok());
        assert!(stream_socket(vec![listener.into()]).is_err());
        assert!(stream_socket(Vec::new()).is_err());
        assert!(stream_socket(vec![b.try_clone().expect("two").into(), b.into()]).is_err());
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        assert!(stream_socket(vec![datagrams.into()]).is_err());
        let (packets, _) = wire::pair().expect("a pair");
        assert!(stream_socket(vec![packets]).is_err());
        let file = process::null().expect("opens");
        assert!(stream_socket(vec![file.into()]).is_err());
    }

    #[test]
    fn a_socket_to_another_port_is_not_the_one_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let stream: OwnedFd = TcpStream::connect(("127.0.0.1", port))
            .expect("connects")
            .into();
        let target = |port| Endpoint::Tcp {
            host: "localhost".to_owned(),
            port,
        };
        assert!(leads_to(&stream, &target(port)));
        assert!(!leads_to(&stream, &target(port.wrapping_add(1))));
        let path = b"/run/x".to_vec();
        assert!(!leads_to(&stream, &Endpoint::Unix { path }));
    }
}
