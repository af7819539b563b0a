//! Sockets that listen, and what they leave in the file system.

use std::ffi::OsStr;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use meshd_contract::forward::Origin;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockaddrLike, SockaddrStorage, UnixAddr, accept4, bind,
    getpeername, getsockname, listen, setsockopt, sockopt,
};
use nix::sys::stat::{Mode, umask};

use super::connecting::stream;
use crate::left;

/// As sshd has it.
const BACKLOG: i32 = 128;

/// Only the user connects to a Unix socket.
const UNIX_UMASK: Mode = Mode::from_bits_truncate(0o177);

/// What listens, under one number.
pub(super) struct Listener {
    sockets: Vec<OwnedFd>,
    port: u16,
    left: Option<Left>,
    agent: bool,
}

/// What is removed at the end.
struct Left {
    path: PathBuf,
    /// Device and number of the file: another one of the same name stays.
    file: (u64, u64),
    directory: Option<PathBuf>,
}

impl Listener {
    /// Listens at a TCP port of the named address, if `anywhere` is, else of the loopback.
    ///
    /// # Errors
    /// The kernel's for the last address, when none could be had.
    pub(super) fn tcp(host: &str, port: u16, anywhere: bool) -> nix::Result<Self> {
        let (mut sockets, mut port) = (Vec::new(), port);
        let mut refused = Errno::EADDRNOTAVAIL;
        for address in addresses(host, anywhere)? {
            match listen_tcp(SocketAddr::new(address, port)) {
                Ok((socket, bound)) => {
                    // What any port is, the first address decides.
                    port = bound;
                    sockets.push(socket);
                }
                Err(errno) => refused = errno,
            }
        }
        if sockets.is_empty() {
            return Err(refused);
        }
        Ok(Self {
            sockets,
            port,
            left: None,
            agent: false,
        })
    }

    /// Listens at a path that is not there yet, or where nobody listens any more.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn unix(path: &[u8]) -> nix::Result<Self> {
        let path = Path::new(OsStr::from_bytes(path));
        let listening = listen_unix(path).or_else(|errno| {
            if errno != Errno::EADDRINUSE || !left::is_left(path) {
                return Err(errno);
            }
            left::remove(path);
            listen_unix(path)
        });
        let (socket, left) = listening?;
        Ok(Self {
            sockets: vec![socket],
            port: 0,
            left: Some(left),
            agent: false,
        })
    }

    /// Listens in a new directory that only the user enters.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn agent() -> nix::Result<Self> {
        let directory = new_directory()?;
        match listen_unix(&directory.join(format!("agent.{}", std::process::id()))) {
            Ok((socket, left)) => Ok(Self {
                sockets: vec![socket],
                port: 0,
                left: Some(Left {
                    directory: Some(directory),
                    ..left
                }),
                agent: true,
            }),
            Err(errno) => {
                let _ = fs::remove_dir(directory);
                Err(errno)
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where the agent's socket is; empty for others.
    pub(super) fn agent_path(&self) -> Vec<u8> {
        let left = self.left.as_ref().filter(|_| self.agent);
        left.map_or_else(Vec::new, |left| left.path.as_os_str().as_bytes().to_vec())
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// The next connection, if there is one.
    ///
    /// # Errors
    /// The kernel's, when there is no room for one.
    pub(super) fn accept(&self) -> nix::Result<Option<(OwnedFd, Origin)>> {
        for listening in &self.sockets {
            match accept_one(listening) {
                Ok(socket) => {
                    let _ = setsockopt(&socket, sockopt::TcpNoDelay, &true);
                    let origin = origin(&socket);
                    return Ok(Some((socket, origin)));
                }
                Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)) => {
                    return Err(errno);
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(left) = &self.left else {
            return;
        };
        if identity(&left.path) == Some(left.file) {
            let _ = fs::remove_file(&left.path);
        }
        if let Some(directory) = &left.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Where a client's request listens. By default at the loopback whatever it names, as sshd without
/// GatewayPorts.
fn addresses(host: &str, anywhere: bool) -> nix::Result<Vec<IpAddr>> {
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let named = host.parse::<IpAddr>().ok();
    match (named, anywhere) {
        (Some(address), _) if anywhere || loopback.contains(&address) => Ok(vec![address]),
        (_, true) if host.is_empty() || host == "*" => Ok(vec![
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ]),
        (_, true) if host != "localhost" => Err(Errno::EADDRNOTAVAIL),
        _ => Ok(loopback.to_vec()),
    }
}

fn listen_tcp(address: SocketAddr) -> nix::Result<(OwnedFd, u16)> {
    let socket = match address {
        SocketAddr::V4(_) => stream(AddressFamily::Inet)?,
        SocketAddr::V6(_) => {
            let socket = stream(AddressFamily::Inet6)?;
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            socket
        }
    };
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    let bound = getsockname::<SockaddrStorage>(socket.as_raw_fd())?;
    let port = inet(&bound).map_or(address.port(), |bound| bound.port());
    Ok((socket, port))
}

fn listen_unix(path: &Path) -> nix::Result<(OwnedFd, Left)> {
    let socket = stream(AddressFamily::Unix)?;
    let before = umask(UNIX_UMASK);
    let bound = UnixAddr::new(path).and_then(|address| bind(socket.as_raw_fd(), &address));
    umask(before);
    bound?;
    let left = Left {
        path: path.to_owned(),
        file: identity(path).ok_or(Errno::ENOENT)?,
        directory: None,
    };
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok((socket, left))
}

/// A directory that was not there before, for the user alone.
fn new_directory() -> nix::Result<PathBuf> {
    loop {
        let random = RandomState::new().build_hasher().finish();
        let path = left::agent_directory(random);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let raw = error.raw_os_error();
                return Err(raw.map_or(Errno::EIO, Errno::from_raw));
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

#[allow(unsafe_code, reason = "a new descriptor comes as a number")]
fn accept_one(listening: &OwnedFd) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let raw = accept4(listening.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn origin(socket: &OwnedFd) -> Origin {
    let peer = getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok();
    match peer.as_ref().and_then(inet) {
        Some(peer) => Origin {
            address: peer.ip().to_string(),
            port: peer.port(),
        },
        None => Origin {
            address: String::new(),
            port: 0,
        },
    }
}

fn inet(address: &SockaddrStorage) -> Option<SocketAddr> {
    match address.family()? {
        AddressFamily::Inet => address
            .as_sockaddr_in()
            .map(|v4| SocketAddr::new(v4.ip().into(), v4.port())),
        AddressFamily::Inet6 => address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::new(v6.ip().into(), v6.port())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_all_there_is_unless_root_says_otherwise() {
        let loopback: Vec<IpAddr> = vec![
            "127.0.0.1".parse().expect("an address"),
            "::1".parse().expect("an address"),
        ];
        for host in ["", "*", "localhost", "0.0.0.0", "::", "10.0.0.1", "web1"] {
            assert_eq!(addresses(host, false), Ok(loopback.clone()), "{host}");
        }
        assert_eq!(addresses("127.0.0.1", false), Ok(loopback[..1].to_vec()));
        assert_eq!(addresses("::1", true), Ok(loopback[1..].to_vec()));
        assert_eq!(addresses("localhost", true), Ok(loopback));
        let any = addresses("*", true).expect("addresses");
        assert!(any.iter().all(IpAddr::is_unspecified));
        assert_eq!(addresses("web1", true), Err(Errno::EADDRNOTAVAIL));
    }

    #[test]
    fn any_port_is_the_same_for_both_addresses() {
        let listener = Listener::tcp("localhost", 0, false).expect("listens");
        assert_ne!(listener.port(), 0);
        for socket in listener.sources() {
            let bound = getsockname::<SockaddrStorage>(socket.as_raw_fd()).expect("a name");
            assert_eq!(inet(&bound).map(|a| a.port()), Some(listener.port()));
        }
    }
}
