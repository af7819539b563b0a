//! What a person names at the command line: a node, by name, number, address or user.

use std::net::IpAddr;

use meshd_contract::identity::{NodeId, Owner};
use serde::Serialize;
use thiserror::Error;

use crate::mesh::Mesh;
use crate::topology::Node;

/// A node as results name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeLabel {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: NodeId,
    /// A user, or tags.
    pub owner: Owner,
}

impl NodeLabel {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            name: node.name.to_string(),
            id: node.id,
            owner: node.owner.clone(),
        }
    }
}

impl std::fmt::Display for NodeLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.owner)
    }
}

/// Why a word names no node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Nothing of this name.
    #[error("{0:?} is no node of this mesh: write a node's name, number or address, or a user")]
    Unknown(String),
    /// A user with several nodes.
    #[error("{user} has several nodes: write one of {}", nodes.join(", "))]
    Several {
        /// The user.
        user: String,
        /// The names of its nodes.
        nodes: Vec<String>,
    },
}

/// A node, or an address that no node has.
pub(crate) enum Target<'a> {
    Node(&'a Node),
    Address(IpAddr),
}

pub(crate) fn find<'a>(mesh: &'a Mesh, word: &str) -> Result<Target<'a>, EndpointError> {
    if let Ok(address) = word.parse::<IpAddr>() {
        let address = address.to_canonical();
        let node = mesh.slot_at(address).and_then(|slot| mesh.node(slot));
        return Ok(node.map_or(Target::Address(address), Target::Node));
    }
    let named = mesh.iter().map(|(_, node)| node);
    let mut named = named.filter(|node| node.name.as_str() == word);
    if let Some(node) = named.next() {
        return Ok(Target::Node(node));
    }
    let numbered = word.parse().ok().and_then(|id| mesh.slot(id));
    if let Some(node) = numbered.and_then(|slot| mesh.node(slot)) {
        return Ok(Target::Node(node));
    }
    let own: Vec<&Node> = mesh
        .slots_of_user(word)
        .filter_map(|slot| mesh.node(slot))
        .collect();
    match own.as_slice() {
        [] => Err(EndpointError::Unknown(word.to_owned())),
        [node] => Ok(Target::Node(node)),
        several => Err(EndpointError::Several {
            user: word.to_owned(),
            nodes: several.iter().map(|node| node.name.to_string()).collect(),
        }),
    }
}
