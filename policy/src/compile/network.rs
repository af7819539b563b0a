//! Filters and visibility.

use std::collections::HashSet;

use meshd_contract::address::AddressRange;
use meshd_contract::filter::{FilterDestination, FilterRule, PortRange, Sources};

use super::{Compiled, Form, Interner, SourceSet};
use crate::model::{NetworkRule, Origin};
use crate::nodeset::NodeSet;
use crate::packet::{Fit, Packet, ports_include, protocols_include};
use crate::ranges::RangeSet;
use crate::topology::Node;

/// One rule of `grants` or `acls`.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) origin: Origin,
    pub(super) source: usize,
    pub(super) permits: Vec<Permit>,
    /// Every destination, those of `app` too.
    pub(super) destinations: Vec<usize>,
    /// The nodes that sources of it see, but for `autogroup:self`.
    pub(super) reaches: NodeSet,
    pub(super) has_self: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Permit {
    pub(super) destination: usize,
    pub(super) protocols: Vec<u8>,
    pub(super) ports: Vec<PortRange>,
}

impl Rule {
    pub(super) fn new(rule: &NetworkRule, interner: &mut Interner) -> Self {
        let permits: Vec<Permit> = rule
            .permits
            .iter()
            .map(|permit| Permit {
                destination: interner.destination(&permit.destination),
                protocols: permit.protocols.clone(),
                ports: permit.ports.clone(),
            })
            .collect();
        let mut destinations: Vec<usize> = permits.iter().map(|p| p.destination).collect();
        for selector in &rule.app_destinations {
            destinations.push(interner.destination(selector));
        }
        destinations.sort_unstable();
        destinations.dedup();
        Self {
            origin: rule.origin,
            source: interner.source(&rule.sources),
            permits,
            destinations,
            reaches: NodeSet::default(),
            has_self: false,
        }
    }
}

/// What is being gathered for one node: destinations by sources and protocols.
#[derive(Default)]
struct Gathered<'a> {
    rules: Vec<(SourceRef, &'a [u8], Vec<FilterDestination>)>,
}

/// A source set by its place, or that set without the devices of others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceRef {
    Set(usize),
    OwnDevicesOf(usize),
}

impl<'a> Gathered<'a> {
    fn push(&mut self, from: SourceRef, protocols: &'a [u8], destination: FilterDestination) {
        let same = |rule: &&mut (SourceRef, &[u8], Vec<_>)| rule.0 == from && rule.1 == protocols;
        match self.rules.iter_mut().find(same) {
            Some(rule) => rule.2.push(destination),
            None => self.rules.push((from, protocols, vec![destination])),
        }
    }
}

impl Compiled {
    pub(super) fn rebuild_reach(&mut self, place: usize) {
        let rule = &self.network[place];
        let sets = rule.destinations.iter().map(|d| &self.destinations[*d]);
        let has_self = sets.clone().any(|set| set.form == Form::SelfDevices);
        let others = sets.filter(|set| set.form != Form::SelfDevices);
        let reaches = NodeSet::union(others.map(|set| &set.nodes));
        let rule = &mut self.network[place];
        rule.reaches = reaches;
        rule.has_self = has_self;
    }

    pub(super) fn filter(&self, slot: u32) -> Vec<FilterRule> {
        let Some(node) = self.mesh.node(slot) else {
            return Vec::new();
        };
        let mut gathered = Gathered::default();
        for rule in &self.network {
            if self.sources[rule.source].is_empty() {
                continue;
            }
            if !rule.reaches.contains(slot) && !rule.has_self {
                continue;
            }
            for permit in &rule.permits {
                self.gather(slot, node, rule.source, permit, &mut gathered);
            }
        }
        gathered
            .rules
            .into_iter()
            .filter_map(|(from, protocols, destinations)| {
                Some(FilterRule {
                    sources: self.filter_sources(from, node)?,
                    protocols: protocols.to_vec(),
                    destinations: without_repeats(destinations),
                })
            })
            .collect()
    }

    fn gather<'a>(
        &self,
        slot: u32,
        node: &Node,
        source: usize,
        permit: &'a Permit,
        gathered: &mut Gathered<'a>,
    ) {
        let set = &self.destinations[permit.destination];
        if !set.nodes.contains(slot) {
            return;
        }
        let own = node.addresses.both().map(AddressRange::from);
        let (from, addresses): (SourceRef, Vec<Option<AddressRange>>) = match &set.form {
            Form::Everything => (SourceRef::Set(source), vec![None]),
            Form::Own => (SourceRef::Set(source), own.map(Some).to_vec()),
            Form::SelfDevices => (SourceRef::OwnDevicesOf(source), own.map(Some).to_vec()),
            Form::Ranges(ranges) => {
                let kept = ranges.iter().filter(|range| concerns(node, range));
                (SourceRef::Set(source), kept.copied().map(Some).collect())
            }
            Form::Internet(ranges) => (
                SourceRef::Set(source),
                ranges.iter().copied().map(Some).collect(),
            ),
        };
        for addresses in addresses {
            for ports in &permit.ports {
                let destination = FilterDestination {
                    addresses,
                    ports: *ports,
                };
                gathered.push(from, &permit.protocols, destination);
            }
        }
    }

    /// None when no source is left.
    fn filter_sources(&self, from: SourceRef, node: &Node) -> Option<Sources> {
        let ranges = match from {
            SourceRef::Set(place) if self.sources[place].any => return Some(Sources::Any),
            SourceRef::Set(place) => self.sources[place].ranges.ranges().collect(),
            SourceRef::OwnDevicesOf(place) => {
                let own = self.own_sources(&self.sources[place], node.user()?);
                let addresses = own
                    .filter_map(|slot| self.mesh.node(slot))
                    .flat_map(|node| node.addresses.both().map(AddressRange::from));
                RangeSet::from_ranges(addresses).into_ranges()
            }
        };
        (!ranges.is_empty()).then_some(Sources::Ranges(ranges))
    }

    /// The devices of `user` that a source set names.
    pub(super) fn own_sources<'a>(
        &'a self,
        set: &'a SourceSet,
        user: &str,
    ) -> impl Iterator<Item = u32> + 'a {
        self.mesh
            .slots_of_user(user)
            .filter(|slot| set.members.contains(*slot))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Two nodes see one another when a rule of one names the other as a source.
    pub(super) fn peers(&self, slot: u32) -> NodeSet {
        let all = self
            .network
            .iter()
            .any(|rule| self.sources[rule.source].any);
        let everybody: NodeSet = if all {
            self.mesh.iter().map(|(slot, _)| slot).collect()
        } else {
            NodeSet::default()
        };
        let mut sets: Vec<&NodeSet> = Vec::new();
        let mut own: Vec<NodeSet> = Vec::new();
        for rule in &self.network {
            let source = &self.sources[rule.source];
            if source.is_empty() {
                continue;
            }
            let visible = if source.any {
                &everybody
            } else {
                &source.visible
            };
            if rule.reaches.contains(slot) {
                sets.push(visible);
            }
            if visible.contains(slot) {
                sets.push(&rule.reaches);
            }
            if rule.has_self {
                own.push(self.own_peers(slot, source));
            }
        }
        NodeSet::union(sets.into_iter().chain(&own)).without(slot)
    }

    fn own_peers(&self, slot: u32, source: &SourceSet) -> NodeSet {
        let Some(user) = self.mesh.node(slot).and_then(Node::user) else {
            return NodeSet::default();
        };
        if source.members.contains(slot) {
            self.mesh.slots_of_user(user).collect()
        } else {
            self.own_sources(source, user).collect()
        }
    }
}

impl Compiled {
    /// For each rule, its permit that comes nearest to the packet.
    pub(crate) fn network_fits<'a>(
        &'a self,
        packet: &'a Packet,
    ) -> impl Iterator<Item = (Origin, Fit)> + 'a {
        self.network.iter().filter_map(|rule| {
            let fits = rule
                .permits
                .iter()
                .map(|permit| self.fit(rule, permit, packet));
            Some((rule.origin, fits.min_by_key(|fit| fit.lacks())?))
        })
    }

    fn fit(&self, rule: &Rule, permit: &Permit, packet: &Packet) -> Fit {
        let source = &self.sources[rule.source];
        let set = &self.destinations[permit.destination];
        let from_source = source.any || source.ranges.contains(packet.source);
        let target = self.mesh.slot_at(packet.destination);
        let is_target = target.is_some_and(|slot| set.nodes.contains(slot));
        let includes = |ranges: &[AddressRange]| {
            ranges
                .iter()
                .any(|range| range.contains(packet.destination))
        };
        let (source, destination) = match &set.form {
            Form::Everything => (from_source, true),
            Form::Own => (from_source, is_target),
            Form::Ranges(ranges) => (from_source, includes(ranges)),
            Form::Internet(ranges) => (from_source, includes(ranges) && !set.nodes.is_empty()),
            Form::SelfDevices => {
                let user = target.and_then(|slot| self.mesh.node(slot)?.user());
                let from = self.mesh.slot_at(packet.source);
                let own = user.is_some_and(|user| {
                    self.own_sources(source, user)
                        .any(|slot| Some(slot) == from)
                });
                (own, is_target)
            }
        };
        Fit {
            source,
            destination,
            protocol: protocols_include(&permit.protocols, packet.protocol),
            port: ports_include(&permit.ports, packet.port),
        }
    }
}

/// Whether a node's filter keeps a destination: it holds one of its addresses, or shares an
/// address with a subnet behind it.
fn concerns(node: &Node, range: &AddressRange) -> bool {
    let own = node.addresses.both().into_iter();
    let subnets = node.subnets();
    own.into_iter().any(|address| range.contains(address))
        || subnets
            .into_iter()
            .any(|net| range.overlaps(&(*net).into()))
}

fn without_repeats(destinations: Vec<FilterDestination>) -> Vec<FilterDestination> {
    let mut seen = HashSet::with_capacity(destinations.len());
    destinations
        .into_iter()
        .filter(|destination| seen.insert(destination.clone()))
        .collect()
}
