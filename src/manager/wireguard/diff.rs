//! Which peers to change so that a device has the wanted ones.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipnet::IpNet;
use meshd_contract::key::WireGuardKey;
use meshd_contract::network_document::NetworkPeer;
use meshd_contract::time::Timestamp;

use super::{PeerState, Peers};

/// After this many seconds without a handshake a session is dead (the WireGuard paper, section
/// 6.1, Reject-After-Time).
pub const SESSION_SECONDS: u64 = 180;

/// A peer as the device shall have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPeer {
    /// Its key.
    pub key: WireGuardKey,
    /// The addresses that are its own, sorted.
    pub allowed_ips: Vec<IpNet>,
    /// Where it may be reached, the most promising first.
    pub endpoints: Vec<SocketAddr>,
}

impl WantedPeer {
    /// The peer of a network document.
    #[must_use]
    pub fn from_document(peer: &NetworkPeer) -> Self {
        let mut allowed_ips: Vec<IpNet> =
            peer.addresses.both().into_iter().map(IpNet::from).collect();
        allowed_ips.extend(&peer.routes);
        allowed_ips.sort();
        allowed_ips.dedup();
        Self {
            key: peer.wireguard_key,
            allowed_ips,
            endpoints: peer.endpoints.clone(),
        }
    }
}

/// One change of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A peer that is not there yet.
    Add {
        /// Its key.
        key: WireGuardKey,
        /// The addresses that are its own.
        allowed_ips: Vec<IpNet>,
        /// Where to reach it first.
        endpoint: Option<SocketAddr>,
    },
    /// A peer that is there; its sessions go on.
    Update {
        /// Its key.
        key: WireGuardKey,
        /// New addresses in place of the old.
        allowed_ips: Option<Vec<IpNet>>,
        /// A new endpoint in place of the old.
        endpoint: Option<SocketAddr>,
    },
    /// A peer that shall not be there.
    Remove {
        /// Its key.
        key: WireGuardKey,
    },
}

/// The changes from what a device has to what it shall have.
///
/// Removals come first: an address that moves from one peer to another must not be taken from the
/// new owner again.
#[must_use]
pub fn diff(current: &Peers, wanted: &[WantedPeer], now: Timestamp) -> Vec<Change> {
    let keys: BTreeSet<WireGuardKey> = wanted.iter().map(|peer| peer.key).collect();
    let removed = current.keys().filter(|key| !keys.contains(key));
    let mut changes: Vec<Change> = removed.map(|key| Change::Remove { key: *key }).collect();
    for peer in wanted {
        changes.extend(match current.get(&peer.key) {
            None => Some(added(peer)),
            Some(state) => updated(state, peer, now),
        });
    }
    changes
}

fn added(peer: &WantedPeer) -> Change {
    Change::Add {
        key: peer.key,
        allowed_ips: peer.allowed_ips.clone(),
        endpoint: peer.endpoints.first().copied(),
    }
}

fn updated(state: &PeerState, peer: &WantedPeer, now: Timestamp) -> Option<Change> {
    let allowed_ips = (state.allowed_ips != peer.allowed_ips).then(|| peer.allowed_ips.clone());
    let endpoint = if keeps_endpoint(state, peer, now) {
        None
    } else {
        peer.endpoints.first().copied()
    };
    (allowed_ips.is_some() || endpoint.is_some()).then_some(Change::Update {
        key: peer.key,
        allowed_ips,
        endpoint,
    })
}

/// An endpoint that works, or that control still names, is better than any other guess: WireGuard
/// itself learns it from the peer's authenticated packets.
fn keeps_endpoint(state: &PeerState, peer: &WantedPeer, now: Timestamp) -> bool {
    let listed = state
        .endpoint
        .is_some_and(|endpoint| peer.endpoints.contains(&endpoint));
    listed || (state.endpoint.is_some() && is_alive(state, now))
}

fn is_alive(state: &PeerState, now: Timestamp) -> bool {
    state
        .last_handshake
        .is_some_and(|at| now < at.plus(SESSION_SECONDS))
}

/// The endpoint to try next for a peer: where this host has no way to the present one any more, the
/// first that it has one to; where the peer was sent something since `before` and has not answered,
/// the one after the present one. None where it is alive, idle, or has no other.
#[must_use]
pub fn next_endpoint(
    before: &PeerState,
    state: &PeerState,
    endpoints: &[SocketAddr],
    mut has_way: impl FnMut(SocketAddr) -> bool,
    now: Timestamp,
) -> Option<SocketAddr> {
    let present = state.endpoint;
    if endpoints.is_empty() || (endpoints.len() == 1 && present == endpoints.first().copied()) {
        return None;
    }
    // What cannot be sent is not counted as sent.
    if present.is_some_and(|endpoint| !has_way(endpoint)) {
        return endpoints.iter().copied().find(|other| has_way(*other));
    }
    if is_alive(state, now) || state.sent <= before.sent {
        return None;
    }
    let position = present.and_then(|present| endpoints.iter().position(|one| *one == present));
    let (tried, next) = endpoints.split_at(position.map_or(0, |position| position + 1));
    let mut others = next.iter().chain(tried).copied();
    others.find(|other| Some(*other) != present && has_way(*other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(10_000);

    fn endpoint(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn net(n: u8) -> IpNet {
        IpNet::from(std::net::IpAddr::from([100, 64, 0, n]))
    }

    fn wanted(n: u8, ips: &[u8], endpoints: &[u16]) -> WantedPeer {
        WantedPeer {
            key: WireGuardKey([n; 32]),
            allowed_ips: ips.iter().copied().map(net).collect(),
            endpoints: endpoints.iter().copied().map(endpoint).collect(),
        }
    }

    fn state(ips: &[u8], at: Option<u16>, handshake: Option<u64>) -> PeerState {
        PeerState {
            endpoint: at.map(endpoint),
            allowed_ips: ips.iter().copied().map(net).collect(),
            last_handshake: handshake.map(Timestamp),
            ..PeerState::default()
        }
    }

    fn carry_out(peers: &mut Peers, changes: &[Change]) {
        for change in changes.iter().cloned() {
            match change {
                Change::Add {
                    key,
                    allowed_ips,
                    endpoint,
                } => {
                    let state = PeerState {
                        endpoint,
                        allowed_ips,
                        ..PeerState::default()
                    };
                    assert!(peers.insert(key, state).is_none(), "added twice");
                }
                Change::Update {
                    key,
                    allowed_ips,
                    endpoint,
                } => {
                    let state = peers.get_mut(&key).expect("updated, so it is there");
                    state.allowed_ips = allowed_ips.unwrap_or(state.allowed_ips.clone());
                    state.endpoint = endpoint.or(state.endpoint);
                }
                Change::Remove { key } => {
                    assert!(peers.remove(&key).is_some(), "removed twice");
                }
            }
        }
    }

    #[test]
    fn an_unchanged_peer_is_not_touched() {
        let current = Peers::from([(WireGuardKey([1; 32]), state(&[1], Some(1), None))]);
        assert_eq!(diff(&current, &[wanted(1, &[1], &[1, 2])], NOW), []);
    }

    #[test]
    fn a_roamed_endpoint_stays_while_the_session_lives() {
        let key = WireGuardKey([1; 32]);
        let wanted = [wanted(1, &[1], &[1])];
        let alive = Peers::from([(key, state(&[1], Some(9), Some(NOW.0 - 10)))]);
        assert_eq!(diff(&alive, &wanted, NOW), []);
        let dead = Peers::from([(key, state(&[1], Some(9), Some(NOW.0 - SESSION_SECONDS)))]);
        let change = Change::Update {
            key,
            allowed_ips: None,
            endpoint: Some(endpoint(1)),
        };
        assert_eq!(diff(&dead, &wanted, NOW), [change]);
    }

    #[test]
    fn an_address_leaves_its_old_owner_first() {
        let current = Peers::from([(WireGuardKey([2; 32]), state(&[1], None, None))]);
        let changes = diff(&current, &[wanted(1, &[1], &[])], NOW);
        assert!(matches!(
            changes[..],
            [Change::Remove { .. }, Change::Add { .. }]
        ));
    }

    #[test]
    fn a_silent_peer_is_tried_at_its_next_endpoint() {
        let endpoints = [endpoint(1), endpoint(2)];
        let next = |before: &PeerState, after: &PeerState| {
            next_endpoint(before, after, &endpoints, |_| true, NOW)
        };
        let before = state(&[1], Some(1), None);
        let mut after = before.clone();
        assert_eq!(next(&before, &after), None);
        after.sent = 148;
        assert_eq!(next(&before, &after), Some(endpoint(2)));
        after.endpoint = Some(endpoint(2));
        assert_eq!(next(&before, &after), Some(endpoint(1)));
        after.last_handshake = Some(NOW);
        assert_eq!(next(&before, &after), None);
    }

    #[test]
    fn an_endpoint_that_this_host_has_no_way_to_is_left_at_once() {
        let endpoints = [endpoint(1), endpoint(2), endpoint(3)];
        let alive = state(&[1], Some(1), Some(NOW.0));
        let next = |lost: &[u16]| {
            let has_way = |one: SocketAddr| !lost.contains(&one.port());
            next_endpoint(&alive, &alive, &endpoints, has_way, NOW)
        };
        assert_eq!(next(&[]), None);
        assert_eq!(next(&[2]), None);
        assert_eq!(next(&[1]), Some(endpoint(2)));
        assert_eq!(next(&[1, 2]), Some(endpoint(3)));
        assert_eq!(next(&[1, 2, 3]), None);
    }

    fn any_peers() -> impl Strategy<Value = Vec<WantedPeer>> {
        proptest::collection::btree_map(0u8..6, (0u8..4, 0u16..3), 0..6).prop_map(|peers| {
            let build = |(n, (ip, port))| wanted(n, &[ip + 10 * n], &[port]);
            peers.into_iter().map(build).collect()
        })
    }

    proptest! {
        #[test]
        fn the_changes_lead_to_the_wanted_peers_and_then_end(from in any_peers(), to in any_peers()) {
            let mut peers = Peers::new();
            carry_out(&mut peers, &diff(&Peers::new(), &from, NOW));
            let changes = diff(&peers, &to, NOW);
            carry_out(&mut peers, &changes);
            let keys: Vec<_> = to.iter().map(|peer| peer.key).collect();
            prop_assert_eq!(peers.keys().copied().collect::<Vec<_>>(), keys);
            prop_assert_eq!(diff(&peers, &to, NOW), []);
        }
    }
}
