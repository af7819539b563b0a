//! Nodes that stand in for those that have not joined yet.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, Owner};

use crate::model::Document;
use crate::topology::{Node, Topology};

/// The topology with a node more for each tag and user that a test names and that has none.
pub(super) fn with_phantoms(document: &Document, topology: &Topology) -> Topology {
    let mut extended = topology.clone();
    let mut addresses = UnusedAddresses::new(document, topology);
    for owner in wanted(document, topology) {
        let Some(node) = addresses.next_node(owner) else {
            break;
        };
        extended.nodes.push(node);
    }
    extended
}

fn wanted(document: &Document, topology: &Topology) -> BTreeSet<Owner> {
    let with_node: HashSet<&str> = topology.nodes.iter().filter_map(Node::user).collect();
    let carried: HashSet<&String> = topology.nodes.iter().flat_map(Node::tags).collect();
    let users: HashSet<&str> = topology.users.iter().map(|u| u.login.as_str()).collect();
    let mut owners = BTreeSet::new();
    for word in words(document) {
        if let Some(logins) = document.groups.get(word) {
            if !logins
                .iter()
                .any(|login| with_node.contains(login.as_str()))
            {
                owners.extend(logins.iter().cloned().map(Owner::User));
            }
        } else if document.tag_owners.contains_key(word) {
            let tag = word.to_owned();
            if !carried.contains(&tag) {
                owners.insert(Owner::Tags(vec![tag]));
            }
        } else if users.contains(word) && !with_node.contains(word) {
            owners.insert(Owner::User(word.to_owned()));
        }
    }
    owners
}

/// Every word of a test that may name nodes.
fn words(document: &Document) -> impl Iterator<Item = &str> {
    let network = document.tests.iter().flat_map(|test| {
        let assertions = test.accept.iter().chain(&test.deny);
        let names = assertions.filter_map(|word| Some(word.text.rsplit_once(':')?.0));
        names.chain([test.source.as_str()])
    });
    let ssh = document.ssh_tests.iter().flat_map(|test| {
        let destinations = test.destinations.iter().map(|word| word.text.as_str());
        destinations.chain([test.source.as_str()])
    });
    network.chain(ssh)
}

/// Mesh addresses, from the highest down, that no node has and no rule names by itself.
struct UnusedAddresses {
    taken: BTreeSet<IpAddr>,
    next: u32,
    next_id: u64,
}

/// The highest address of the mesh's IPv4 range but one.
const LAST: u32 = 0x647f_fffe;

/// How many addresses are tried before the mesh counts as full.
const MOST: u32 = 1 << 20;

impl UnusedAddresses {
    fn new(document: &Document, topology: &Topology) -> Self {
        let nodes = topology.nodes.iter().flat_map(|node| node.addresses.both());
        let literals = document
            .network
            .iter()
            .flat_map(|rule| {
                let destinations = rule.permits.iter().map(|permit| &permit.destination);
                rule.sources.iter().chain(destinations)
            })
            .flat_map(|selector| document.ranges(selector))
            .filter(|range| range.first() == range.last())
            .map(|range| range.first());
        Self {
            taken: nodes.chain(literals).collect(),
            next: LAST,
            next_id: u64::MAX,
        }
    }

    fn next_node(&mut self, owner: Owner) -> Option<Node> {
        while self.next > LAST - MOST {
            let v4 = Ipv4Addr::from(self.next);
            let [_, b, c, d] = v4.octets().map(u16::from);
            let v6 = Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0xffff, 0xffff, b, c, d);
            self.next -= 1;
            if self.taken.contains(&v4.into()) || self.taken.contains(&v6.into()) {
                continue;
            }
            let id = NodeId(self.next_id);
            self.next_id -= 1;
            return Some(Node {
                id,
                name: format!("future-{}", LAST - self.next).parse().ok()?,
                addresses: MeshAddresses { v4, v6 },
                owner,
                approved_routes: Vec::new(),
            });
        }
        None
    }
}
