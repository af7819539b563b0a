//! Peers, as the messages about them have them.

use std::net::IpAddr;

use ipnet::IpNet;
use meshd_contract::key::WireGuardKey;
use meshd_contract::time::Timestamp;
use netlink_packet_core::Emitable;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardPeer,
    WireguardPeerAttribute, WireguardPeerFlags,
};

use crate::manager::wireguard::diff::Change;
use crate::manager::wireguard::{PeerState, Peers};

/// The most bytes of peers in one message: one nested attribute holds 64 KiB.
const MAX_MESSAGE_BYTES: usize = 32 << 10;
/// The most allowed addresses in one message's entry of a peer; the rest follows in another.
const MAX_ALLOWED_IPS: usize = 400;

/// Adds what one message says of a peer; a peer with many addresses comes in several.
pub(super) fn merge(peers: &mut Peers, part: WireguardPeer) {
    let key = part.0.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(WireGuardKey(*key)),
        _ => None,
    });
    let Some(key) = key else { return };
    let peer: &mut PeerState = peers.entry(key).or_default();
    for attribute in part.0 {
        match attribute {
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(endpoint),
            WireguardPeerAttribute::RxBytes(bytes) => peer.received = bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.sent = bytes,
            WireguardPeerAttribute::LastHandshake(time) => {
                let seconds = u64::try_from(time.seconds).unwrap_or(0);
                peer.last_handshake = (seconds != 0).then_some(Timestamp(seconds));
            }
            WireguardPeerAttribute::AllowedIps(ips) => {
                peer.allowed_ips.extend(ips.iter().filter_map(network));
            }
            _ => {}
        }
    }
}

fn network(allowed: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut length) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

/// The entries of one change; more than one where a peer has more addresses than a message holds.
pub(super) fn entries(change: Change) -> Vec<WireguardPeer> {
    type Attribute = WireguardPeerAttribute;
    match change {
        Change::Remove { key } => vec![WireguardPeer(vec![
            Attribute::PublicKey(key.0),
            Attribute::Flags(WireguardPeerFlags::RemoveMe),
        ])],
        Change::Add {
            key,
            allowed_ips,
            endpoint,
        } => {
            let flags = WireguardPeerFlags::ReplaceAllowedIps;
            peer_entries(key, flags, endpoint.map(Attribute::Endpoint), &allowed_ips)
        }
        Change::Update {
            key,
            allowed_ips,
            endpoint,
        } => {
            let mut flags = WireguardPeerFlags::UpdateOnly;
            if allowed_ips.is_some() {
                flags |= WireguardPeerFlags::ReplaceAllowedIps;
            }
            let ips = allowed_ips.unwrap_or_default();
            peer_entries(key, flags, endpoint.map(Attribute::Endpoint), &ips)
        }
    }
}

fn peer_entries(
    key: WireGuardKey,
    flags: WireguardPeerFlags,
    endpoint: Option<WireguardPeerAttribute>,
    allowed_ips: &[IpNet],
) -> Vec<WireguardPeer> {
    let mut chunks = allowed_ips.chunks(MAX_ALLOWED_IPS);
    let mut first = vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(flags),
    ];
    first.extend(endpoint);
    first.extend(chunks.next().map(allowed_ips_attribute));
    let rest = chunks.map(|chunk| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(key.0),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            allowed_ips_attribute(chunk),
        ])
    });
    std::iter::once(WireguardPeer(first)).chain(rest).collect()
}

fn allowed_ips_attribute(networks: &[IpNet]) -> WireguardPeerAttribute {
    let entry = |network: &IpNet| {
        let address = network.addr();
        let family = match address {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(address),
            WireguardAllowedIpAttr::Cidr(network.prefix_len()),
        ])
    };
    WireguardPeerAttribute::AllowedIps(networks.iter().map(entry).collect())
}

/// As few messages as hold all entries, in order.
pub(super) fn batches(entries: impl Iterator<Item = WireguardPeer>) -> Vec<Vec<WireguardPeer>> {
    let mut batches = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        let length = entry.0.as_slice().buffer_len() + 4;
        if bytes.saturating_add(length) > MAX_MESSAGE_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(batch) = batches.last_mut() {
            batch.push(entry);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(count: u16) -> Vec<IpNet> {
        let net = |n: u16| {
            let [high, low] = n.to_be_bytes();
            IpNet::from(IpAddr::from([100, 64, high, low]))
        };
        (0..count).map(net).collect()
    }

    fn add(n: u8, ips: u16) -> Change {
        Change::Add {
            key: WireGuardKey([n; 32]),
            allowed_ips: networks(ips),
            endpoint: None,
        }
    }

    #[test]
    fn what_is_sent_is_what_a_dump_shows() {
        let mut peers = Peers::new();
        for entry in entries(add(1, 1000)) {
            merge(&mut peers, entry);
        }
        assert_eq!(peers.len(), 1);
        assert_eq!(peers[&WireGuardKey([1; 32])].allowed_ips, networks(1000));
    }

    #[test]
    fn only_the_first_part_of_a_peer_replaces_its_addresses() {
        let parts = entries(add(1, 1000));
        assert_eq!(parts.len(), 3);
        let flags = |part: &WireguardPeer| {
            part.0.iter().find_map(|attribute| match attribute {
                WireguardPeerAttribute::Flags(flags) => Some(*flags),
                _ => None,
            })
        };
        assert_eq!(
            flags(&parts[0]),
            Some(WireguardPeerFlags::ReplaceAllowedIps)
        );
        assert_eq!(flags(&parts[1]), Some(WireguardPeerFlags::UpdateOnly));
        assert_eq!(flags(&parts[2]), Some(WireguardPeerFlags::UpdateOnly));
    }

    #[test]
    fn messages_stay_below_the_limit_of_an_attribute() {
        let changes = (0..200).map(|n| add(n, 100));
        let batches = batches(changes.flat_map(entries));
        assert!(batches.len() > 1);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 200);
        for batch in batches {
            let bytes: usize = batch
                .iter()
                .map(|entry| entry.0.as_slice().buffer_len())
                .sum();
            assert!(bytes <= MAX_MESSAGE_BYTES, "{bytes}");
        }
    }

    #[test]
    fn an_update_never_creates_a_peer() {
        let parts = entries(Change::Update {
            key: WireGuardKey([1; 32]),
            allowed_ips: None,
            endpoint: Some(([192, 0, 2, 1], 1).into()),
        });
        let update_only = WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly);
        assert!(parts[0].0.contains(&update_only));
    }
}
