//! A policy read as plainly as can be: no index, no merging, one question at a time.

use std::net::IpAddr;

use ipnet::IpNet;
use meshd_policy::{Node, Role, Topology};
use serde_json::Value;

pub(crate) struct Oracle<'a> {
    policy: &'a Value,
    topology: &'a Topology,
    rules: Vec<Rule>,
}

/// A packet as it reaches the node that owns or carries its destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe<'a> {
    pub(crate) source: IpAddr,
    pub(crate) node: &'a Node,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
}

/// A rule's own words for what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) rule: String,
    pub(crate) is_check: bool,
    pub(crate) terms: Vec<String>,
}

/// One destination of a network rule, with its protocols and ports.
struct Permit {
    destination: String,
    protocols: Vec<u8>,
    ports: Vec<(u16, u16)>,
}

struct Rule {
    name: String,
    sources: Vec<String>,
    permits: Vec<Permit>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(policy: &'a Value, topology: &'a Topology) -> Self {
        Self {
            policy,
            topology,
            rules: rules(policy),
        }
    }

    pub(crate) fn permits(&self, probe: &Probe<'_>) -> Option<String> {
        let lacks = self.network_lacks(probe);
        lacks
            .into_iter()
            .find(|(_, lacks)| *lacks == 0)
            .map(|(name, _)| name)
    }

    /// Each rule with the number of conditions that its nearest permit misses.
    pub(crate) fn network_lacks(&self, probe: &Probe<'_>) -> Vec<(String, usize)> {
        let rules = self.rules.iter();
        rules
            .filter_map(|rule| {
                let lacks = rule
                    .permits
                    .iter()
                    .map(|permit| self.lacks(rule, permit, probe));
                Some((rule.name.clone(), lacks.min()?))
            })
            .collect()
    }

    fn lacks(&self, rule: &Rule, permit: &Permit, probe: &Probe<'_>) -> usize {
        let own = probe.node.addresses.contains(probe.destination);
        let word = permit.destination.as_str();
        let mut source = rule
            .sources
            .iter()
            .any(|s| self.source_has(s, probe.source));
        let destination = match word {
            "*" => true,
            "autogroup:internet" => probe.node.is_exit() && is_internet(probe.destination),
            "autogroup:self" => {
                let from = self.node_at(probe.source);
                let user = probe.node.user();
                source = user.is_some()
                    && from.is_some_and(|from| {
                        from.user() == user && rule.sources.iter().any(|s| self.names(s, from))
                    });
                own && user.is_some()
            }
            _ => match self.prefix(word) {
                Some(net) => net.contains(&probe.destination),
                None => own && self.names(word, probe.node),
            },
        };
        let protocol = permit.protocols.contains(&probe.protocol);
        let port = permit
            .ports
            .iter()
            .any(|(first, last)| *first <= probe.port && probe.port <= *last);
        [source, destination, protocol, port]
            .iter()
            .filter(|fits| !**fits)
            .count()
    }

    pub(crate) fn are_peers(&self, a: &Node, b: &Node) -> bool {
        a.id != b.id && (self.sees(a, b) || self.sees(b, a))
    }

    /// Whether some rule of `to` names `from` as a source.
    fn sees(&self, from: &Node, to: &Node) -> bool {
        self.rules.iter().any(|rule| {
            rule.permits.iter().any(|permit| {
                let word = permit.destination.as_str();
                if word == "autogroup:self" {
                    return to.user().is_some()
                        && from.user() == to.user()
                        && rule.sources.iter().any(|s| self.names(s, from));
                }
                let concerned = match word {
                    "*" => true,
                    "autogroup:internet" => to.is_exit(),
                    _ => match self.prefix(word) {
                        Some(net) => touches(to, &net),
                        None => self.names(word, to),
                    },
                };
                let visible = rule.sources.iter().any(|source| match self.prefix(source) {
                    Some(net) => touches(from, &net),
                    None => {
                        self.names(source, from)
                            || (source == "*" && from.subnets().next().is_some())
                    }
                });
                concerned && visible
            })
        })
    }

    fn source_has(&self, word: &str, address: IpAddr) -> bool {
        match word {
            "autogroup:danger-all" => true,
            "*" => {
                let chrome: IpNet = "100.115.92.0/23".parse().expect("a prefix");
                let mesh = ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]
                    .iter()
                    .map(|net| net.parse::<IpNet>().expect("a prefix"));
                let mut nets =
                    mesh.chain(self.topology.nodes.iter().flat_map(Node::subnets).copied());
                nets.any(|net| net.contains(&address)) && !chrome.contains(&address)
            }
            _ => match self.prefix(word) {
                Some(net) => net.contains(&address),
                None => self
                    .node_at(address)
                    .is_some_and(|node| self.names(word, node)),
            },
        }
    }

    fn prefix(&self, word: &str) -> Option<IpNet> {
        let alias = self.policy["hosts"][word].as_str().unwrap_or(word);
        let net = alias.parse::<IpNet>().ok();
        net.or_else(|| alias.parse::<IpAddr>().ok().map(IpNet::from))
    }

    /// Whether a selector names a node, whatever its addresses.
    fn names(&self, word: &str, node: &Node) -> bool {
        let user = node.user();
        let role = |role: Role| {
            let users = self.topology.users.iter();
            users
                .clone()
                .any(|u| Some(u.login.as_str()) == user && u.role == role)
        };
        match word {
            "*" | "autogroup:danger-all" => true,
            "autogroup:member" => user.is_some(),
            "autogroup:tagged" => user.is_none(),
            "autogroup:admin" => role(Role::Admin),
            "autogroup:auditor" => role(Role::Auditor),
            "user:*@x.com" => user.is_some_and(|user| user.ends_with("@x.com")),
            _ if word.starts_with("group:") => {
                let logins = self.policy["groups"][word].as_array().expect("a group");
                logins.iter().any(|login| login.as_str() == user)
            }
            _ if word.starts_with("tag:") => node.tags().iter().any(|tag| tag == word),
            _ => user == Some(word),
        }
    }

    pub(crate) fn node_at(&self, address: IpAddr) -> Option<&Node> {
        let mut nodes = self.topology.nodes.iter();
        nodes.find(|node| node.addresses.contains(address))
    }

    pub(crate) fn ssh(&self, from: &Node, to: &Node, login: &str) -> Option<Decided> {
        let lacks = self.ssh_lacks(from, to, login);
        let decides = lacks.iter().find(|(_, _, lacks)| *lacks == 0);
        decides.map(|(index, _, _)| {
            let rule = &self.policy["ssh"][*index];
            let mut terms = Vec::new();
            match rule["checkPeriod"].as_str() {
                None => {}
                Some("1h") => terms.push("checkPeriod 3600s".to_owned()),
                Some("20m") => terms.push("checkPeriod 1200s".to_owned()),
                Some(other) => terms.push(format!("checkPeriod {other}")),
            }
            if !rule["acceptEnv"].is_null() {
                terms.push("acceptEnv GIT_*".to_owned());
            }
            Decided {
                rule: format!("ssh[{index}]"),
                is_check: rule["action"] == "check",
                terms,
            }
        })
    }

    /// Each rule in the order of deciding, with the number of conditions that it misses.
    pub(crate) fn ssh_lacks(
        &self,
        from: &Node,
        to: &Node,
        login: &str,
    ) -> Vec<(usize, String, usize)> {
        let rules = self.policy["ssh"].as_array().map_or(&[][..], Vec::as_slice);
        let mut lacks: Vec<(usize, String, usize)> = Vec::new();
        for check in [true, false] {
            for (index, rule) in rules.iter().enumerate() {
                if (rule["action"] == "check") == check {
                    let count = self.ssh_rule_lacks(rule, from, to, login);
                    lacks.push((index, format!("ssh[{index}]"), count));
                }
            }
        }
        lacks
    }

    fn ssh_rule_lacks(&self, rule: &Value, from: &Node, to: &Node, login: &str) -> usize {
        let own = to.user().is_some()
            && words(&rule["dst"])
                .iter()
                .any(|word| word == "autogroup:self" || Some(word.as_str()) == to.user());
        let tagged = to.user().is_none()
            && words(&rule["dst"])
                .iter()
                .any(|word| word.contains("tag") && self.names(word, to));
        let named = words(&rule["src"])
            .iter()
            .any(|word| self.names(word, from));
        let source = named && (!own || from.user() == to.user());
        let lists = words(&rule["users"])
            .iter()
            .any(|word| match word.as_str() {
                "autogroup:nonroot" => login != "root",
                "localpart:*@x.com" => {
                    login != "root" && from.user() == Some(&format!("{login}@x.com"))
                }
                _ => word == login,
            });
        [source, own || tagged, lists]
            .iter()
            .filter(|fits| !**fits)
            .count()
    }
}

fn rules(policy: &Value) -> Vec<Rule> {
    let list = |section: &str| policy[section].as_array().cloned();
    let (grants, acls) = (list("grants"), list("acls"));
    if grants.is_none() && acls.is_none() {
        return vec![Rule {
            name: "no grants and no acls".to_owned(),
            sources: vec!["*".to_owned()],
            permits: vec![Permit {
                destination: "*".to_owned(),
                protocols: vec![6, 17, 1, 58],
                ports: vec![(0, u16::MAX)],
            }],
        }];
    }
    let grants = grants.unwrap_or_default().into_iter().enumerate();
    let grants = grants.map(|(index, rule)| Rule {
        name: format!("grants[{index}]"),
        sources: words(&rule["src"]),
        permits: cross(&words(&rule["dst"]), &words(&rule["ip"])),
    });
    let acls = acls.unwrap_or_default().into_iter().enumerate();
    let acls = acls.map(|(index, rule)| Rule {
        name: format!("acls[{index}]"),
        sources: words(&rule["src"]),
        permits: words(&rule["dst"])
            .iter()
            .map(|word| {
                let (name, ports) = word.rsplit_once(':').expect("a port");
                Permit {
                    destination: name.to_owned(),
                    protocols: protocols(rule["proto"].as_str()),
                    ports: ports_of(ports),
                }
            })
            .collect(),
    });
    grants.chain(acls).collect()
}

fn cross(destinations: &[String], items: &[String]) -> Vec<Permit> {
    let mut permits = Vec::new();
    for destination in destinations {
        for item in items {
            let (protocol, ports) = match item.split_once(':') {
                Some((protocol, ports)) => (Some(protocol), ports),
                None => (None, item.as_str()),
            };
            permits.push(Permit {
                destination: destination.clone(),
                protocols: protocols(protocol),
                ports: ports_of(ports),
            });
        }
    }
    permits
}

fn protocols(word: Option<&str>) -> Vec<u8> {
    match word {
        None => vec![6, 17, 1, 58],
        Some("tcp") => vec![6],
        Some("udp" | "17") => vec![17],
        Some("icmp") => vec![1],
        Some("sctp") => vec![132],
        Some(other) => panic!("{other}"),
    }
}

fn ports_of(text: &str) -> Vec<(u16, u16)> {
    if text == "*" {
        return vec![(0, u16::MAX)];
    }
    let number = |text: &str| text.parse::<u16>().expect("a port");
    text.split(',')
        .map(|range| match range.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None => (number(range), number(range)),
        })
        .collect()
}

fn touches(node: &Node, net: &IpNet) -> bool {
    let own = node.addresses.both().into_iter().any(|a| net.contains(&a));
    own || node
        .subnets()
        .any(|subnet| subnet.contains(net) || net.contains(subnet))
}

fn is_internet(address: IpAddr) -> bool {
    let not = [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ];
    match address {
        IpAddr::V4(_) => !not
            .iter()
            .any(|net| net.parse::<IpNet>().expect("a prefix").contains(&address)),
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

fn words(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .map(|item| item.as_str().expect("a string").to_owned())
        .collect()
}
