//! What stands in the documents of one node. Pure: neither clock nor version nor signature.

use std::collections::{BTreeMap, BTreeSet};

use meshd_contract::document::{Header, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::network_document::{NetworkDocument, NetworkPeer};
use meshd_contract::peer_document::{Peer, PeerDocument};
use meshd_contract::time::Timestamp;

use crate::farewell::LAST_WORDS;
use crate::store::NodeRow;

pub(crate) use meshd_policy::NodeView as View;

/// Every node of the mesh by its number.
pub(crate) type Nodes = BTreeMap<NodeId, NodeRow>;

/// A document that lacks its peers, and who they are.
///
/// Most rounds change nothing for most nodes. Whether one does shows without writing out the
/// peers, which are by far the greatest part.
#[derive(Debug, Clone)]
pub(crate) struct Outline<'a, D> {
    /// Without version, times and peers.
    pub(crate) document: D,
    /// Its peers, by number.
    pub(crate) peers: Vec<&'a NodeRow>,
}

/// The peer document of `node`.
///
/// Its peers are those that a rule names, whether or not the network lets them in: the worker
/// decides by rules, and the network by its own.
pub(crate) fn peer_document<'a>(
    node: &NodeRow,
    view: &View,
    nodes: &'a Nodes,
) -> Outline<'a, PeerDocument> {
    let named: BTreeSet<NodeId> = view
        .ssh_rules
        .iter()
        .flat_map(|rule| rule.principals.iter().copied())
        .collect();
    let document = PeerDocument {
        header: unversioned(node.id),
        name: node.name.clone(),
        addresses: node.slot.addresses(),
        peers: Vec::new(),
        rules: view.ssh_rules.clone(),
    };
    Outline {
        document,
        peers: others(node, &named, nodes),
    }
}

/// The network document of `node`.
pub(crate) fn network_document<'a>(
    node: &NodeRow,
    view: &View,
    nodes: &'a Nodes,
    domain: &str,
) -> Outline<'a, NetworkDocument> {
    let document = NetworkDocument {
        header: unversioned(node.id),
        domain: domain.to_owned(),
        name: node.name.clone(),
        addresses: node.slot.addresses(),
        owner: node.owner.clone(),
        peers: Vec::new(),
        filter: view.filter.clone(),
        key_expires_at: node.key_expires_at,
    };
    Outline {
        document,
        peers: others(node, &view.peers, nodes),
    }
}

/// The header before a version is given; only the node stands in it.
fn unversioned(node: NodeId) -> Header {
    Header {
        node,
        version: Version(0),
        issued_at: Timestamp(0),
        expires_at: Timestamp(0),
    }
}

fn others<'a>(node: &NodeRow, ids: &BTreeSet<NodeId>, nodes: &'a Nodes) -> Vec<&'a NodeRow> {
    ids.iter()
        .filter(|id| **id != node.id)
        .filter_map(|id| nodes.get(id))
        .collect()
}

/// How a node stands in the peer documents of others.
pub(crate) fn peer(node: &NodeRow) -> Peer {
    Peer {
        node: node.id,
        name: node.name.clone(),
        addresses: node.slot.addresses(),
        wireguard_key: node.wireguard_key,
        owner: node.owner.clone(),
        key_expires_at: node.key_expires_at,
        checks_after: node.checks_after,
    }
}

/// How a node stands in the network documents of others: for a moment longer than its rights, so
/// that a session which ends can say why.
pub(crate) fn network_peer(node: &NodeRow) -> NetworkPeer {
    NetworkPeer {
        node: node.id,
        name: node.name.clone(),
        addresses: node.slot.addresses(),
        wireguard_key: node.wireguard_key,
        endpoints: node.endpoints.clone(),
        owner: node.owner.clone(),
        routes: Vec::new(),
        ssh_host_keys: node.ssh_host_keys.clone(),
        key_expires_at: node.key_expires_at.map(|at| at.plus(LAST_WORDS)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use meshd_contract::identity::Owner;
    use meshd_contract::key::{PrivateKey, WireGuardKey};
    use meshd_contract::ssh_rule::{Action, Logins, Rights, SshRule};

    use super::*;
    use crate::address_pool::Slot;

    pub(crate) fn node(n: u8) -> NodeRow {
        NodeRow {
            id: NodeId(n.into()),
            name: format!("node{n}").parse().expect("a name"),
            node_key: PrivateKey::from_seed(&[n; 32]).public(),
            wireguard_key: WireGuardKey([n; 32]),
            slot: Slot(n.into()),
            owner: Owner::User("alice@example.com".to_owned()),
            ephemeral: false,
            endpoints: Vec::new(),
            ssh_host_keys: Vec::new(),
            release: String::new(),
            created_at: Timestamp(0),
            last_seen: None,
            key_expires_at: None,
            approved: true,
            checks_after: Version(0),
        }
    }

    fn nodes() -> Nodes {
        (1..=4).map(node).map(|node| (node.id, node)).collect()
    }

    fn ids(peers: &[&NodeRow]) -> Vec<u64> {
        peers.iter().map(|peer| peer.id.0).collect()
    }

    fn rule(principals: &[u64]) -> SshRule {
        SshRule {
            origin: "ssh[0]".to_owned(),
            action: Action::Accept,
            principals: principals.iter().copied().map(NodeId).collect(),
            logins: Logins::default(),
            accept_env: Vec::new(),
            rights: Rights::default(),
        }
    }

    #[test]
    fn ssh_peers_and_network_peers_are_different_sets() {
        let view = View {
            ssh_rules: vec![rule(&[2]), rule(&[3, 2])],
            filter: Vec::new(),
            peers: [NodeId(2), NodeId(4)].into(),
        };
        let nodes = nodes();
        let peers = peer_document(&nodes[&NodeId(1)], &view, &nodes);
        assert_eq!(ids(&peers.peers), [2, 3]);
        let network = network_document(&nodes[&NodeId(1)], &view, &nodes, "mesh.internal");
        assert_eq!(ids(&network.peers), [2, 4]);
    }

    #[test]
    fn the_rights_of_a_key_end_before_its_packets() {
        let node = NodeRow {
            key_expires_at: Some(Timestamp(100)),
            ..node(1)
        };
        assert_eq!(peer(&node).key_expires_at, Some(Timestamp(100)));
        assert_eq!(network_peer(&node).key_expires_at, Some(Timestamp(102)));
    }

    #[test]
    fn a_node_is_not_its_own_peer_and_a_missing_node_is_nobodys() {
        let view = View {
            ssh_rules: vec![rule(&[1, 9])],
            filter: Vec::new(),
            peers: [NodeId(1), NodeId(9)].into(),
        };
        let nodes = nodes();
        let node = &nodes[&NodeId(1)];
        assert!(peer_document(node, &view, &nodes).peers.is_empty());
        let network = network_document(node, &view, &nodes, "mesh.internal");
        assert!(network.peers.is_empty());
    }
}
