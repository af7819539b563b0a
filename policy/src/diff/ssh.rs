//! Logins.

use std::collections::{BTreeMap, BTreeSet};

use meshd_contract::identity::NodeId;
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{
    Account, CheckPeriod, Decision, Forwarding, Rights, SshRule, decide,
};

use super::{LoginClass, SshAccess, SshChange, by_equal_sets};
use crate::endpoint::NodeLabel;
use crate::explain::SshOutcome;
use crate::mesh::Mesh;
use crate::topology::Node;

/// Sources by what changes for them, and where.
#[derive(Default)]
pub(super) struct Changes {
    sources: BTreeMap<(SshAccess, SshAccess, LoginClass, NodeLabel), BTreeSet<NodeLabel>>,
}

impl Changes {
    pub(super) fn add(&mut self, mesh: &Mesh, node: &Node, old: &[SshRule], new: &[SshRule]) {
        let principals: BTreeSet<NodeId> = old
            .iter()
            .chain(new)
            .flat_map(|rule| rule.principals.iter().copied())
            .collect();
        for id in principals {
            let Some(source) = mesh.slot(id).and_then(|slot| mesh.node(slot)) else {
                continue;
            };
            for (class, account) in accounts(old, new, id) {
                let (before, after) = (access(old, id, &account), access(new, id, &account));
                if before != after {
                    let key = (before, after, class, NodeLabel::of(node));
                    let sources = self.sources.entry(key).or_default();
                    sources.insert(NodeLabel::of(source));
                }
            }
        }
    }

    /// Sources that change alike stand together, then destinations, then accounts.
    pub(super) fn grouped(self) -> Vec<SshChange> {
        type ByLogin = BTreeMap<LoginClass, BTreeSet<(Vec<NodeLabel>, Vec<NodeLabel>)>>;
        let mut by_change: BTreeMap<(SshAccess, SshAccess), ByLogin> = BTreeMap::new();
        let mut destinations: BTreeMap<_, BTreeMap<NodeLabel, BTreeSet<NodeLabel>>> =
            BTreeMap::new();
        for ((before, after, class, destination), sources) in self.sources {
            let of_change = destinations.entry((before, after, class)).or_default();
            of_change.insert(destination, sources);
        }
        for ((before, after, class), map) in destinations {
            let by_login = by_change.entry((before, after)).or_default();
            let pairs = by_login.entry(class).or_default();
            for (sources, destinations) in by_equal_sets(map) {
                pairs.insert((sources.into_iter().collect(), destinations));
            }
        }
        let mut changes = Vec::new();
        for ((before, after), by_login) in by_change {
            for (pairs, logins) in by_equal_sets(by_login) {
                changes.extend(pairs.into_iter().map(|(sources, destinations)| SshChange {
                    sources,
                    destinations,
                    logins: logins.clone(),
                    before: before.clone(),
                    after: after.clone(),
                }));
            }
        }
        changes
    }
}

/// One account of each class that the rules can tell apart for this source.
fn accounts(old: &[SshRule], new: &[SshRule], source: NodeId) -> Vec<(LoginClass, Account)> {
    let of_source = old
        .iter()
        .chain(new)
        .filter(|rule| rule.principals.contains(&source));
    let named: BTreeSet<&Login> = of_source.flat_map(|rule| &rule.logins.named).collect();
    let class = |login: &Login| LoginClass::Named(login.as_str().to_owned());
    let mut accounts: Vec<(LoginClass, Account)> = named
        .iter()
        .map(|login| (class(login), account((*login).clone(), 1000)))
        .collect();
    if let Ok(root) = "root".parse() {
        accounts.push((LoginClass::Root, account(root, 0)));
    }
    accounts.extend(unnamed(&named).map(|login| (LoginClass::EveryOther, account(login, 1000))));
    accounts
}

/// How a login of each class ends that these rules can tell apart for this source.
pub(super) fn outcomes(rules: &[SshRule], source: NodeId) -> Vec<(LoginClass, SshOutcome)> {
    let accounts = accounts(rules, &[], source).into_iter();
    accounts
        .map(|(class, account)| (class, access(rules, source, &account).outcome))
        .collect()
}

fn account(login: Login, uid: u32) -> Account {
    Account { login, uid }
}

/// A name that no rule has.
fn unnamed(named: &BTreeSet<&Login>) -> Option<Login> {
    (0..=named.len())
        .filter_map(|n| format!("other{n}").parse().ok())
        .find(|login| !named.contains(login))
}

fn access(rules: &[SshRule], source: NodeId, account: &Account) -> SshAccess {
    match decide(rules, source, Some(account)) {
        Decision::Accept(rule) => SshAccess {
            outcome: SshOutcome::Accept,
            terms: terms(rule),
        },
        Decision::Check(rule, period) => {
            let mut terms = terms(rule);
            match period {
                CheckPeriod::Default => {}
                CheckPeriod::Always => terms.insert(0, "checkPeriod always".to_owned()),
                CheckPeriod::Seconds(seconds) => {
                    terms.insert(0, format!("checkPeriod {seconds}s"));
                }
            }
            SshAccess {
                outcome: SshOutcome::Check,
                terms,
            }
        }
        Decision::DenyNode | Decision::DenyLogin => SshAccess {
            outcome: SshOutcome::Deny,
            terms: Vec::new(),
        },
    }
}

/// What a rule says beyond who may log in.
fn terms(rule: &SshRule) -> Vec<String> {
    let Rights {
        forwarding,
        permit_open,
        permit_listen,
        command,
        session_seconds,
        recorders,
        enforce_recorder,
    } = &rule.rights;
    let list = |name: &str, items: &[String]| {
        (!items.is_empty()).then(|| format!("{name} {}", items.join(" ")))
    };
    let forwarding = match forwarding {
        Forwarding::All => None,
        Forwarding::None => Some("none"),
        Forwarding::Local => Some("local"),
        Forwarding::Remote => Some("remote"),
        Forwarding::Agent => Some("agent"),
    };
    [
        list("acceptEnv", &rule.accept_env),
        forwarding.map(|kind| format!("forwarding {kind}")),
        list("permitOpen", permit_open),
        list("permitListen", permit_listen),
        command
            .as_ref()
            .map(|command| format!("command {command:?}")),
        session_seconds.map(|seconds| format!("sessionDuration {seconds}s")),
        list("recorder", recorders),
        enforce_recorder.then(|| "enforceRecorder".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}
