//! One node or one user at a time.

use std::collections::BTreeSet;

use meshd_contract::identity::NodeId;

use super::Compiled;
use crate::mesh::Mesh;
use crate::nodeset::NodeSet;
use crate::selector::Selector;
use crate::topology::{Node, User};

/// What has to be made anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Dirty {
    sources: BTreeSet<usize>,
    destinations: BTreeSet<usize>,
}

/// A node and its slot.
type Entry = (u32, Node);

/// A node before and after a change; none where it is not there.
struct Swap<'e> {
    old: Option<&'e Entry>,
    new: Option<&'e Entry>,
}

impl Compiled {
    /// Adds a node, or replaces the one of this number; returns every node whose view or whose
    /// peers' names, addresses or owners may have changed.
    pub fn set_node(&mut self, node: Node) -> BTreeSet<NodeId> {
        self.replace_node(node.id, |mesh| mesh.set_node(node))
    }

    /// Removes a node; returns every node whose view may have changed.
    pub fn remove_node(&mut self, id: NodeId) -> BTreeSet<NodeId> {
        self.replace_node(id, |mesh| mesh.remove_node(id))
    }

    /// Adds a user, or changes its role; returns every node whose view may have changed.
    pub fn set_user(&mut self, user: User) -> BTreeSet<NodeId> {
        let changed = self.ids_of_user(&user.login);
        self.change(&changed, |mesh| mesh.set_user(user))
    }

    /// Forgets a user's role; its nodes stay until they are removed. Returns every node whose
    /// view may have changed.
    pub fn remove_user(&mut self, login: &str) -> BTreeSet<NodeId> {
        let changed = self.ids_of_user(login);
        self.change(&changed, |mesh| mesh.remove_user(login))
    }

    fn ids_of_user(&self, login: &str) -> BTreeSet<NodeId> {
        self.mesh
            .slots_of_user(login)
            .filter_map(|slot| Some(self.mesh.node(slot)?.id))
            .collect()
    }

    /// Replaces one node, in each set by itself where the set names nodes only.
    fn replace_node(&mut self, id: NodeId, apply: impl FnOnce(&mut Mesh)) -> BTreeSet<NodeId> {
        let changed = [id].into();
        let mut dirty = Dirty::default();
        let mut affected = BTreeSet::clone(&changed);
        self.touch(&changed, &mut dirty);
        self.see(&changed, &mut affected);
        self.reach(&dirty, &mut affected);
        let old = self.entry(id);
        apply(&mut self.mesh);
        self.touch(&changed, &mut dirty);
        let new = self.entry(id);
        let nodes = Swap {
            old: old.as_ref(),
            new: new.as_ref(),
        };
        self.replace_in_sets(&nodes, &dirty);
        self.see(&changed, &mut affected);
        self.reach(&dirty, &mut affected);
        affected
    }

    fn entry(&self, id: NodeId) -> Option<Entry> {
        let slot = self.mesh.slot(id)?;
        Some((slot, self.mesh.node(slot)?.clone()))
    }

    /// Which of the two nodes a list of selectors names.
    fn swap<'e>(&self, selectors: &[Selector], nodes: &Swap<'e>) -> Swap<'e> {
        let is_named = |entry: &&Entry| {
            let names = |selector| self.mesh.touches(selector, &entry.1, &self.document);
            selectors.iter().any(names)
        };
        Swap {
            old: nodes.old.filter(is_named),
            new: nodes.new.filter(is_named),
        }
    }

    fn replace_in_sets(&mut self, nodes: &Swap<'_>, dirty: &Dirty) {
        let mut rest = Dirty::default();
        for &place in &dirty.destinations {
            let selector = &self.destinations[place].selector;
            if selector.is_of_nodes() {
                let swap = self.swap(std::slice::from_ref(selector), nodes);
                self.destinations[place].replace(swap.old.map(|e| e.0), swap.new.map(|e| e.0));
            } else {
                rest.destinations.insert(place);
            }
        }
        for &place in &dirty.sources {
            let selectors = &self.sources[place].selectors;
            if selectors.iter().all(Selector::is_of_nodes) {
                let swap = self.swap(selectors, nodes);
                self.replace_in_source(place, &swap);
            } else {
                rest.sources.insert(place);
            }
        }
        self.rebuild_sets(&rest);
        self.rebuild_reaches(&dirty.destinations);
    }

    fn replace_in_source(&mut self, place: usize, swap: &Swap<'_>) {
        self.sources[place].replace(
            &self.mesh,
            swap.old.map(|(slot, node)| (*slot, node)),
            swap.new.map(|(slot, node)| (*slot, node)),
        );
        for rule in 0..self.ssh.len() {
            if self.ssh[rule].source == place {
                self.replace_admitted(rule, swap.old.map(|e| &e.1), swap.new.map(|e| &e.1));
            }
        }
    }

    fn change(
        &mut self,
        changed: &BTreeSet<NodeId>,
        apply: impl FnOnce(&mut Mesh),
    ) -> BTreeSet<NodeId> {
        let mut dirty = Dirty::default();
        let mut affected = changed.clone();
        self.touch(changed, &mut dirty);
        self.see(changed, &mut affected);
        self.reach(&dirty, &mut affected);
        apply(&mut self.mesh);
        self.touch(changed, &mut dirty);
        self.rebuild(&dirty);
        self.see(changed, &mut affected);
        self.reach(&dirty, &mut affected);
        affected
    }

    pub(super) fn everything(&self) -> Dirty {
        Dirty {
            sources: (0..self.sources.len()).collect(),
            destinations: (0..self.destinations.len()).collect(),
        }
    }

    /// Marks every set that one of these nodes is in, or lies in.
    fn touch(&self, changed: &BTreeSet<NodeId>, dirty: &mut Dirty) {
        let slots = changed.iter().filter_map(|id| self.mesh.slot(*id));
        for node in slots.filter_map(|slot| self.mesh.node(slot)) {
            let touches = |selector| self.mesh.touches(selector, node, &self.document);
            // A subnet may lie in any set of addresses.
            let routes = node.subnets().next().is_some();
            for (place, set) in self.sources.iter().enumerate() {
                if routes || set.selectors.iter().any(touches) {
                    dirty.sources.insert(place);
                }
            }
            for (place, set) in self.destinations.iter().enumerate() {
                if touches(&set.selector) {
                    dirty.destinations.insert(place);
                }
            }
        }
    }

    pub(super) fn rebuild(&mut self, dirty: &Dirty) {
        self.rebuild_sets(dirty);
        self.rebuild_reaches(&dirty.destinations);
    }

    fn rebuild_sets(&mut self, dirty: &Dirty) {
        for place in &dirty.sources {
            self.sources[*place].rebuild(&self.mesh, &self.document);
        }
        for place in &dirty.destinations {
            self.destinations[*place].rebuild(&self.mesh, &self.document);
        }
        for place in 0..self.ssh.len() {
            if dirty.sources.contains(&self.ssh[place].source) {
                self.rebuild_admitted(place);
            }
        }
    }

    fn rebuild_reaches(&mut self, changed: &BTreeSet<usize>) {
        for place in 0..self.network.len() {
            let destinations = &self.network[place].destinations;
            if destinations.iter().any(|d| changed.contains(d)) {
                self.rebuild_reach(place);
            }
        }
    }

    /// The peers of these nodes, whose documents tell of them.
    fn see(&self, changed: &BTreeSet<NodeId>, affected: &mut BTreeSet<NodeId>) {
        for slot in changed.iter().filter_map(|id| self.mesh.slot(*id)) {
            affected.extend(self.ids(&self.peers(slot)));
        }
    }

    /// The nodes whose rules have a source that is made anew.
    fn reach(&self, dirty: &Dirty, affected: &mut BTreeSet<NodeId>) {
        let mut sets: Vec<NodeSet> = Vec::new();
        for rule in &self.network {
            if dirty.sources.contains(&rule.source) {
                sets.push(rule.reaches.clone());
            }
        }
        for (place, rule) in self.ssh.iter().enumerate() {
            if dirty.sources.contains(&rule.source) {
                sets.push(self.ssh_destinations(place));
            }
        }
        affected.extend(self.ids(&NodeSet::union(&sets)));
        self.reach_own(dirty, affected);
    }

    /// A user's devices may be sources of one another without being peers.
    fn reach_own(&self, dirty: &Dirty, affected: &mut BTreeSet<NodeId>) {
        let own_matters = self
            .ssh
            .iter()
            .any(|rule| dirty.sources.contains(&rule.source) && rule.concerns_own_devices());
        if !own_matters {
            return;
        }
        let users: BTreeSet<String> = affected
            .iter()
            .filter_map(|id| {
                self.mesh
                    .node(self.mesh.slot(*id)?)?
                    .user()
                    .map(str::to_owned)
            })
            .collect();
        for user in users {
            affected.extend(self.ids_of_user(&user));
        }
    }
}
