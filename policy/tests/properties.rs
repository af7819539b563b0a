//! What must hold for every policy and every mesh.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod generated;

use std::collections::{BTreeMap, BTreeSet};

use generated::{Dice, LOGINS, USERS, acl, grant, node, policy, ssh_rule, topology};
use meshd_contract::filter::{FilterRule, Sources};
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::ssh_rule::{Account, Action, Decision, decide};
use meshd_policy::{Compiled, NodeView, Policy, Role, Topology, User, format};
use proptest::prelude::*;
use serde_json::Value;

fn compile(value: &Value, topology: &Topology) -> Compiled {
    let policy = Policy::parse(&value.to_string());
    policy
        .unwrap_or_else(|errors| panic!("{errors}\n{value}"))
        .compile(topology)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Deny,
    Check,
    Accept,
}

/// The outcome of every login between every two nodes.
fn logins(compiled: &Compiled) -> BTreeMap<(NodeId, NodeId, &'static str), Outcome> {
    let mut outcomes = BTreeMap::new();
    for to in compiled.nodes() {
        let view = compiled.node(to);
        for from in compiled.nodes() {
            for login in LOGINS {
                let account = Account {
                    login: login.parse().expect("a login"),
                    uid: if login == "root" { 0 } else { 1000 },
                };
                let outcome = match decide(&view.ssh_rules, from, Some(&account)) {
                    Decision::Accept(_) => Outcome::Accept,
                    Decision::Check(_, _) => Outcome::Check,
                    Decision::DenyNode | Decision::DenyLogin => Outcome::Deny,
                };
                outcomes.insert((from, to, login), outcome);
            }
        }
    }
    outcomes
}

/// A filter's lines, one by one, which no order changes; neighbouring sources are told apart.
fn lines(view: &NodeView) -> BTreeSet<String> {
    let sources = |rule: &FilterRule| match &rule.sources {
        Sources::Any => vec!["any".to_owned()],
        Sources::Ranges(ranges) => ranges.iter().map(ToString::to_string).collect(),
    };
    let mut lines = BTreeSet::new();
    for rule in &view.filter {
        for source in sources(rule) {
            for destination in &rule.destinations {
                lines.insert(format!("{source} {:?} {destination:?}", rule.protocols));
            }
        }
    }
    lines
}

fn networks(compiled: &Compiled) -> Vec<(BTreeSet<String>, BTreeSet<NodeId>)> {
    let views = compiled.nodes().into_iter().map(|id| compiled.node(id));
    views.map(|view| (lines(&view), view.peers)).collect()
}

fn shuffle(dice: &mut Dice, list: &mut Value) {
    if let Some(items) = list.as_array_mut() {
        for n in (1..items.len()).rev() {
            items.swap(n, dice.below(n + 1));
        }
    }
}

fn repeat_some(dice: &mut Dice, list: &mut Value) {
    if let Some(items) = list.as_array_mut()
        && !items.is_empty()
    {
        let again = dice.pick(items).clone();
        items.push(again);
    }
}

/// Every list of the policy whose order says nothing.
fn for_each_list(policy: &mut Value, mut change: impl FnMut(&mut Value)) {
    for section in ["grants", "acls", "ssh"] {
        let Some(rules) = policy.get_mut(section) else {
            continue;
        };
        change(rules);
        for rule in rules.as_array_mut().into_iter().flatten() {
            for field in ["src", "dst", "users", "ip"] {
                if let Some(list) = rule.get_mut(field) {
                    change(list);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(u32::try_from(generated::case_count(96)).expect("a count")))]

    #[test]
    fn order_within_an_action_and_repetition_change_no_decision(seed: u64) {
        let mut dice = Dice::new(seed);
        let (value, topology) = (policy(&mut dice), topology(&mut dice));
        let before = compile(&value, &topology);
        let mut mixed = value.clone();
        for_each_list(&mut mixed, |list| repeat_some(&mut dice, list));
        for_each_list(&mut mixed, |list| shuffle(&mut dice, list));
        let after = compile(&mixed, &topology);
        prop_assert_eq!(logins(&before), logins(&after), "{}\n{}", value, mixed);
        prop_assert_eq!(networks(&before), networks(&after), "{}\n{}", value, mixed);
    }

    #[test]
    fn formatting_changes_nothing(seed: u64) {
        let mut dice = Dice::new(seed);
        let (value, topology) = (policy(&mut dice), topology(&mut dice));
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let text = text.replace("{\n", "{ // a comment\n").replace(",\n", "/* one more */,\n\n");
        let written = format(&text).expect("HuJSON");
        let read = |text: &str| Policy::parse(text).expect("a policy").compile(&topology);
        let (plain, formatted) = (compile(&value, &topology), read(&written));
        for id in plain.nodes() {
            prop_assert_eq!(plain.node(id), formatted.node(id), "{}", written);
        }
    }

    #[test]
    fn only_nodes_of_users_are_checked(seed: u64) {
        let mut dice = Dice::new(seed);
        let (value, topology) = (policy(&mut dice), topology(&mut dice));
        let compiled = compile(&value, &topology);
        let tagged = topology.nodes.iter().filter(|node| matches!(node.owner, Owner::Tags(_)));
        let tagged: BTreeSet<NodeId> = tagged.map(|node| node.id).collect();
        for id in compiled.nodes() {
            for rule in compiled.node(id).ssh_rules {
                let asks = matches!(rule.action, Action::Check(_));
                prop_assert!(!asks || rule.principals.is_disjoint(&tagged), "{}", value);
            }
        }
    }

    #[test]
    fn a_rule_more_takes_nothing_away_but_by_a_check(seed: u64) {
        let mut dice = Dice::new(seed);
        let (value, topology) = (policy(&mut dice), topology(&mut dice));
        let before = compile(&value, &topology);
        let (section, rule) = match dice.below(3) {
            0 => ("ssh", ssh_rule(&mut dice)),
            1 => ("grants", grant(&mut dice)),
            _ => ("acls", acl(&mut dice)),
        };
        let mut more = value.clone();
        let Some(list) = more.get_mut(section).and_then(Value::as_array_mut) else {
            // The first rule of an absent section ends "permit everything".
            return Ok(());
        };
        list.push(rule.clone());
        let after = compile(&more, &topology);
        let is_check = rule["action"] == "check";
        let (old, new) = (logins(&before), logins(&after));
        for (key, was) in old {
            let is = new[&key];
            let checked = is_check && was == Outcome::Accept && is == Outcome::Check;
            prop_assert!(is >= was || checked, "{key:?}: {was:?} to {is:?}\n{value}\n{rule}");
        }
        for id in before.nodes() {
            let (was, is) = (before.node(id), after.node(id));
            prop_assert!(was.peers.is_subset(&is.peers), "{}\n{}", value, rule);
            prop_assert!(covers(&is.filter, &was.filter), "{}\n{}", value, rule);
        }
    }

    #[test]
    fn a_change_at_a_time_equals_a_full_compile(seed: u64) {
        let mut dice = Dice::new(seed);
        let value = policy(&mut dice);
        let mut topology = topology(&mut dice);
        let mut compiled = compile(&value, &topology);
        for _ in 0..8 {
            let before = compiled.clone();
            let affected = change(&mut dice, &mut topology, &mut compiled);
            let full = compile(&value, &topology);
            prop_assert_eq!(compiled.nodes(), full.nodes());
            for id in full.nodes() {
                prop_assert_eq!(compiled.node(id), full.node(id), "{}", value);
                let told = affected.contains(&id);
                prop_assert!(told || before.node(id) == full.node(id), "{} {}", id, value);
            }
        }
    }
}

/// Every line of `old` lies in some line of `new`, source range by source range.
fn covers(new: &[FilterRule], old: &[FilterRule]) -> bool {
    let permits = |rules: &[FilterRule], source, protocols: &[u8], destination: &_| {
        rules.iter().any(|rule| {
            let from = match (&rule.sources, source) {
                (Sources::Any, _) => true,
                (Sources::Ranges(ranges), Some(source)) => {
                    let source: &meshd_contract::address::AddressRange = source;
                    ranges
                        .iter()
                        .any(|r| r.contains(source.first()) && r.contains(source.last()))
                }
                (Sources::Ranges(_), None) => false,
            };
            from && rule.protocols == protocols && rule.destinations.contains(destination)
        })
    };
    old.iter().all(|rule| {
        rule.destinations
            .iter()
            .all(|destination| match &rule.sources {
                Sources::Any => permits(new, None, &rule.protocols, destination),
                Sources::Ranges(ranges) => ranges
                    .iter()
                    .all(|range| permits(new, Some(range), &rule.protocols, destination)),
            })
    })
}

/// One random change to both; returns what the compiled one says is affected.
fn change(dice: &mut Dice, topology: &mut Topology, compiled: &mut Compiled) -> BTreeSet<NodeId> {
    match dice.below(4) {
        0 if !topology.nodes.is_empty() => {
            let place = dice.below(topology.nodes.len());
            let node = topology.nodes.remove(place);
            compiled.remove_node(node.id)
        }
        1 => {
            let user = User {
                login: (*dice.pick(&USERS)).to_owned(),
                role: *dice.pick(&[Role::Member, Role::Admin, Role::Auditor]),
            };
            topology.users.retain(|other| other.login != user.login);
            topology.users.push(user.clone());
            compiled.set_user(user)
        }
        2 => {
            let login = *dice.pick(&USERS);
            topology.users.retain(|other| other.login != login);
            compiled.remove_user(login)
        }
        _ => {
            let n = 1 + dice.below(12);
            let node = node(dice, n);
            topology.nodes.retain(|other| other.id != node.id);
            topology.nodes.push(node.clone());
            compiled.set_node(node)
        }
    }
}
