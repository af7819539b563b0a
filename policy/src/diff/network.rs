//! Packets.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use meshd_contract::address::{AddressRange, MESH_V4, MESH_V6};
use meshd_contract::filter::{FilterRule, PortRange, Sources};

use super::{ChangeKind, Endpoint, NetworkChange, Traffic, by_equal_sets};
use crate::endpoint::NodeLabel;
use crate::mesh::Mesh;
use crate::ports;
use crate::ranges::RangeSet;
use crate::topology::Node;

type Side = (ChangeKind, Endpoint, Endpoint);

/// Traffic by direction, source and destination.
#[derive(Default)]
pub(super) struct Changes {
    traffic: BTreeMap<Side, BTreeSet<(u8, PortRange)>>,
}

/// A filter with its sources as sets, which are compared often.
struct Lines<'a> {
    rules: Vec<(RangeSet, &'a FilterRule)>,
}

impl Changes {
    pub(super) fn add(&mut self, mesh: &Mesh, node: &Node, old: &[FilterRule], new: &[FilterRule]) {
        let (old, new) = (Lines::of(old), Lines::of(new));
        let mut own = Self::default();
        for (destination, atoms) in destinations(node, [&old, &new]) {
            for atom in atoms {
                own.add_atom(mesh, &destination, &atom, &old, &new);
            }
        }
        self.traffic.extend(joined_families(own.traffic));
    }

    fn add_atom(
        &mut self,
        mesh: &Mesh,
        destination: &Endpoint,
        atom: &AddressRange,
        old: &Lines<'_>,
        new: &Lines<'_>,
    ) {
        let cuts = port_cuts([old, new], atom);
        let protocols: BTreeSet<u8> = old.protocols().chain(new.protocols()).collect();
        for protocol in protocols {
            for ports in &cuts {
                let before = old.sources(atom, protocol, ports.first);
                let after = new.sources(atom, protocol, ports.first);
                for (kind, set) in [
                    (ChangeKind::Gains, after.minus(&before)),
                    (ChangeKind::Loses, before.minus(&after)),
                ] {
                    let set = set.intersection(&family_of(atom));
                    for source in endpoints(mesh, &set) {
                        let side = (kind, source, destination.clone());
                        let traffic = self.traffic.entry(side).or_default();
                        traffic.insert((protocol, *ports));
                    }
                }
            }
        }
    }

    /// Sources that change alike stand together, then destinations.
    pub(super) fn grouped(self) -> Vec<NetworkChange> {
        type BySource = BTreeMap<Endpoint, BTreeSet<(u8, PortRange)>>;
        let mut by_destination: BTreeMap<(ChangeKind, Endpoint), BySource> = BTreeMap::new();
        for ((kind, source, destination), traffic) in self.traffic {
            let sources = by_destination.entry((kind, destination)).or_default();
            sources.insert(source, merged(traffic));
        }
        let mut shapes: BTreeMap<(ChangeKind, Endpoint), BTreeSet<_>> = BTreeMap::new();
        for (key, sources) in by_destination {
            let groups = by_equal_sets(sources);
            shapes.insert(key, groups.into_iter().collect());
        }
        let mut changes = Vec::new();
        for (shape, keys) in by_equal_sets(shapes) {
            for kind in [ChangeKind::Gains, ChangeKind::Loses] {
                let destinations: Vec<Endpoint> = keys
                    .iter()
                    .filter(|(of, _)| *of == kind)
                    .map(|(_, destination)| destination.clone())
                    .collect();
                if destinations.is_empty() {
                    continue;
                }
                changes.extend(shape.iter().map(|(traffic, sources)| {
                    NetworkChange {
                        kind,
                        sources: sources.clone(),
                        destinations: destinations.clone(),
                        traffic: traffic
                            .iter()
                            .map(|(protocol, ports)| Traffic {
                                protocol: *protocol,
                                ports: *ports,
                            })
                            .collect(),
                    }
                }));
            }
        }
        changes
    }
}

impl<'a> Lines<'a> {
    fn of(rules: &'a [FilterRule]) -> Self {
        let sources = |rule: &FilterRule| match &rule.sources {
            Sources::Any => everything(),
            Sources::Ranges(ranges) => RangeSet::from_ranges(ranges.iter().copied()),
        };
        Self {
            rules: rules.iter().map(|rule| (sources(rule), rule)).collect(),
        }
    }

    fn protocols(&self) -> impl Iterator<Item = u8> + '_ {
        self.rules.iter().flat_map(|(_, rule)| {
            let unnamed: &[u8] = if rule.protocols.is_empty() {
                &ports::UNNAMED
            } else {
                &rule.protocols
            };
            unnamed.iter().copied()
        })
    }

    /// Who may send this to all of `atom`, in which every line is the same.
    fn sources(&self, atom: &AddressRange, protocol: u8, port: u16) -> RangeSet {
        let mut sources = RangeSet::default();
        for (set, rule) in &self.rules {
            let permits = crate::packet::protocols_include(&rule.protocols, protocol)
                && rule.destinations.iter().any(|destination| {
                    destination.ports.contains(port)
                        && destination
                            .addresses
                            .is_none_or(|range| range.contains(atom.first()))
                });
            if permits {
                sources = sources.union(set);
            }
        }
        sources
    }
}

fn everything() -> RangeSet {
    RangeSet::from_ranges(["0.0.0.0/0", "::/0"].iter().filter_map(|net| {
        let net: IpNet = net.parse().ok()?;
        Some(net.into())
    }))
}

fn family_of(atom: &AddressRange) -> RangeSet {
    let all = everything();
    RangeSet::from_ranges(
        all.ranges()
            .filter(|range| range.first().is_ipv4() == atom.first().is_ipv4()),
    )
}

/// A node's own addresses and what lies behind it, cut where a line begins or ends.
fn destinations(node: &Node, lines: [&Lines<'_>; 2]) -> Vec<(Endpoint, Vec<AddressRange>)> {
    let label = NodeLabel::of(node);
    let mut result = vec![
        (
            Endpoint::NodeV4(label.clone()),
            vec![AddressRange::from(std::net::IpAddr::V4(node.addresses.v4))],
        ),
        (
            Endpoint::NodeV6(label),
            vec![AddressRange::from(std::net::IpAddr::V6(node.addresses.v6))],
        ),
    ];
    let mut behind = RangeSet::from_ranges(node.subnets().map(|net| (*net).into()));
    if node.is_exit() {
        behind = behind.union(&RangeSet::internet());
    }
    for atom in cut(&behind, lines) {
        result.push((Endpoint::Network(atom), vec![atom]));
    }
    result
}

fn cut(set: &RangeSet, lines: [&Lines<'_>; 2]) -> Vec<AddressRange> {
    let mut atoms = vec![set.clone()];
    let ranges = lines
        .iter()
        .flat_map(|lines| &lines.rules)
        .flat_map(|(_, rule)| &rule.destinations)
        .filter_map(|destination| destination.addresses);
    let unique: BTreeSet<AddressRange> = ranges.collect();
    for range in unique {
        let range = RangeSet::from_ranges([range]);
        atoms = atoms
            .iter()
            .flat_map(|atom| [atom.intersection(&range), atom.minus(&range)])
            .filter(|atom| !atom.is_empty())
            .collect();
    }
    let mut result: Vec<AddressRange> = atoms.into_iter().flat_map(RangeSet::into_ranges).collect();
    result.sort_unstable();
    result
}

/// Ranges of ports in which every line that concerns `atom` is the same.
fn port_cuts(lines: [&Lines<'_>; 2], atom: &AddressRange) -> Vec<PortRange> {
    let mut starts: BTreeSet<u32> = BTreeSet::new();
    for (_, rule) in lines.iter().flat_map(|lines| &lines.rules) {
        for destination in &rule.destinations {
            let concerns = destination
                .addresses
                .is_none_or(|range| range.contains(atom.first()));
            if concerns {
                starts.insert(destination.ports.first.into());
                starts.insert(u32::from(destination.ports.last) + 1);
            }
        }
    }
    let starts: Vec<u32> = starts.into_iter().collect();
    starts
        .windows(2)
        .filter_map(|pair| {
            Some(PortRange {
                first: u16::try_from(pair[0]).ok()?,
                last: u16::try_from(pair[1] - 1).ok()?,
            })
        })
        .collect()
}

/// The nodes with an address in `set`, and what of it lies outside the mesh.
fn endpoints(mesh: &Mesh, set: &RangeSet) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for range in set.ranges() {
        for slot in mesh.slots_in(&range) {
            let Some(node) = mesh.node(slot) else {
                continue;
            };
            let label = NodeLabel::of(node);
            endpoints.push(if range.first().is_ipv4() {
                Endpoint::NodeV4(label)
            } else {
                Endpoint::NodeV6(label)
            });
        }
    }
    let meshes = [IpNet::V4(MESH_V4), IpNet::V6(MESH_V6)].map(AddressRange::from);
    let outside = set.minus(&RangeSet::from_ranges(meshes));
    endpoints.extend(outside.ranges().map(Endpoint::Network));
    endpoints
}

/// Joins what holds for both families of a pair of nodes.
fn joined_families(
    traffic: BTreeMap<Side, BTreeSet<(u8, PortRange)>>,
) -> BTreeMap<Side, BTreeSet<(u8, PortRange)>> {
    let mut joined: BTreeMap<Side, BTreeSet<(u8, PortRange)>> = BTreeMap::new();
    for ((kind, source, destination), set) in &traffic {
        let other = |endpoint: &Endpoint| match endpoint {
            Endpoint::NodeV4(label) => Endpoint::NodeV6(label.clone()),
            Endpoint::NodeV6(label) => Endpoint::NodeV4(label.clone()),
            Endpoint::Node(_) | Endpoint::Network(_) => endpoint.clone(),
        };
        let twin = (*kind, other(source), other(destination));
        let is_pair = twin.1 != *source && twin.2 != *destination;
        let key = if is_pair && traffic.get(&twin) == Some(set) {
            (*kind, both(source), both(destination))
        } else {
            (*kind, source.clone(), destination.clone())
        };
        joined.insert(key, set.clone());
    }
    joined
}

fn both(endpoint: &Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::NodeV4(label) | Endpoint::NodeV6(label) => Endpoint::Node(label.clone()),
        Endpoint::Node(_) | Endpoint::Network(_) => endpoint.clone(),
    }
}

/// Neighbouring port ranges of one protocol become one.
fn merged(traffic: BTreeSet<(u8, PortRange)>) -> BTreeSet<(u8, PortRange)> {
    let mut result: Vec<(u8, PortRange)> = Vec::new();
    for (protocol, ports) in traffic {
        match result.last_mut() {
            Some((of, before))
                if *of == protocol && u32::from(before.last) + 1 >= u32::from(ports.first) =>
            {
                before.last = before.last.max(ports.last);
            }
            _ => result.push((protocol, ports)),
        }
    }
    result.into_iter().collect()
}
