//! A policy applied to a mesh: what each node lets in, and whom it sees.

mod change;
mod network;
mod ssh;

pub(crate) use ssh::SshFit;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use meshd_contract::address::AddressRange;
use meshd_contract::filter::FilterRule;
use meshd_contract::identity::NodeId;
use meshd_contract::ssh_rule::SshRule;

use crate::mesh::Mesh;
use crate::model::Document;
use crate::nodeset::NodeSet;
use crate::ranges::RangeSet;
use crate::selector::Selector;
use crate::topology::{Node, Topology};

/// A policy applied to a mesh.
///
/// What rules have in common is kept once; a node's own view is made when it is asked for.
/// Nodes and users can be changed one at a time, at a cost that grows with what the change
/// touches.
#[derive(Debug, Clone)]
pub struct Compiled {
    document: Arc<Document>,
    mesh: Mesh,
    sources: Vec<SourceSet>,
    destinations: Vec<DestinationSet>,
    network: Vec<network::Rule>,
    ssh: Vec<ssh::Rule>,
}

/// What one node must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// In the order in which they decide: every check rule before the first accept rule.
    pub ssh_rules: Vec<SshRule>,
    /// What may enter; nothing else may.
    pub filter: Vec<FilterRule>,
    /// The nodes that it may reach or be reached by.
    pub peers: BTreeSet<NodeId>,
}

/// What a list of sources stands for; equal lists are kept once.
#[derive(Debug, Clone)]
struct SourceSet {
    selectors: Vec<Selector>,
    /// Any address at all, in the mesh or not.
    any: bool,
    ranges: RangeSet,
    /// The nodes that it names.
    members: NodeSet,
    /// These, and the nodes behind which addresses of it lie.
    visible: NodeSet,
}

/// What one destination stands for; equal ones are kept once.
#[derive(Debug, Clone)]
struct DestinationSet {
    selector: Selector,
    /// The nodes whose filter has a line for it.
    nodes: NodeSet,
    form: Form,
}

/// How a destination is written in a node's filter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// The node's own addresses.
    Own,
    /// Every address.
    Everything,
    /// The node's own addresses, for sources of the node's own user.
    SelfDevices,
    /// Those of these ranges that concern the node.
    Ranges(Vec<AddressRange>),
    /// The internet, on exit nodes.
    Internet(Vec<AddressRange>),
}

impl Compiled {
    pub(crate) fn new(document: Arc<Document>, topology: &Topology) -> Self {
        let mesh = Mesh::new(topology);
        let mut interner = Interner::default();
        let network = document
            .network
            .iter()
            .map(|rule| network::Rule::new(rule, &mut interner))
            .collect();
        let mut ssh: Vec<ssh::Rule> = document
            .ssh
            .iter()
            .map(|rule| ssh::Rule::new(rule, &mut interner))
            .collect();
        ssh.sort_by_key(ssh::Rule::class);
        let mut compiled = Self {
            sources: interner.sources,
            destinations: interner.destinations,
            document,
            mesh,
            network,
            ssh,
        };
        compiled.rebuild(&compiled.everything());
        compiled
    }

    /// The view of one node; empty for a node that the mesh does not have.
    #[must_use]
    pub fn node(&self, id: NodeId) -> NodeView {
        let Some(slot) = self.mesh.slot(id) else {
            return NodeView::default();
        };
        NodeView {
            ssh_rules: self.ssh_rules(slot),
            filter: self.filter(slot),
            peers: self.ids(&self.peers(slot)),
        }
    }

    /// The numbers of all nodes.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.mesh.node_ids()
    }

    pub(crate) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    fn ids(&self, slots: &NodeSet) -> BTreeSet<NodeId> {
        slots
            .iter()
            .filter_map(|slot| Some(self.mesh.node(slot)?.id))
            .collect()
    }
}

/// Gives equal lists the same place.
#[derive(Default)]
struct Interner {
    sources: Vec<SourceSet>,
    destinations: Vec<DestinationSet>,
    source_places: HashMap<Vec<Selector>, usize>,
    destination_places: HashMap<Selector, usize>,
}

impl Interner {
    fn source(&mut self, selectors: &[Selector]) -> usize {
        let mut selectors = selectors.to_vec();
        selectors.sort();
        selectors.dedup();
        let sources = &mut self.sources;
        *self
            .source_places
            .entry(selectors)
            .or_insert_with_key(|selectors| {
                sources.push(SourceSet {
                    selectors: selectors.clone(),
                    any: selectors.contains(&Selector::DangerAll),
                    ranges: RangeSet::default(),
                    members: NodeSet::default(),
                    visible: NodeSet::default(),
                });
                sources.len() - 1
            })
    }

    fn destination(&mut self, selector: &Selector) -> usize {
        let destinations = &mut self.destinations;
        *self
            .destination_places
            .entry(selector.clone())
            .or_insert_with_key(|selector| {
                destinations.push(DestinationSet {
                    selector: selector.clone(),
                    nodes: NodeSet::default(),
                    form: Form::Own,
                });
                destinations.len() - 1
            })
    }
}

impl SourceSet {
    fn rebuild(&mut self, mesh: &Mesh, document: &Document) {
        let mut ranges: Vec<AddressRange> = Vec::new();
        let mut members: Vec<u32> = Vec::new();
        for selector in &self.selectors {
            let nodes = mesh.select(selector, document);
            match selector {
                Selector::Any => {
                    ranges.extend(RangeSet::mesh().ranges());
                    ranges.extend(mesh.subnets());
                }
                Selector::Host(_) | Selector::Ipset(_) | Selector::Range(_) => {
                    ranges.extend(document.ranges(selector));
                }
                Selector::DangerAll
                | Selector::User(_)
                | Selector::Group(_)
                | Selector::Tag(_)
                | Selector::Member
                | Selector::Tagged
                | Selector::SelfDevices
                | Selector::Internet
                | Selector::Shared
                | Selector::Role(_)
                | Selector::Domain(_) => {
                    let own = nodes.iter().filter_map(|slot| mesh.node(*slot));
                    let own = own.flat_map(|node| node.addresses.both());
                    ranges.extend(own.map(AddressRange::from));
                }
            }
            members.extend(nodes);
        }
        self.ranges = RangeSet::from_ranges(ranges);
        self.members = members.into_iter().collect();
        self.rebuild_visible(mesh);
    }

    fn rebuild_visible(&mut self, mesh: &Mesh) {
        let routers: NodeSet = mesh.routers_of(&self.ranges).collect();
        self.visible = NodeSet::union([&self.members, &routers]);
    }

    /// Replaces one node by another, in a set that names nodes only.
    fn replace(&mut self, mesh: &Mesh, old: Option<(u32, &Node)>, new: Option<(u32, &Node)>) {
        let addresses = |node: &Node| RangeSet::from_ranges(node.addresses.both().map(Into::into));
        if let Some((slot, node)) = old {
            self.members = std::mem::take(&mut self.members).without(slot);
            self.ranges = self.ranges.minus(&addresses(node));
        }
        if let Some((slot, node)) = new {
            self.members = std::mem::take(&mut self.members).with(slot);
            self.ranges = self.ranges.union(&addresses(node));
        }
        self.rebuild_visible(mesh);
    }

    fn is_empty(&self) -> bool {
        !self.any && self.ranges.is_empty()
    }
}

impl DestinationSet {
    fn rebuild(&mut self, mesh: &Mesh, document: &Document) {
        let nodes = mesh.select(&self.selector, document);
        let (form, routers) = match &self.selector {
            Selector::Any => (Form::Everything, Vec::new()),
            Selector::SelfDevices => (Form::SelfDevices, Vec::new()),
            Selector::Internet => (
                Form::Internet(RangeSet::internet().into_ranges()),
                Vec::new(),
            ),
            Selector::Host(_) | Selector::Ipset(_) | Selector::Range(_) => {
                let ranges = document.ranges(&self.selector).to_vec();
                let set = RangeSet::from_ranges(ranges.iter().copied());
                let routers = mesh.routers_of(&set).collect();
                (Form::Ranges(ranges), routers)
            }
            Selector::DangerAll
            | Selector::User(_)
            | Selector::Group(_)
            | Selector::Tag(_)
            | Selector::Member
            | Selector::Tagged
            | Selector::Shared
            | Selector::Role(_)
            | Selector::Domain(_) => (Form::Own, Vec::new()),
        };
        self.form = form;
        self.nodes = nodes.into_iter().chain(routers).collect();
    }

    /// Replaces one node by another, in a set that names nodes only.
    fn replace(&mut self, old: Option<u32>, new: Option<u32>) {
        if let Some(slot) = old {
            self.nodes = std::mem::take(&mut self.nodes).without(slot);
        }
        if let Some(slot) = new {
            self.nodes = std::mem::take(&mut self.nodes).with(slot);
        }
    }
}
