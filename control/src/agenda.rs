//! When the documents of a node are due for renewal.

use std::collections::{BTreeSet, HashMap};

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;

/// The next renewal of each node.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    by_time: BTreeSet<(Timestamp, NodeId)>,
    by_node: HashMap<NodeId, Timestamp>,
}

impl Agenda {
    /// Something is due for `node` at `at`, and nothing before.
    pub(crate) fn set(&mut self, node: NodeId, at: Timestamp) {
        if let Some(old) = self.by_node.insert(node, at) {
            self.by_time.remove(&(old, node));
        }
        self.by_time.insert((at, node));
    }

    /// Takes out everybody for whom something is due by `now`.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Vec<NodeId> {
        let mut due = Vec::new();
        while let Some((at, node)) = self.by_time.first().copied()
            && at <= now
        {
            self.by_time.pop_first();
            self.by_node.remove(&node);
            due.push(node);
        }
        due
    }

    /// When the first is due.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_about_a_node_counts() {
        let mut agenda = Agenda::default();
        agenda.set(NodeId(1), Timestamp(10));
        agenda.set(NodeId(2), Timestamp(20));
        agenda.set(NodeId(1), Timestamp(30));
        assert_eq!(agenda.first(), Some(Timestamp(20)));
        assert_eq!(agenda.take_due(Timestamp(19)), []);
        assert_eq!(agenda.take_due(Timestamp(20)), [NodeId(2)]);
        assert_eq!(agenda.take_due(Timestamp(40)), [NodeId(1)]);
        assert_eq!(agenda.first(), None);
    }
}
