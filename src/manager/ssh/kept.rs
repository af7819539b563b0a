//! What an earlier manager has left with the service manager, sorted and looked at.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use meshd_contract::identity::NodeId;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use crate::manager::fd_store::Left;

/// The name of both listeners.
pub(super) const LISTENER: &str = "ssh-listener";

/// The names of a connection's two sockets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Whose the connection is, as the manager that accepted it has seen it.
    pub(super) peer: NodeId,
    /// Which of the peer's.
    pub(super) number: u64,
}

/// Everything that was left and can be used.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) listeners: Vec<OwnedFd>,
    /// Each with the socket to its worker, and with the link if that is still open.
    pub(super) connections: Vec<(Key, OwnedFd, Option<OwnedFd>)>,
    /// Names of what cannot be used.
    pub(super) useless: Vec<String>,
}

impl Key {
    /// One that no other connection has, of this or of an earlier manager.
    pub(super) fn new(peer: NodeId) -> std::io::Result<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        let number = u64::from_be_bytes(bytes);
        Ok(Self { peer, number })
    }

    pub(super) fn worker(&self) -> String {
        self.name("worker")
    }

    pub(super) fn link(&self) -> String {
        self.name("link")
    }

    fn name(&self, role: &str) -> String {
        format!("{role}-{}-{:016x}", self.peer.0, self.number)
    }

    fn parse(name: &str) -> Option<(&str, Self)> {
        let mut words = name.split('-');
        let (role, peer, number) = (words.next()?, words.next()?, words.next()?);
        let key = Self {
            peer: NodeId(peer.parse().ok()?),
            number: u64::from_str_radix(number, 16).ok()?,
        };
        (words.next().is_none() && key.name(role) == name).then_some((role, key))
    }
}

/// Sorts what was left by its names; what is no socket of the right kind is closed.
pub(super) fn sort(left: Vec<Left>) -> Kept {
    let mut kept = Kept::default();
    let mut links: BTreeMap<Key, OwnedFd> = BTreeMap::new();
    for (name, fd) in left {
        match Key::parse(&name) {
            _ if name == LISTENER => kept.listeners.push(fd),
            Some(("worker", key)) if is_packet_socket(&fd) => {
                kept.connections.push((key, fd, None));
            }
            Some(("link", key)) if is_packet_socket(&fd) => {
                links.insert(key, fd);
            }
            _ => kept.useless.push(name),
        }
    }
    for (key, _, link) in &mut kept.connections {
        *link = links.remove(key);
    }
    // A link without a worker is the end of a connection.
    kept.useless.extend(links.keys().map(Key::link));
    kept
}

fn is_packet_socket(fd: &OwnedFd) -> bool {
    let name: nix::Result<SockaddrStorage> = getsockname(fd.as_raw_fd());
    let is_local = name.is_ok_and(|name| name.family() == Some(AddressFamily::Unix));
    is_local && getsockopt(fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

#[cfg(test)]
mod tests {
    use meshd_contract::wire;

    use super::*;

    fn key(number: u64) -> Key {
        let peer = NodeId(7);
        Key { peer, number }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let key = Key::new(NodeId(7)).expect("random bytes");
        assert_eq!(Key::parse(&key.worker()), Some(("worker", key.clone())));
        assert_eq!(Key::parse(&key.link()), Some(("link", key)));
        for name in [
            "",
            "worker",
            "worker-7-x",
            "worker-07-1",
            "worker-7-1",
            "a:b",
        ] {
            assert_eq!(Key::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_packet_socket_is_not_used() {
        let packets = || wire::pair().expect("a pair").0;
        let file = || OwnedFd::from(tempfile::tempfile().expect("a file"));
        let stream = std::os::unix::net::UnixStream::pair().expect("a pair").0;
        let kept = sort(vec![
            (key(1).worker(), packets()),
            (key(1).link(), packets()),
            (key(2).worker(), packets()),
            (key(3).link(), packets()),
            (key(4).worker(), file()),
            (key(5).worker(), stream.into()),
            (LISTENER.to_owned(), file()),
            ("unknown".to_owned(), packets()),
        ]);
        let found: Vec<_> = kept
            .connections
            .iter()
            .map(|(key, _, link)| (key.number, link.is_some()))
            .collect();
        assert_eq!(found, [(1, true), (2, false)]);
        assert_eq!(kept.listeners.len(), 1);
        let useless = [
            key(4).worker(),
            key(5).worker(),
            "unknown".to_owned(),
            key(3).link(),
        ];
        assert_eq!(kept.useless, useless);
    }
}
