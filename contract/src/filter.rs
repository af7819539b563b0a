//! What the network lets through to one node.

use serde::{Deserialize, Serialize};

use crate::address::AddressRange;

/// One permission: packets of `protocols` from `sources` to `destinations` may enter.
///
/// A node's filter is a list of these; what none of them permits is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// Where the packet may come from.
    pub sources: Sources,
    /// IP protocol numbers; empty means TCP, UDP, ICMP and ICMPv6.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<u8>,
    /// Where it may go to.
    pub destinations: Vec<FilterDestination>,
}

/// The sources of a [`FilterRule`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sources {
    /// Any address at all.
    Any,
    /// These ranges, sorted and without overlap.
    Ranges(Vec<AddressRange>),
}

/// One destination of a [`FilterRule`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilterDestination {
    /// The addresses; none means any address of the node and of the networks behind it.
    pub addresses: Option<AddressRange>,
    /// The ports, both ends included; `0..=65535` also for protocols without ports.
    pub ports: PortRange,
}

/// Ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// Whether `port` lies in the range.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}
