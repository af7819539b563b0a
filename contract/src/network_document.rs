//! The network document: what the manager needs for WireGuard, nftables, names and host keys.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::MeshAddresses;
use crate::document::{Document, Header};
use crate::filter::FilterRule;
use crate::identity::{NodeId, NodeName, Owner};
use crate::key::WireGuardKey;
use crate::time::Timestamp;

/// All peers of one node, and what the network lets in from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDocument {
    /// For whom, which one, how long.
    pub header: Header,
    /// The domain under which node names are resolved, such as `mesh.internal`; no final dot.
    pub domain: String,
    /// The node's own name.
    pub name: NodeName,
    /// The node's own addresses.
    pub addresses: MeshAddresses,
    /// Whom the node belongs to.
    pub owner: Owner,
    /// Every node that this one may reach or that may reach it.
    pub peers: Vec<NetworkPeer>,
    /// What may enter this node from the mesh.
    pub filter: Vec<FilterRule>,
    /// From this second on the node is nobody's peer; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expires_at: Option<Timestamp>,
}

/// A peer as WireGuard and the resolver see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPeer {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its addresses.
    pub addresses: MeshAddresses,
    /// Its WireGuard key.
    pub wireguard_key: WireGuardKey,
    /// Where it may be reached, the most promising first.
    pub endpoints: Vec<SocketAddr>,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Approved subnet routes behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<IpNet>,
    /// Its SSH host keys in the form of `ssh_host_*_key.pub`, without the comment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_host_keys: Vec<String>,
    /// From this second on it is nobody's peer; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expires_at: Option<Timestamp>,
}

impl Document for NetworkDocument {
    const KIND: &'static str = "network";

    fn header(&self) -> &Header {
        &self.header
    }
}
