//! The rules of the table `inet meshd`, from a network document.
//!
//! | chain | hook | what it does |
//! |---|---|---|
//! | `guard` | prerouting, raw | drops mesh addresses that come in through another device |
//! | `to_ssh` | prerouting, dstnat | sends port 22 to the manager while SSH is on |
//! | `to_resolver` | output, dstnat | sends this host's queries to port 53 to the manager |
//! | `input` | input, filter | lets in from the mesh what the policy permits |
//! | `forward` | forward, filter | lets nothing new from the mesh through this host |
//!
//! No chain has the name of an nft keyword, or its own listing could not be loaded again.
//!
//! Ports are those that the peer asked for (`ct original proto-dst`), so that the policy's port 22
//! covers a connection that `to_ssh` has sent elsewhere.

use std::net::IpAddr;

use meshd_contract::address::{AddressRange, MESH_V4, MESH_V6, MeshAddresses};
use meshd_contract::filter::{FilterRule, PortRange, Sources};
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::paths::{DNS_PORT, SSH_PORT};
use serde_json::{Value, json};

use super::expression::{
    accept, comes_in, destination, drop, field, is_known, matches, meta, original_port, port_range,
    written,
};

/// The table's name.
pub const TABLE: &str = "meshd";
/// The table's family.
pub const FAMILY: &str = "inet";

const SSH: u16 = 22;
const DNS: u16 = 53;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
/// What a rule without protocols permits.
const DEFAULT_PROTOCOLS: [u8; 4] = [TCP, UDP, ICMP, ICMPV6];

/// A chain and its rules, in nft's JSON (libnftables-json(5)).
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    kind: &'static str,
    hook: &'static str,
    priority: i32,
    /// Each rule's expressions.
    pub rules: Vec<Value>,
}

impl Chain {
    /// The command that creates the chain, empty; no error where it is there.
    #[must_use]
    pub fn add(&self) -> Value {
        json!({"add": {"chain": {
            "family": FAMILY, "table": TABLE, "name": self.name, "type": self.kind,
            "hook": self.hook, "prio": self.priority, "policy": "accept",
        }}})
    }

    /// The command that empties the chain.
    #[must_use]
    pub fn flush(&self) -> Value {
        json!({"flush": {"chain": {"family": FAMILY, "table": TABLE, "name": self.name}}})
    }

    /// The commands that fill it.
    pub fn fill(&self) -> impl Iterator<Item = Value> {
        self.rules.iter().map(|expressions| {
            json!({"add": {"rule": {
                "family": FAMILY, "table": TABLE, "chain": self.name, "expr": expressions,
            }}})
        })
    }
}

/// The whole table.
///
/// `filter` is the policy's; empty where the document has expired.
#[must_use]
pub fn table(
    document: &NetworkDocument,
    filter: &[FilterRule],
    device: &str,
    ssh: bool,
) -> Vec<Chain> {
    let own = document.addresses;
    vec![
        Chain {
            name: "guard",
            kind: "filter",
            hook: "prerouting",
            priority: -300,
            rules: guard(&own, device),
        },
        Chain {
            name: "to_ssh",
            kind: "nat",
            hook: "prerouting",
            priority: -100,
            rules: if ssh {
                to_ssh(&own, device)
            } else {
                Vec::new()
            },
        },
        Chain {
            name: "to_resolver",
            kind: "nat",
            hook: "output",
            priority: -100,
            rules: to_resolver(&own),
        },
        Chain {
            name: "input",
            kind: "filter",
            hook: "input",
            priority: 0,
            rules: input(filter, &own, device, ssh),
        },
        Chain {
            name: "forward",
            kind: "filter",
            hook: "forward",
            priority: 0,
            rules: vec![
                json!([comes_in("==", json!(device)), is_known(), accept()]),
                json!([comes_in("==", json!(device)), drop()]),
            ],
        },
    ]
}

fn guard(own: &MeshAddresses, device: &str) -> Vec<Value> {
    let elsewhere = || comes_in("!=", json!({"set": [device, "lo"]}));
    let prefix = |address: IpAddr, length: u8| json!({"prefix": {"addr": address, "len": length}});
    let v4 = prefix(MESH_V4.network().into(), MESH_V4.prefix_len());
    let v6 = prefix(MESH_V6.network().into(), MESH_V6.prefix_len());
    vec![
        json!([elsewhere(), field("ip", "saddr", v4), drop()]),
        json!([elsewhere(), field("ip6", "saddr", v6), drop()]),
        json!([elsewhere(), field("ip", "daddr", json!(own.v4)), drop()]),
        json!([elsewhere(), field("ip6", "daddr", json!(own.v6)), drop()]),
    ]
}

/// The address is named, not left to `redirect`, which takes the device's first: for IPv6 that may
/// be a link-local one.
fn to_ssh(own: &MeshAddresses, device: &str) -> Vec<Value> {
    let rule = |family: &str, address: IpAddr| {
        json!([
            comes_in("==", json!(device)),
            field(family, "daddr", json!(address)),
            field("tcp", "dport", json!(SSH)),
            destination(family, address, SSH_PORT),
        ])
    };
    vec![rule("ip", own.v4.into()), rule("ip6", own.v6.into())]
}

fn to_resolver(own: &MeshAddresses) -> Vec<Value> {
    let mut rules = Vec::new();
    for (family, address) in [("ip", IpAddr::from(own.v4)), ("ip6", own.v6.into())] {
        for protocol in ["udp", "tcp"] {
            rules.push(json!([
                field(family, "daddr", json!(address)),
                field(protocol, "dport", json!(DNS)),
                destination(family, address, DNS_PORT),
            ]));
        }
    }
    rules
}

fn input(filter: &[FilterRule], own: &MeshAddresses, device: &str, ssh: bool) -> Vec<Value> {
    let mut rules = vec![
        json!([comes_in("!=", json!(device)), accept()]),
        json!([is_known(), accept()]),
    ];
    if ssh {
        // Whoever asks for the private port itself has not come through port 22.
        rules.push(json!([
            field("tcp", "dport", json!(SSH_PORT)),
            matches("!=", original_port(), json!(SSH)),
            drop(),
        ]));
    }
    for protocol in ["udp", "tcp"] {
        rules.push(json!([field(protocol, "dport", json!(DNS_PORT)), drop()]));
    }
    rules.extend(filter.iter().flat_map(|rule| permissions(rule, own)));
    rules.push(json!([drop()]));
    rules
}

/// What one rule of the policy permits: one nft rule for each family, destination, and way in
/// which its protocols know ports.
fn permissions(rule: &FilterRule, own: &MeshAddresses) -> Vec<Value> {
    let protocols = if rule.protocols.is_empty() {
        &DEFAULT_PROTOCOLS[..]
    } else {
        &rule.protocols
    };
    let mut permitted = Vec::new();
    for (family, address) in [("ip", IpAddr::from(own.v4)), ("ip6", own.v6.into())] {
        let Some(source) = source(family, &rule.sources) else {
            continue;
        };
        let mut merged: Vec<(Option<AddressRange>, Vec<PortRange>)> = Vec::new();
        for destination in &rule.destinations {
            let meant = destination
                .addresses
                .filter(|range| !range.contains(address));
            if meant.is_some() {
                continue;
            }
            match merged
                .iter_mut()
                .find(|(range, _)| *range == destination.addresses)
            {
                Some((_, ports)) => ports.push(destination.ports),
                None => merged.push((destination.addresses, vec![destination.ports])),
            }
        }
        for (range, ports) in merged {
            let mut head = source.clone();
            head.extend(range.map(|range| field(family, "daddr", written(&range))));
            permitted.extend(by_protocol(&head, family, protocols, ports));
        }
    }
    permitted
}

/// The match of a rule's sources; none where it has no source of this family.
fn source(family: &str, sources: &Sources) -> Option<Vec<Value>> {
    let protocol = if family == "ip" { "ipv4" } else { "ipv6" };
    match sources {
        Sources::Any => Some(vec![meta("nfproto", json!(protocol))]),
        Sources::Ranges(ranges) => {
            let fits = |range: &&AddressRange| range.first().is_ipv4() == (family == "ip");
            let set: Vec<Value> = ranges.iter().filter(fits).map(written).collect();
            (!set.is_empty()).then(|| vec![field(family, "saddr", json!({"set": set}))])
        }
    }
}

fn by_protocol(
    head: &[Value],
    family: &str,
    protocols: &[u8],
    ports: Vec<PortRange>,
) -> Vec<Value> {
    let foreign = if family == "ip" { ICMPV6 } else { ICMP };
    let has_ports = |protocol: &u8| matches!(*protocol, TCP | UDP | SCTP);
    let (with, without): (Vec<u8>, Vec<u8>) = protocols
        .iter()
        .copied()
        .filter(|protocol| *protocol != foreign)
        .partition(has_ports);
    let mut rules = Vec::new();
    let mut permit = |protocols: &[u8], port: Option<Value>| {
        let mut expressions = head.to_vec();
        expressions.push(meta("l4proto", json!({ "set": protocols })));
        expressions.extend(port.map(|port| matches("==", original_port(), port)));
        expressions.push(accept());
        rules.push(Value::Array(expressions));
    };
    let ports = merge(ports);
    if ports == [PortRange::ALL] && !with.is_empty() {
        permit(&with, None);
    } else if !with.is_empty() {
        // A rule for each range: of a set of these nft prints what it cannot read again, and
        // administrators save their rules that way.
        ports
            .iter()
            .for_each(|range| permit(&with, Some(port_range(range))));
    }
    if !without.is_empty() {
        permit(&without, None);
    }
    rules
}

/// Sorted and without overlap.
fn merge(mut ports: Vec<PortRange>) -> Vec<PortRange> {
    ports.sort();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ports {
        match merged.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use meshd_contract::filter::FilterDestination;

    use super::*;
    use crate::manager::names::tests::{addresses, document};

    fn rule(sources: Sources, protocols: &[u8], to: &[(Option<&str>, u16, u16)]) -> FilterRule {
        let destination = |(range, first, last): &(Option<&str>, u16, u16)| FilterDestination {
            addresses: range.map(|text| text.parse().expect("a range")),
            ports: PortRange {
                first: *first,
                last: *last,
            },
        };
        FilterRule {
            sources,
            protocols: protocols.to_vec(),
            destinations: to.iter().map(destination).collect(),
        }
    }

    fn from(ranges: &[&str]) -> Sources {
        let parse = |text: &&str| text.parse().expect("a range");
        Sources::Ranges(ranges.iter().map(parse).collect())
    }

    fn permitted(rule: &FilterRule) -> Vec<String> {
        let rules = permissions(rule, &addresses(1));
        rules.iter().map(Value::to_string).collect()
    }

    #[test]
    fn a_rule_permits_its_ports_to_this_node_only() {
        let rule = rule(
            from(&["100.64.0.2"]),
            &[],
            &[
                (Some("100.64.0.1"), 22, 22),
                (Some("100.64.0.9"), 80, 80),
                (Some("100.64.0.1"), 20, 25),
            ],
        );
        let rules = permitted(&rule);
        assert_eq!(rules.len(), 2, "{rules:#?}");
        assert!(rules[0].contains(r#""set":[6,17]"#), "{}", rules[0]);
        assert!(rules[0].contains(r#""range":[20,25]"#), "{}", rules[0]);
        assert!(rules[1].contains(r#""set":[1]"#), "{}", rules[1]);
        assert!(!rules.iter().any(|rule| rule.contains("100.64.0.9")));
    }

    #[test]
    fn families_do_not_mix() {
        let rule = rule(
            from(&["100.64.0.2", "fd7a:115c:a1e0::2"]),
            &[ICMPV6],
            &[(None, 0, 65535)],
        );
        let rules = permitted(&rule);
        assert_eq!(rules.len(), 1, "{rules:#?}");
        assert!(rules[0].contains("fd7a:115c:a1e0::2"), "{}", rules[0]);
        assert!(!rules[0].contains("proto-dst"), "{}", rules[0]);
    }

    #[test]
    fn any_source_is_any_of_both_families() {
        let rules = permitted(&rule(Sources::Any, &[TCP], &[(None, 443, 443)]));
        assert_eq!(rules.len(), 2, "{rules:#?}");
        assert!(rules[0].contains("ipv4") && rules[1].contains("ipv6"));
    }

    #[test]
    fn without_permission_everything_from_the_mesh_is_dropped() {
        let chains = table(&document(), &[], "mesh0", true);
        let input = chains
            .iter()
            .find(|chain| chain.name == "input")
            .expect("is there");
        assert_eq!(input.rules.last(), Some(&json!([{"drop": null}])));
        let accepted = input
            .rules
            .iter()
            .filter(|rule| rule.to_string().contains("accept"));
        assert_eq!(accepted.count(), 2);
    }

    #[test]
    fn port_22_is_taken_only_while_ssh_is_on() {
        for ssh in [true, false] {
            let chains = table(&document(), &[], "mesh0", ssh);
            let text = format!("{chains:?}");
            assert_eq!(text.contains("7122"), ssh);
        }
    }

    #[test]
    fn port_ranges_are_merged() {
        let range = |first, last| PortRange { first, last };
        let merged = merge(vec![
            range(80, 90),
            range(22, 22),
            range(85, 100),
            range(101, 101),
        ]);
        assert_eq!(merged, [range(22, 22), range(80, 101)]);
        assert_eq!(merge(vec![range(1, 65535), range(0, 0)]), [PortRange::ALL]);
    }
}
