//! A topology with its indexes: which nodes a selector names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meshd_contract::address::AddressRange;
use meshd_contract::identity::NodeId;

use crate::model::Document;
use crate::ranges::RangeSet;
use crate::selector::Selector;
use crate::topology::{Node, Role, Topology, User};

/// Nodes stand in slots: a slot is given again after its node has gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mesh {
    nodes: Vec<Option<Node>>,
    slots: HashMap<NodeId, u32>,
    free: Vec<u32>,
    roles: BTreeMap<String, Role>,
    domains: BTreeSet<String>,
    of_user: HashMap<String, BTreeSet<u32>>,
    of_tag: HashMap<String, BTreeSet<u32>>,
    untagged: BTreeSet<u32>,
    tagged: BTreeSet<u32>,
    routers: BTreeSet<u32>,
    exits: BTreeSet<u32>,
    by_v4: BTreeSet<(Ipv4Addr, u32)>,
    by_v6: BTreeSet<(Ipv6Addr, u32)>,
}

impl Mesh {
    pub(crate) fn new(topology: &Topology) -> Self {
        let mut mesh = Self {
            roles: topology
                .users
                .iter()
                .map(|user| (user.login.clone(), user.role))
                .collect(),
            domains: topology.domains.iter().cloned().collect(),
            ..Self::default()
        };
        for node in &topology.nodes {
            mesh.set_node(node.clone());
        }
        mesh
    }

    /// Adds a node, or replaces the one of this number.
    pub(crate) fn set_node(&mut self, node: Node) {
        self.remove_node(node.id);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
        });
        self.slots.insert(node.id, slot);
        match node.user() {
            Some(login) => {
                self.of_user
                    .entry(login.to_owned())
                    .or_default()
                    .insert(slot);
                self.untagged.insert(slot);
            }
            None => {
                self.tagged.insert(slot);
            }
        }
        for tag in node.tags() {
            self.of_tag.entry(tag.clone()).or_default().insert(slot);
        }
        if node.subnets().next().is_some() {
            self.routers.insert(slot);
        }
        if node.is_exit() {
            self.exits.insert(slot);
        }
        self.by_v4.insert((node.addresses.v4, slot));
        self.by_v6.insert((node.addresses.v6, slot));
        self.nodes[slot as usize] = Some(node);
    }

    pub(crate) fn remove_node(&mut self, id: NodeId) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        let Some(node) = self.nodes[slot as usize].take() else {
            return;
        };
        if let Some(login) = node.user() {
            remove(&mut self.of_user, login, slot);
        }
        for tag in node.tags() {
            remove(&mut self.of_tag, tag, slot);
        }
        for set in [
            &mut self.untagged,
            &mut self.tagged,
            &mut self.routers,
            &mut self.exits,
        ] {
            set.remove(&slot);
        }
        self.by_v4.remove(&(node.addresses.v4, slot));
        self.by_v6.remove(&(node.addresses.v6, slot));
        self.free.push(slot);
    }

    pub(crate) fn set_user(&mut self, user: User) {
        self.roles.insert(user.login, user.role);
    }

    pub(crate) fn remove_user(&mut self, login: &str) {
        self.roles.remove(login);
    }

    pub(crate) fn node(&self, slot: u32) -> Option<&Node> {
        self.nodes.get(slot as usize)?.as_ref()
    }

    pub(crate) fn slot(&self, id: NodeId) -> Option<u32> {
        self.slots.get(&id).copied()
    }

    /// Every node with its slot, in the order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Node)> {
        (0..)
            .zip(&self.nodes)
            .filter_map(|(slot, node)| Some((slot, node.as_ref()?)))
    }

    pub(crate) fn node_ids(&self) -> BTreeSet<NodeId> {
        self.slots.keys().copied().collect()
    }

    pub(crate) fn slots_of_user(&self, login: &str) -> impl Iterator<Item = u32> + '_ {
        self.of_user.get(login).into_iter().flatten().copied()
    }

    /// Whether a user of this login exists, with or without a node.
    pub(crate) fn has_user(&self, login: &str) -> bool {
        self.roles.contains_key(login) || self.of_user.contains_key(login)
    }

    pub(crate) fn has_domain(&self, domain: &str) -> bool {
        self.domains.contains(domain)
    }

    /// The node at a mesh address.
    pub(crate) fn slot_at(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(v4) => self
                .by_v4
                .range((v4, 0)..=(v4, u32::MAX))
                .next()
                .map(|e| e.1),
            IpAddr::V6(v6) => self
                .by_v6
                .range((v6, 0)..=(v6, u32::MAX))
                .next()
                .map(|e| e.1),
        }
    }

    pub(crate) fn slots_in(&self, range: &AddressRange) -> Vec<u32> {
        match (range.first(), range.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let entries = self.by_v4.range((first, 0)..=(last, u32::MAX));
                entries.map(|entry| entry.1).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let entries = self.by_v6.range((first, 0)..=(last, u32::MAX));
                entries.map(|entry| entry.1).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Every subnet that a node carries for others.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.routers
            .iter()
            .filter_map(|slot| self.node(*slot))
            .flat_map(|node| node.subnets().map(|net| (*net).into()))
    }

    /// The nodes with a subnet that shares an address with `ranges`.
    pub(crate) fn routers_of<'a>(&'a self, ranges: &'a RangeSet) -> impl Iterator<Item = u32> + 'a {
        self.routers.iter().copied().filter(move |slot| {
            self.node(*slot)
                .is_some_and(|node| node.subnets().any(|net| ranges.overlaps(&(*net).into())))
        })
    }

    /// The nodes that a selector names; those with an address in it, for addresses.
    pub(crate) fn select(&self, selector: &Selector, document: &Document) -> Vec<u32> {
        let of = |set: Option<&BTreeSet<u32>>| set.into_iter().flatten().copied().collect();
        let of_users = |keep: &dyn Fn(&str) -> bool| {
            self.of_user
                .iter()
                .filter(|(login, _)| keep(login))
                .flat_map(|(_, slots)| slots.iter().copied())
                .collect()
        };
        match selector {
            Selector::Any | Selector::DangerAll => self.iter().map(|(slot, _)| slot).collect(),
            Selector::User(login) => of(self.of_user.get(login)),
            Selector::Group(name) => document
                .groups
                .get(name)
                .into_iter()
                .flatten()
                .flat_map(|login| self.slots_of_user(login))
                .collect(),
            Selector::Tag(tag) => of(self.of_tag.get(tag)),
            Selector::Member | Selector::SelfDevices => of(Some(&self.untagged)),
            Selector::Tagged => of(Some(&self.tagged)),
            Selector::Internet => of(Some(&self.exits)),
            Selector::Shared => Vec::new(),
            Selector::Role(role) => of_users(&|login| self.roles.get(login) == Some(role)),
            Selector::Domain(domain) => {
                let known = self.has_domain(domain);
                of_users(&|login| known && domain_of(login) == Some(domain))
            }
            Selector::Host(_) | Selector::Ipset(_) | Selector::Range(_) => {
                let ranges = document.ranges(selector);
                ranges
                    .iter()
                    .flat_map(|range| self.slots_in(range))
                    .collect()
            }
        }
    }

    /// Whether a change of this node can change what the selector stands for, on either side of a
    /// rule.
    pub(crate) fn touches(&self, selector: &Selector, node: &Node, document: &Document) -> bool {
        let user = node.user();
        match selector {
            Selector::Any | Selector::DangerAll => true,
            Selector::User(login) => user == Some(login),
            Selector::Group(name) => user.is_some_and(|user| {
                document
                    .groups
                    .get(name)
                    .is_some_and(|logins| logins.iter().any(|login| login == user))
            }),
            Selector::Tag(tag) => node.tags().contains(tag),
            Selector::Member | Selector::SelfDevices => user.is_some(),
            Selector::Tagged => user.is_none(),
            Selector::Internet => node.is_exit(),
            Selector::Shared => false,
            Selector::Role(role) => user.is_some_and(|user| self.roles.get(user) == Some(role)),
            Selector::Domain(domain) => {
                let known = self.has_domain(domain);
                known && user.is_some_and(|user| domain_of(user) == Some(domain))
            }
            Selector::Host(_) | Selector::Ipset(_) | Selector::Range(_) => {
                let own = node.addresses.both().map(AddressRange::from);
                let nets = node.subnets().map(|net| (*net).into());
                let all: Vec<AddressRange> = own.into_iter().chain(nets).collect();
                document
                    .ranges(selector)
                    .iter()
                    .any(|range| all.iter().any(|other| other.overlaps(range)))
            }
        }
    }
}

impl Document {
    /// The addresses of a selector that names addresses.
    pub(crate) fn ranges<'a>(&'a self, selector: &'a Selector) -> &'a [AddressRange] {
        match selector {
            Selector::Range(range) => std::slice::from_ref(range),
            Selector::Host(name) => self.hosts.get(name).map_or(&[], std::slice::from_ref),
            Selector::Ipset(name) => self.ipsets.get(name).map_or(&[], Vec::as_slice),
            Selector::Any
            | Selector::DangerAll
            | Selector::User(_)
            | Selector::Group(_)
            | Selector::Tag(_)
            | Selector::Member
            | Selector::Tagged
            | Selector::SelfDevices
            | Selector::Internet
            | Selector::Shared
            | Selector::Role(_)
            | Selector::Domain(_) => &[],
        }
    }
}

/// What follows the last `@` of a login; domains are compared byte for byte.
pub(crate) fn domain_of(login: &str) -> Option<&str> {
    login.rsplit_once('@').map(|(_, domain)| domain)
}

fn remove(index: &mut HashMap<String, BTreeSet<u32>>, key: &str, slot: u32) {
    if let Some(set) = index.get_mut(key) {
        set.remove(&slot);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
