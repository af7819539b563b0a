//! Compiled decisions, explanations and differences against a plain reading, on policies and
//! meshes made from seeds. `MESHD_POLICY_GENERATED=100000` runs as many cases.

mod generated;

use std::collections::BTreeSet;
use std::net::IpAddr;

use generated::oracle::{Decided, Oracle, Probe};
use generated::{Dice, LOGINS, changed, policy, topology};
use meshd_contract::filter::{FilterRule, Sources};
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, CheckPeriod, Decision, decide};
use meshd_policy::{
    ChangeKind, Compiled, Difference, Endpoint, LoginClass, Node, NodeView, Policy, Question,
    SshOutcome, Topology,
};

const PORTS: [u16; 9] = [1, 20, 22, 23, 53, 80, 100, 443, 65535];
const PROTOCOLS: [u8; 5] = [6, 17, 1, 58, 132];

struct Case {
    text: String,
    value: serde_json::Value,
    topology: Topology,
}

impl Case {
    fn new(dice: &mut Dice) -> Self {
        let value = policy(dice);
        Self {
            text: value.to_string(),
            value,
            topology: topology(dice),
        }
    }

    fn oracle(&self) -> Oracle<'_> {
        Oracle::new(&self.value, &self.topology)
    }

    fn policy(&self) -> Policy {
        let policy = Policy::parse(&self.text);
        policy.unwrap_or_else(|errors| panic!("{errors}\n{}", self.text))
    }
}

fn account(login: &str) -> Account {
    Account {
        login: login.parse::<Login>().expect("a login"),
        uid: if login == "root" { 0 } else { 1000 },
    }
}

fn lets_in(filter: &[FilterRule], probe: &Probe<'_>) -> bool {
    filter.iter().any(|rule| {
        let source = match &rule.sources {
            Sources::Any => true,
            Sources::Ranges(ranges) => ranges.iter().any(|range| range.contains(probe.source)),
        };
        let protocol = if rule.protocols.is_empty() {
            [6, 17, 1, 58].contains(&probe.protocol)
        } else {
            rule.protocols.contains(&probe.protocol)
        };
        source
            && protocol
            && rule.destinations.iter().any(|destination| {
                destination.ports.contains(probe.port)
                    && destination
                        .addresses
                        .is_none_or(|range| range.contains(probe.destination))
            })
    })
}

/// Every packet that is tried: between all nodes by both families, from and to networks.
fn probes<'a>(topology: &'a Topology, protocols: &[u8], ports: &[u16]) -> Vec<Probe<'a>> {
    let mut sources: Vec<IpAddr> = topology
        .nodes
        .iter()
        .flat_map(|node| node.addresses.both())
        .collect();
    sources.extend(["10.1.3.1", "192.168.7.9", "8.8.8.8", "100.115.92.1"].map(address));
    let mut probes = Vec::new();
    for node in &topology.nodes {
        let mut destinations = node.addresses.both().to_vec();
        let behind = ["10.1.2.9", "10.1.3.9", "192.168.7.1", "8.8.4.4"].map(address);
        destinations.extend(behind.into_iter().filter(|a| {
            let subnet = node.subnets().any(|net| net.contains(a));
            subnet || (node.is_exit() && *a == address("8.8.4.4"))
        }));
        for source in &sources {
            for destination in &destinations {
                if source.is_ipv4() != destination.is_ipv4() {
                    continue;
                }
                for protocol in protocols {
                    for port in ports {
                        probes.push(Probe {
                            source: *source,
                            node,
                            destination: *destination,
                            protocol: *protocol,
                            port: *port,
                        });
                    }
                }
            }
        }
    }
    probes
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn compiled_views_decide_as_the_plain_reading() {
    for seed in 0..generated::case_count(25) {
        let case = Case::new(&mut Dice::new(seed));
        let (oracle, compiled) = (case.oracle(), case.policy().compile(&case.topology));
        for node in &case.topology.nodes {
            let view = compiled.node(node.id);
            for peer in &case.topology.nodes {
                assert_eq!(
                    view.peers.contains(&peer.id),
                    oracle.are_peers(node, peer),
                    "seed {seed}: peers {} {}\n{}",
                    node.name,
                    peer.name,
                    case.text
                );
                for login in LOGINS {
                    let found = came(&view, peer, login);
                    let wanted = oracle.ssh(peer, node, login);
                    assert_eq!(
                        found, wanted,
                        "seed {seed}: {} to {} as {login}\n{}",
                        peer.name, node.name, case.text
                    );
                }
            }
        }
        for probe in probes(&case.topology, &PROTOCOLS, &PORTS) {
            let view = compiled.node(probe.node.id);
            assert_eq!(
                lets_in(&view.filter, &probe),
                oracle.permits(&probe).is_some(),
                "seed {seed}: {probe:?}\n{}",
                case.text
            );
        }
    }
}

fn came(view: &NodeView, peer: &Node, login: &str) -> Option<Decided> {
    let (rule, period) = match decide(&view.ssh_rules, peer.id, Some(&account(login))) {
        Decision::Accept(rule) => (rule, None),
        Decision::Check(rule, period) => (rule, Some(period)),
        Decision::DenyNode | Decision::DenyLogin => return None,
    };
    let mut terms = Vec::new();
    match period {
        None | Some(CheckPeriod::Default) => {}
        Some(CheckPeriod::Always) => terms.push("checkPeriod always".to_owned()),
        Some(CheckPeriod::Seconds(seconds)) => terms.push(format!("checkPeriod {seconds}s")),
    }
    if !rule.accept_env.is_empty() {
        terms.push(format!("acceptEnv {}", rule.accept_env.join(" ")));
    }
    Some(Decided {
        rule: rule.origin.clone(),
        is_check: period.is_some(),
        terms,
    })
}

#[test]
fn explanations_equal_the_plain_reading() {
    for seed in 0..generated::case_count(300) {
        let mut dice = Dice::new(seed);
        let case = Case::new(&mut dice);
        let policy = case.policy();
        let compiled = policy.compile(&case.topology);
        for _ in 0..12 {
            explained(seed, &mut dice, &case, &policy, &compiled);
        }
    }
}

fn explained(seed: u64, dice: &mut Dice, case: &Case, policy: &Policy, compiled: &Compiled) {
    let oracle = case.oracle();
    let from = dice.pick(&case.topology.nodes).clone();
    let to = dice.pick(&case.topology.nodes).clone();
    let login = *dice.pick(&LOGINS);
    let (protocol, port) = (*dice.pick(&PROTOCOLS), *dice.pick(&PORTS));
    let question = Question {
        source: from.name.to_string(),
        destination: to.name.to_string(),
        login: Some(login.parse().expect("a login")),
        port: Some(port),
        protocol: Some(protocol),
    };
    let explanation = policy.explain(compiled, &question).expect("an explanation");
    let context = format!("seed {seed}: {explanation}\n{}", case.text);
    let gate = explanation.ssh.as_ref().expect("an SSH gate");
    let wanted = oracle.ssh(&from, &to, login);
    let outcome = match &wanted {
        None => SshOutcome::Deny,
        Some(decided) if decided.is_check => SshOutcome::Check,
        Some(_) => SshOutcome::Accept,
    };
    assert_eq!(gate.outcome, outcome, "{context}");
    let decided_by = gate.decided_by.as_ref().map(|rule| rule.rule.clone());
    assert_eq!(decided_by, wanted.map(|decided| decided.rule), "{context}");
    let lacks = oracle.ssh_lacks(&from, &to, login);
    let lacks = lacks.into_iter().map(|(_, name, count)| (name, count));
    let near = gate
        .nearest
        .iter()
        .map(|n| (n.rule.rule.clone(), n.lacks.len()));
    assert_eq!(
        near.collect::<BTreeSet<_>>(),
        nearest(lacks.collect()),
        "{context}"
    );
    for gate in &explanation.network {
        let probe = Probe {
            source: gate.from,
            node: &to,
            destination: gate.to,
            protocol,
            port,
        };
        let permitted_by = gate.permitted_by.as_ref().map(|rule| rule.rule.clone());
        assert_eq!(permitted_by, oracle.permits(&probe), "{context}");
        let near = gate
            .nearest
            .iter()
            .map(|n| (n.rule.rule.clone(), n.lacks.len()));
        let wanted = nearest(oracle.network_lacks(&probe));
        assert_eq!(near.collect::<BTreeSet<_>>(), wanted, "{context}");
    }
}

/// The rules that miss least; none when one misses nothing.
fn nearest(lacks: Vec<(String, usize)>) -> BTreeSet<(String, usize)> {
    let least = lacks.iter().map(|(_, count)| *count).min().unwrap_or(0);
    lacks
        .into_iter()
        .filter(|(_, count)| *count == least && least > 0)
        .collect()
}

#[test]
fn differences_equal_the_plain_reading() {
    for seed in 0..generated::case_count(25) {
        let mut dice = Dice::new(seed);
        let old = Case::new(&mut dice);
        let value = changed(&mut dice, &old.value);
        let new = Case {
            text: value.to_string(),
            value,
            topology: old.topology.clone(),
        };
        let difference = Difference::between(&old.policy(), &new.policy(), &old.topology);
        let context = format!("seed {seed}: {difference}\n{}\n{}", old.text, new.text);
        let mut changes = ssh_differs(&old, &new, &difference, &context);
        let protocols = [0; 3].map(|_| *dice.pick(&PROTOCOLS));
        let ports = [0; 4].map(|_| *dice.pick(&PORTS));
        let probes = probes(&old.topology, &protocols, &ports);
        changes |= network_differs(&old, &new, probes, &difference, &context);
        let seen_only = difference.is_empty() || changes || !difference.network.is_empty();
        assert!(seen_only, "{context}");
    }
}

/// Checks every login; returns whether any changed.
fn ssh_differs(old: &Case, new: &Case, difference: &Difference, context: &str) -> bool {
    let mut changes = false;
    let compiled = [old, new].map(|case| case.policy().compile(&case.topology));
    let (oracle, new_oracle) = (old.oracle(), new.oracle());
    let terms = |decided: Option<Decided>| match decided {
        None => (SshOutcome::Deny, Vec::new()),
        Some(decided) if decided.is_check => (SshOutcome::Check, decided.terms),
        Some(decided) => (SshOutcome::Accept, decided.terms),
    };
    for to in &old.topology.nodes {
        let views = [0, 1].map(|n| compiled[n].node(to.id));
        for from in &old.topology.nodes {
            for login in LOGINS.into_iter().chain(["nobody-names-me"]) {
                let before = terms(oracle.ssh(from, to, login));
                let after = terms(new_oracle.ssh(from, to, login));
                let told: Vec<_> = difference
                    .ssh
                    .iter()
                    .filter(|change| {
                        change.sources.iter().any(|label| label.id == from.id)
                            && change.destinations.iter().any(|label| label.id == to.id)
                            && change.logins.contains(&class(login, from, &views))
                    })
                    .map(|change| {
                        let side = |access: &meshd_policy::SshAccess| {
                            (access.outcome, access.terms.clone())
                        };
                        (side(&change.before), side(&change.after))
                    })
                    .collect();
                let wanted: Vec<_> = (before != after)
                    .then_some((before, after))
                    .into_iter()
                    .collect();
                changes |= !wanted.is_empty();
                assert_eq!(told, wanted, "{} {} {login} {context}", from.name, to.name);
            }
        }
    }
    changes
}

/// The class under which a difference tells of a login: by name only where a rule that concerns
/// both nodes names it.
fn class(login: &str, from: &Node, views: &[NodeView]) -> LoginClass {
    if login == "root" {
        return LoginClass::Root;
    }
    let named = views.iter().any(|view| {
        view.ssh_rules.iter().any(|rule| {
            rule.principals.contains(&from.id)
                && rule.logins.named.iter().any(|name| name.as_str() == login)
        })
    });
    if named {
        LoginClass::Named(login.to_owned())
    } else {
        LoginClass::EveryOther
    }
}

/// Checks every packet; returns whether any changed.
fn network_differs(
    old: &Case,
    new: &Case,
    probes: Vec<Probe<'_>>,
    difference: &Difference,
    context: &str,
) -> bool {
    let mut changes = false;
    let (oracle, new_oracle) = (old.oracle(), new.oracle());
    for probe in probes {
        let outside = oracle.node_at(probe.source).is_none();
        if outside && meshd_contract::address::is_mesh_address(probe.source) {
            continue;
        }
        let before = oracle.permits(&probe).is_some();
        let after = new_oracle.permits(&probe).is_some();
        let told: BTreeSet<ChangeKind> = difference
            .network
            .iter()
            .filter(|change| {
                let traffic = |t: &&meshd_policy::Traffic| {
                    t.protocol == probe.protocol && t.ports.contains(probe.port)
                };
                change
                    .sources
                    .iter()
                    .any(|side| is_at(side, probe.source, &old.topology))
                    && change
                        .destinations
                        .iter()
                        .any(|side| is_at(side, probe.destination, &old.topology))
                    && change.traffic.iter().any(|t| traffic(&t))
            })
            .map(|change| change.kind)
            .collect();
        let wanted: BTreeSet<ChangeKind> = match (before, after) {
            (false, true) => [ChangeKind::Gains].into(),
            (true, false) => [ChangeKind::Loses].into(),
            _ => BTreeSet::new(),
        };
        changes |= !wanted.is_empty();
        // Several nodes may carry one network; what is told of it is told of all of them.
        let carried = probe.node.addresses.contains(probe.destination);
        if carried {
            assert_eq!(told, wanted, "{probe:?} {context}");
        } else {
            assert!(told.is_superset(&wanted), "{probe:?} {context}");
        }
    }
    changes
}

fn is_at(side: &Endpoint, address: IpAddr, topology: &Topology) -> bool {
    let node = |id| {
        let mut nodes = topology.nodes.iter();
        nodes.find(|node| node.id == id).expect("a node").addresses
    };
    match side {
        Endpoint::Node(label) => node(label.id).contains(address),
        Endpoint::NodeV4(label) => address == IpAddr::V4(node(label.id).v4),
        Endpoint::NodeV6(label) => address == IpAddr::V6(node(label.id).v6),
        Endpoint::Network(range) => range.contains(address),
    }
}
