//! What some users can reach now and could not reach any more: whole nodes, all logins on one, or
//! root there. Fewer ports or fewer accounts are no cut, since most policies that are worth
//! writing narrow something for everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use meshd_contract::filter::{FilterRule, Sources};
use serde::Serialize;

use super::LoginClass;
use super::ssh::outcomes;
use crate::compile::NodeView;
use crate::endpoint::NodeLabel;
use crate::explain::{SSH_PORT, SshOutcome};
use crate::packet::protocols_include;
use crate::policy::Policy;
use crate::ports::TCP;
use crate::topology::{Node, Topology};

/// A node that a user loses, in whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cut {
    /// Whose node loses it.
    pub user: String,
    /// What is lost there.
    pub loss: Loss,
    /// The node that is lost.
    pub destination: NodeLabel,
}

/// What is lost, the greatest first: each stands for those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// No packet gets there any more.
    Packets,
    /// No account can be become there any more.
    Logins,
    /// Root cannot be become there any more; other accounts can.
    Root,
}

/// What one node may do at another.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    packets: bool,
    logins: bool,
    root: bool,
}

impl Cut {
    /// What nodes of `users` lose when `new` replaces `old`, by user, loss and destination.
    #[must_use]
    pub fn between(
        old: &Policy,
        new: &Policy,
        topology: &Topology,
        users: &BTreeSet<&str>,
    ) -> Vec<Self> {
        let own = topology.nodes.iter();
        let own =
            own.filter_map(|node| Some((node.user().filter(|user| users.contains(user))?, node)));
        let sources: Vec<(&str, &Node)> = own.collect();
        if sources.is_empty() {
            return Vec::new();
        }
        let (old, new) = (old.compile(topology), new.compile(topology));
        let mut losses: BTreeMap<(&str, NodeLabel), Loss> = BTreeMap::new();
        for node in &topology.nodes {
            let (before, after) = (old.node(node.id), new.node(node.id));
            if before.ssh_rules == after.ssh_rules && before.filter == after.filter {
                continue;
            }
            for (user, source) in &sources {
                let before = Reach::of(source, node, &before);
                let Some(loss) = before.lost(Reach::of(source, node, &after)) else {
                    continue;
                };
                let key = (*user, NodeLabel::of(node));
                let greatest = losses.entry(key).or_insert(loss);
                *greatest = loss.min(*greatest);
            }
        }
        let cut = |((user, destination), loss): ((&str, NodeLabel), Loss)| Self {
            user: user.to_owned(),
            loss,
            destination,
        };
        let mut cuts: Vec<Self> = losses.into_iter().map(cut).collect();
        cuts.sort();
        cuts
    }
}

impl Reach {
    /// What `source` may do at `node`, of which `view` is known. A node needs no permission to
    /// reach itself.
    fn of(source: &Node, node: &Node, view: &NodeView) -> Self {
        if source.id == node.id {
            return Self::default();
        }
        let permitted = |kind: &dyn Fn(&FilterRule) -> bool, port: Option<u16>| {
            let both = source.addresses.both().into_iter();
            both.zip(node.addresses.both()).any(|(from, to)| {
                permits(view.filter.iter().filter(|rule| kind(rule)), from, to, port)
            })
        };
        let outcomes = match permitted(
            &|rule| protocols_include(&rule.protocols, TCP),
            Some(SSH_PORT),
        ) {
            true => outcomes(&view.ssh_rules, source.id),
            false => Vec::new(),
        };
        let is_open = |class: Option<&LoginClass>| {
            outcomes.iter().any(|(of, outcome)| {
                *outcome != SshOutcome::Deny && class.is_none_or(|class| class == of)
            })
        };
        Self {
            packets: permitted(&|_| true, None),
            logins: is_open(None),
            root: is_open(Some(&LoginClass::Root)),
        }
    }

    fn lost(self, after: Self) -> Option<Loss> {
        if self.packets && !after.packets {
            Some(Loss::Packets)
        } else if self.logins && !after.logins {
            Some(Loss::Logins)
        } else if self.root && !after.root {
            Some(Loss::Root)
        } else {
            None
        }
    }
}

/// Whether one of the rules lets a packet through; to any port if none is given.
fn permits<'r>(
    mut rules: impl Iterator<Item = &'r FilterRule>,
    from: IpAddr,
    to: IpAddr,
    port: Option<u16>,
) -> bool {
    rules.any(|rule| {
        rule.destinations.iter().any(|destination| {
            destination.addresses.is_none_or(|range| range.contains(to))
                && port.is_none_or(|port| destination.ports.contains(port))
        }) && holds(&rule.sources, from)
    })
}

fn holds(sources: &Sources, address: IpAddr) -> bool {
    match sources {
        Sources::Any => true,
        Sources::Ranges(ranges) => {
            let after = ranges.partition_point(|range| range.first() <= address);
            after > 0 && ranges[after - 1].contains(address)
        }
    }
}

/// What can be done no more, with the node to follow.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packets => "send a packet to",
            Self::Logins => "log in to",
            Self::Root => "log in as root to",
        })
    }
}
