//! Answers to questions about the mesh.

use std::collections::HashMap;
use std::net::IpAddr;

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, NodeName};
use meshd_contract::network_document::{NetworkDocument, NetworkPeer};

use super::error::Error;
use super::names::Names;
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
        key_expires_at: document.key_expires_at,
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
            key_expires_at: peer.key_expires_at,
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
