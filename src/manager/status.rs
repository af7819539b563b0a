//! Answers to questions about the mesh.

use std::collections::HashMap;
use std::net::IpAddr;

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, NodeName};
use meshd_contract::network_document::{NetworkDocument, NetworkPeer};

use super::error::Error;
use super::names::Names;
use super::report::host_key;
use super::wireguard::{PeerState, Peers};
use crate::local_api::Node;

/// This node.
#[must_use]
pub fn own_node(document: &NetworkDocument) -> Node {
    Node {
        node: document.header.node,
        name: document.name.clone(),
        owner: document.owner.clone(),
        addresses: document.addresses,
        endpoint: None,
        last_handshake: None,
        received: 0,
        sent: 0,
        ssh_host_keys: 0,
    }
}

/// Its peers, sorted by name.
#[must_use]
pub fn peers(document: &NetworkDocument, peers: &Peers) -> Vec<Node> {
    let nothing = PeerState::default();
    let describe = |peer: &NetworkPeer| {
        let state = peers.get(&peer.wireguard_key).unwrap_or(&nothing);
        Node {
            node: peer.node,
            name: peer.name.clone(),
            owner: peer.owner.clone(),
            addresses: peer.addresses,
            endpoint: state.endpoint,
            last_handshake: state.last_handshake,
            received: state.received,
            sent: state.sent,
            ssh_host_keys: peer.ssh_host_keys.len(),
        }
    };
    let mut nodes: Vec<Node> = document.peers.iter().map(describe).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

/// The names of its peers.
#[must_use]
pub fn peer_names(document: &NetworkDocument) -> HashMap<NodeId, NodeName> {
    let peers = document.peers.iter();
    peers.map(|peer| (peer.node, peer.name.clone())).collect()
}

/// The node with this name or address.
///
/// # Errors
/// [`Error::NoSuchNode`].
pub fn whois(document: &NetworkDocument, states: &Peers, who: &str) -> Result<Node, Error> {
    let mut nodes = peers(document, states);
    nodes.push(own_node(document));
    let wanted = meant(document, who);
    nodes
        .into_iter()
        .find(|node| wanted == Some(node.addresses))
        .ok_or_else(|| Error::NoSuchNode(who.to_owned()))
}

/// Lines of a known-hosts file for every peer, or for the one with this name or address.
#[must_use]
pub fn known_hosts(document: &NetworkDocument, host: Option<&str>) -> Vec<String> {
    let wanted = host.map(|host| meant(document, host));
    let chosen = document
        .peers
        .iter()
        .filter(|peer| wanted.is_none_or(|wanted| wanted == Some(peer.addresses)));
    let lines = |peer: &NetworkPeer| {
        let names = format!(
            "{name},{name}.{domain},{v4},{v6}",
            name = peer.name,
            domain = document.domain,
            v4 = peer.addresses.v4,
            v6 = peer.addresses.v6,
        );
        // A key with a line feed in it would vouch for other hosts.
        let keys = peer.ssh_host_keys.iter().filter_map(|key| host_key(key));
        let line = move |key: String| format!("{names} {key}");
        keys.map(line).collect::<Vec<_>>()
    };
    chosen.flat_map(lines).collect()
}

fn meant(document: &NetworkDocument, who: &str) -> Option<MeshAddresses> {
    if let Ok(address) = who.parse::<IpAddr>() {
        let peers = document.peers.iter().map(|peer| peer.addresses);
        let mut all = peers.chain([document.addresses]);
        return all.find(|addresses| addresses.contains(address));
    }
    Names::from_document(document).addresses_of(who)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::names::tests::document;

    fn with_key() -> NetworkDocument {
        let mut document = document();
        document.peers[0].ssh_host_keys = vec!["ssh-ed25519 AAAA".to_owned()];
        document
    }

    const LINE: &str = "laptop,laptop.mesh.internal,100.64.0.2,fd7a:115c:a1e0::2 ssh-ed25519 AAAA";

    #[test]
    fn known_hosts_has_exactly_the_names_and_addresses_of_a_peer() {
        let document = with_key();
        assert_eq!(known_hosts(&document, None), [LINE]);
        for host in [
            "laptop",
            "LAPTOP.mesh.internal",
            "100.64.0.2",
            "fd7a:115c:a1e0::2",
        ] {
            assert_eq!(known_hosts(&document, Some(host)), [LINE], "{host}");
        }
        for host in [
            "example.com",
            "192.0.2.1",
            "laptop.example.com",
            "[laptop]:2222",
            "",
        ] {
            assert!(known_hosts(&document, Some(host)).is_empty(), "{host}");
        }
    }

    #[test]
    fn a_key_vouches_for_no_other_host() {
        let mut document = with_key();
        let key = "ssh-ed25519 AAAA\nbank.example.com ssh-ed25519 BBBB".to_owned();
        document.peers[0].ssh_host_keys = vec![key];
        assert_eq!(known_hosts(&document, None), [LINE]);
    }

    #[test]
    fn whois_knows_this_node_too() {
        let document = document();
        let name =
            |who: &str| whois(&document, &Peers::new(), who).map(|node| node.name.to_string());
        assert_eq!(name("web1").expect("is known"), "web1");
        assert_eq!(name("100.64.0.1").expect("is known"), "web1");
        assert_eq!(name("fd7a:115c:a1e0::2").expect("is known"), "laptop");
        assert!(name("nobody").is_err());
    }
}
