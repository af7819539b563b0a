//! A difference in words.

use std::fmt;

use meshd_contract::filter::PortRange;

use super::{
    ChangeKind, Difference, Endpoint, LoginClass, NetworkChange, SshAccess, SshChange, Traffic,
};
use crate::explain::SshOutcome;
use crate::ports::{UNNAMED, has_ports, protocol_name};

pub(super) fn difference(difference: &Difference, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if difference.is_empty() {
        return f.write_str("No decision changes.");
    }
    let lines = difference.ssh.iter().map(ToString::to_string);
    let lines = lines.chain(difference.network.iter().map(ToString::to_string));
    f.write_str(&lines.collect::<Vec<_>>().join("\n"))
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

impl fmt::Display for SshChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match (self.before.outcome, self.after.outcome) {
            (SshOutcome::Deny, _) => "gain",
            (_, SshOutcome::Deny) => "lose",
            (before, after) if before == after => "keep, on other terms,",
            (SshOutcome::Accept, SshOutcome::Check | SshOutcome::Accept) => "now need a check for",
            (SshOutcome::Check, SshOutcome::Accept | SshOutcome::Check) => {
                "no longer need a check for"
            }
        };
        write!(
            f,
            "ssh: {} {verb} {} on {}",
            list(&self.sources),
            list(&self.logins),
            list(&self.destinations)
        )?;
        match (self.before.outcome, self.after.outcome) {
            (SshOutcome::Deny, _) => write!(f, " ({})", self.after),
            (_, SshOutcome::Deny) => write!(f, " (it was {})", self.before),
            _ => write!(f, " ({} instead of {})", self.after, self.before),
        }
    }
}

impl fmt::Display for LoginClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Named(name) => f.write_str(name),
            Self::EveryOther => f.write_str("every other account"),
        }
    }
}

impl fmt::Display for SshAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.outcome {
            SshOutcome::Accept => "accept",
            SshOutcome::Check => "check",
            SshOutcome::Deny => "deny",
        })?;
        for term in &self.terms {
            write!(f, ", {term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NetworkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            ChangeKind::Gains => "gain",
            ChangeKind::Loses => "lose",
        };
        write!(
            f,
            "network: {} {verb} {} to {}",
            list(&self.sources),
            traffic(&self.traffic),
            list(&self.destinations)
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(label) => label.fmt(f),
            Self::NodeV4(label) => write!(f, "{label} by IPv4"),
            Self::NodeV6(label) => write!(f, "{label} by IPv6"),
            Self::Network(range) => range.fmt(f),
        }
    }
}

/// Ports with the protocols that share them; the four that a rule means without naming any are
/// left out.
fn traffic(traffic: &[Traffic]) -> String {
    let mut ranges: Vec<PortRange> = traffic.iter().map(|item| item.ports).collect();
    ranges.sort_unstable();
    ranges.dedup();
    let words: Vec<String> = ranges
        .into_iter()
        .map(|ports| {
            let mut protocols: Vec<u8> = traffic
                .iter()
                .filter(|item| item.ports == ports)
                .map(|item| item.protocol)
                .collect();
            protocols.sort_unstable();
            described(&protocols, ports)
        })
        .collect();
    list(&words)
}

fn described(protocols: &[u8], ports: PortRange) -> String {
    let mut unnamed = UNNAMED;
    unnamed.sort_unstable();
    let names: Vec<String> = protocols.iter().map(|n| protocol_name(*n)).collect();
    let what = if ports == PortRange::ALL {
        if protocols == unnamed {
            return "all traffic".to_owned();
        }
        if !protocols.iter().copied().any(has_ports) {
            return names.join("/");
        }
        "all ports".to_owned()
    } else if ports.first == ports.last {
        format!("port {}", ports.first)
    } else {
        format!("ports {}-{}", ports.first, ports.last)
    };
    if protocols == unnamed {
        what
    } else {
        format!("{} {what}", names.join("/"))
    }
}
