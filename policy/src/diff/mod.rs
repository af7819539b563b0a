//! Who gains and who loses which access when one policy replaces another.

mod cut;
mod display;
mod network;
mod ssh;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use meshd_contract::address::AddressRange;
use meshd_contract::filter::PortRange;
use serde::Serialize;
use thiserror::Error;

use crate::endpoint::NodeLabel;
use crate::explain::SshOutcome;
use crate::policy::Policy;
use crate::problem::Errors;
use crate::topology::Topology;

pub use cut::{Cut, Loss};

/// Why two policies cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiffError {
    /// The old one cannot be read.
    #[error("the old policy has errors:\n{0}")]
    Old(Errors),
    /// The new one cannot be read.
    #[error("the new policy has errors:\n{0}")]
    New(Errors),
}

/// What changes between two policies on one mesh; empty when every decision stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Logins.
    pub ssh: Vec<SshChange>,
    /// Packets.
    pub network: Vec<NetworkChange>,
}

/// Every source of `sources` changes in the same way for every login at every destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshChange {
    /// Nodes that call.
    pub sources: Vec<NodeLabel>,
    /// Nodes that are called.
    pub destinations: Vec<NodeLabel>,
    /// Accounts.
    pub logins: Vec<LoginClass>,
    /// With the old policy.
    pub before: SshAccess,
    /// With the new one.
    pub after: SshAccess,
}

/// An account, or all accounts that no rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginClass {
    /// The account with user id 0.
    Root,
    /// An account of this name, with another user id.
    Named(String),
    /// Every account but root that neither policy names.
    EveryOther,
}

/// How a login ends, and what it may do then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SshAccess {
    /// Accept, check or deny.
    pub outcome: SshOutcome,
    /// What the deciding rule adds, in the policy's own words: check period, acceptEnv,
    /// forwarding and so on; empty when it adds nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<String>,
}

/// Every source gains or loses the same traffic to every destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkChange {
    /// Gains or loses.
    pub kind: ChangeKind,
    /// Who sends.
    pub sources: Vec<Endpoint>,
    /// Who receives.
    pub destinations: Vec<Endpoint>,
    /// What.
    pub traffic: Vec<Traffic>,
}

/// The direction of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// What was denied is permitted.
    Gains,
    /// What was permitted is denied.
    Loses,
}

/// One side of a network change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A node, by both its addresses.
    Node(NodeLabel),
    /// A node, by its IPv4 address alone.
    NodeV4(NodeLabel),
    /// A node, by its IPv6 address alone.
    NodeV6(NodeLabel),
    /// Addresses that are no node's; as a destination, those behind a node.
    Network(AddressRange),
}

/// A protocol and ports of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Traffic {
    /// The protocol's number.
    pub protocol: u8,
    /// The ports.
    pub ports: PortRange,
}

/// Compares two policies on a mesh.
///
/// # Errors
/// [`DiffError`].
pub fn diff(old: &str, new: &str, topology: &Topology) -> Result<Difference, DiffError> {
    let old = Policy::parse(old).map_err(DiffError::Old)?;
    let new = Policy::parse(new).map_err(DiffError::New)?;
    Ok(Difference::between(&old, &new, topology))
}

impl Difference {
    /// Compares two policies on a mesh.
    #[must_use]
    pub fn between(old: &Policy, new: &Policy, topology: &Topology) -> Self {
        let (old, new) = (old.compile(topology), new.compile(topology));
        let (mut logins, mut traffic) = (ssh::Changes::default(), network::Changes::default());
        for (_, node) in old.mesh().iter() {
            let (before, after) = (old.node(node.id), new.node(node.id));
            if before.ssh_rules != after.ssh_rules {
                logins.add(old.mesh(), node, &before.ssh_rules, &after.ssh_rules);
            }
            if before.filter != after.filter {
                traffic.add(old.mesh(), node, &before.filter, &after.filter);
            }
        }
        Self {
            ssh: logins.grouped(),
            network: traffic.grouped(),
        }
    }

    /// Whether every decision stays.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ssh.is_empty() && self.network.is_empty()
    }
}

/// Turns "key to set" around twice, so that all keys with an equal set stand together.
fn by_equal_sets<K: Ord, V: Ord>(map: BTreeMap<K, BTreeSet<V>>) -> BTreeMap<BTreeSet<V>, Vec<K>> {
    let mut groups: BTreeMap<BTreeSet<V>, Vec<K>> = BTreeMap::new();
    for (key, set) in map {
        groups.entry(set).or_default().push(key);
    }
    groups
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display::difference(self, f)
    }
}
