//! Who has which name and which address.

use std::collections::HashMap;
use std::net::IpAddr;

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::NodeId;
use meshd_contract::network_document::NetworkDocument;

/// The names and addresses of one network document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    domain: String,
    by_name: HashMap<String, MeshAddresses>,
    by_address: HashMap<IpAddr, NodeId>,
    own: Vec<IpAddr>,
}

impl Names {
    /// Of this node and its peers.
    #[must_use]
    pub fn from_document(document: &NetworkDocument) -> Self {
        let own = (document.header.node, &document.name, document.addresses);
        let peers = document.peers.iter();
        let nodes = peers.map(|peer| (peer.node, &peer.name, peer.addresses));
        let mut names = Self {
            domain: document.domain.to_ascii_lowercase(),
            own: document.addresses.both().to_vec(),
            ..Self::default()
        };
        for (node, name, addresses) in nodes.chain([own]) {
            names.by_name.insert(name.as_str().to_owned(), addresses);
            for address in addresses.both() {
                names.by_address.insert(address, node);
            }
        }
        names
    }

    /// The node with this address.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<NodeId> {
        self.by_address.get(&address.to_canonical()).copied()
    }

    /// Whether the address is this node's.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address.to_canonical())
    }

    /// The addresses of a node by its name, with or without the domain, in letters of any case.
    #[must_use]
    pub fn addresses_of(&self, name: &str) -> Option<MeshAddresses> {
        self.by_name.get(&self.label(name)?).copied()
    }

    /// Whether names below this one are this mesh's to answer: a single label, the domain itself,
    /// or a name in it.
    #[must_use]
    pub fn is_responsible_for(&self, name: &str) -> bool {
        self.is_domain(name) || self.label(name).is_some()
    }

    /// Whether this is the domain of all names.
    #[must_use]
    pub fn is_domain(&self, name: &str) -> bool {
        normalized(name) == self.domain
    }

    fn label(&self, name: &str) -> Option<String> {
        let name = normalized(name);
        let label = name
            .strip_suffix(&self.domain)
            .and_then(|label| label.strip_suffix('.'))
            .unwrap_or(&name);
        (!label.is_empty() && !label.contains('.')).then(|| label.to_owned())
    }
}

fn normalized(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use meshd_contract::document::{Header, Version};
    use meshd_contract::identity::Owner;
    use meshd_contract::key::WireGuardKey;
    use meshd_contract::network_document::NetworkPeer;
    use meshd_contract::time::Timestamp;

    use super::*;

    pub(crate) fn addresses(n: u8) -> MeshAddresses {
        MeshAddresses {
            v4: Ipv4Addr::new(100, 64, 0, n),
            v6: Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, n.into()),
        }
    }

    pub(crate) fn peer(n: u8, name: &str) -> NetworkPeer {
        NetworkPeer {
            node: NodeId(n.into()),
            name: name.parse().expect("a name"),
            addresses: addresses(n),
            wireguard_key: WireGuardKey([n; 32]),
            endpoints: Vec::new(),
            owner: Owner::User("a@example.com".to_owned()),
            routes: Vec::new(),
            ssh_host_keys: Vec::new(),
            key_expires_at: None,
        }
    }

    pub(crate) fn document() -> NetworkDocument {
        NetworkDocument {
            header: Header {
                node: NodeId(1),
                version: Version(1),
                issued_at: Timestamp(1),
                expires_at: Timestamp(1000),
            },
            domain: "mesh.internal".to_owned(),
            name: "web1".parse().expect("a name"),
            addresses: addresses(1),
            owner: Owner::Tags(vec!["tag:web".to_owned()]),
            peers: vec![peer(2, "laptop")],
            filter: Vec::new(),
            key_expires_at: None,
        }
    }

    #[test]
    fn names_are_found_in_every_spelling() {
        let names = Names::from_document(&document());
        for name in [
            "laptop",
            "LAPTOP",
            "laptop.mesh.internal",
            "Laptop.Mesh.Internal.",
        ] {
            assert_eq!(names.addresses_of(name), Some(addresses(2)), "{name}");
        }
        assert_eq!(names.addresses_of("web1"), Some(addresses(1)));
        for name in [
            "",
            ".",
            "lapto",
            "laptop.example.com",
            "a.laptop",
            "mesh.internal",
        ] {
            assert_eq!(names.addresses_of(name), None, "{name}");
        }
    }

    #[test]
    fn other_domains_are_not_ours() {
        let names = Names::from_document(&document());
        for name in [
            "nobody",
            "nobody.mesh.internal",
            "mesh.internal",
            "Mesh.Internal.",
        ] {
            assert!(names.is_responsible_for(name), "{name}");
        }
        for name in ["example.com", "a.b.mesh.internal", "xmesh.internal", "."] {
            assert!(!names.is_responsible_for(name), "{name}");
        }
    }

    #[test]
    fn addresses_lead_to_nodes() {
        let names = Names::from_document(&document());
        for address in addresses(2).both() {
            assert_eq!(names.node_at(address), Some(NodeId(2)));
            assert!(!names.is_own(address));
        }
        assert!(names.is_own(addresses(1).v6.into()));
        assert_eq!(names.node_at(addresses(3).v4.into()), None);
    }
}
