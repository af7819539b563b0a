//! The peer document: all that the worker needs to decide a login.
//!
//! It names only the peers that some SSH rule of this node names, so that what root verifies at
//! each login stays small in a mesh of any size.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::MeshAddresses;
use crate::document::{Document, Header, Version};
use crate::identity::{NodeId, NodeName, Owner};
use crate::key::WireGuardKey;
use crate::ssh_rule::SshRule;
use crate::time::Timestamp;

/// The peers of one node that its SSH rules name, and these rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerDocument {
    /// For whom, which one, how long.
    pub header: Header,
    /// The node's own name.
    pub name: NodeName,
    /// The node's own addresses.
    pub addresses: MeshAddresses,
    /// Every peer that a rule names.
    pub peers: Vec<Peer>,
    /// In the order in which they decide.
    pub rules: Vec<SshRule>,
}

/// A peer, and what proves that a packet is its.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its addresses; no other peer has them.
    pub addresses: MeshAddresses,
    /// The key that WireGuard must have bound these addresses to.
    pub wireguard_key: WireGuardKey,
    /// Whom it belongs to.
    pub owner: Owner,
    /// From this second on it is nobody's peer; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expires_at: Option<Timestamp>,
    /// The number of the newest approval that was taken back, with all before it: grants by them
    /// open nothing. 0 where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checks_after: Version,
}

fn is_zero(version: &Version) -> bool {
    *version == Version(0)
}

impl Document for PeerDocument {
    const KIND: &'static str = "peers";

    fn header(&self) -> &Header {
        &self.header
    }
}

impl PeerDocument {
    /// The one peer with this address; none when there is none, or more than one.
    #[must_use]
    pub fn peer_at(&self, address: IpAddr) -> Option<&Peer> {
        let mut found = self
            .peers
            .iter()
            .filter(|peer| peer.addresses.contains(address));
        let peer = found.next()?;
        found.next().is_none().then_some(peer)
    }
}

impl Peer {
    /// Whether its key still counts at `now`.
    #[must_use]
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.key_expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn document() -> PeerDocument {
        PeerDocument {
            header: Header {
                node: NodeId(1),
                version: Version(5),
                issued_at: Timestamp(50),
                expires_at: Timestamp(200),
            },
            name: "web1".parse().expect("a name"),
            addresses: addresses(1),
            peers: vec![peer(2)],
            rules: Vec::new(),
        }
    }

    fn addresses(n: u8) -> MeshAddresses {
        MeshAddresses {
            v4: [100, 64, 0, n].into(),
            v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(n)].into(),
        }
    }

    fn peer(n: u8) -> Peer {
        Peer {
            node: NodeId(n.into()),
            name: format!("peer{n}").parse().expect("a name"),
            addresses: addresses(n),
            wireguard_key: WireGuardKey([n; 32]),
            owner: Owner::User("alice@example.com".to_owned()),
            key_expires_at: None,
            checks_after: Version(0),
        }
    }

    #[test]
    fn a_peer_is_found_by_either_address() {
        let document = document();
        assert_eq!(
            document.peer_at(addresses(2).v4.into()),
            document.peers.first()
        );
        assert_eq!(
            document.peer_at(addresses(2).v6.into()),
            document.peers.first()
        );
        assert_eq!(document.peer_at(addresses(3).v4.into()), None);
    }

    #[test]
    fn an_address_of_two_peers_is_nobodys() {
        let mut document = document();
        document.peers.push(Peer {
            node: NodeId(3),
            ..peer(2)
        });
        assert_eq!(document.peer_at(addresses(2).v4.into()), None);
    }

    #[test]
    fn that_nothing_was_taken_back_is_not_written() {
        let text = serde_json::to_string(&document()).expect("writes");
        assert!(!text.contains("checks_after"), "{text}");
        assert_eq!(
            serde_json::from_str::<PeerDocument>(&text).ok(),
            Some(document())
        );
        let mut newer = document();
        newer.peers[0].checks_after = Version(7);
        let text = serde_json::to_string(&newer).expect("writes");
        assert!(text.contains(r#""checks_after":7"#), "{text}");
    }

    #[test]
    fn a_key_ends_at_its_second() {
        let mut peer = peer(2);
        assert!(peer.is_current(Timestamp(u64::MAX)));
        peer.key_expires_at = Some(Timestamp(10));
        assert!(peer.is_current(Timestamp(9)));
        assert!(!peer.is_current(Timestamp(10)));
    }
}
