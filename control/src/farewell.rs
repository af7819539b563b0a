//! How a deleted node leaves: its rights end at once, its packets flow for a moment longer.
//!
//! A session that ends tells its client why, and needs the tunnel for it. If the tunnel went
//! together with the right, the client would wait for minutes in front of a dead connection.

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;

use crate::compose::Nodes;
use crate::store::{Farewell, LeavingRow, NodeRow};

/// How long a node that has no rights any more stays in the network, in seconds.
pub(crate) const LAST_WORDS: u64 = 2;

/// The deleted nodes at one moment.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// Those that are in the network for a moment longer.
    pub(crate) staying: Nodes,
    /// Those whose network ends now.
    pub(crate) ending: Nodes,
    /// Those that have got no last peer document yet.
    pub(crate) unheard: Vec<NodeId>,
    /// When the next one of [`Self::staying`] ends.
    pub(crate) next_end: Option<Timestamp>,
}

impl Leaving {
    /// Sorts the deleted nodes of a mesh with these members.
    pub(crate) fn at<'a>(
        rows: impl IntoIterator<Item = &'a LeavingRow>,
        members: &Nodes,
        now: Timestamp,
    ) -> Self {
        let mut leaving = Self::default();
        for row in rows {
            let id = row.node.id;
            if !row.has_last_peers {
                leaving.unheard.push(id);
            }
            let end = row.deleted_at.plus(LAST_WORDS);
            if now < end && !is_replaced(&row.node, members) {
                leaving.staying.insert(id, row.node.clone());
                leaving.next_end = Some(leaving.next_end.map_or(end, |next| next.min(end)));
            } else {
                leaving.ending.insert(id, row.node.clone());
            }
        }
        leaving
    }

    /// What is to be noted about these nodes once their documents are stored.
    pub(crate) fn farewells(&self) -> Vec<(NodeId, Farewell)> {
        let unheard = self.unheard.iter().map(|id| (*id, Farewell::Peers));
        let ending = self.ending.keys().map(|id| (*id, Farewell::Both));
        unheard.chain(ending).collect()
    }
}

/// Whether the host has joined again, or another one has its name: two nodes must not share a
/// key, a name or an address, not even for a moment.
fn is_replaced(node: &NodeRow, members: &Nodes) -> bool {
    members.values().any(|member| {
        member.wireguard_key == node.wireguard_key
            || member.name == node.name
            || member.slot == node.slot
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tests::node;

    fn deleted(n: u8, at: u64) -> LeavingRow {
        LeavingRow {
            node: node(n),
            deleted_at: Timestamp(at),
            has_last_peers: false,
        }
    }

    #[test]
    fn a_deleted_node_stays_in_the_network_for_a_moment() {
        let members = Nodes::new();
        let before = Leaving::at(&[deleted(1, 100)], &members, Timestamp(101));
        assert!(before.staying.contains_key(&NodeId(1)) && before.ending.is_empty());
        assert_eq!(before.next_end, Some(Timestamp(102)));
        assert_eq!(before.farewells(), [(NodeId(1), Farewell::Peers)]);

        let heard = LeavingRow {
            has_last_peers: true,
            ..deleted(1, 100)
        };
        let after = Leaving::at(&[heard], &members, Timestamp(102));
        assert!(after.staying.is_empty() && after.next_end.is_none());
        assert_eq!(after.farewells(), [(NodeId(1), Farewell::Both)]);
    }

    #[test]
    fn a_node_that_was_replaced_ends_at_once() {
        let again = NodeRow {
            id: NodeId(2),
            ..node(1)
        };
        let members = Nodes::from([(again.id, again)]);
        let leaving = Leaving::at(&[deleted(1, 100)], &members, Timestamp(100));
        assert!(leaving.ending.contains_key(&NodeId(1)));
        let last = leaving.farewells();
        assert_eq!(last.last(), Some(&(NodeId(1), Farewell::Both)));
    }
}
