//! Which rule decides, or what is missing: one question about one source and one destination.

use std::fmt;
use std::net::IpAddr;

use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, Action, CheckPeriod};
use serde::Serialize;
use thiserror::Error;

use crate::compile::{Compiled, SshFit};
use crate::endpoint::{EndpointError, NodeLabel, Target, find};
use crate::model::Origin;
use crate::packet::{Fit, Packet};
use crate::policy::Policy;
use crate::ports::{TCP, protocol_name};
use crate::problem::{Errors, Position};
use crate::topology::{Node, Topology};

/// The port that SSH uses.
pub(crate) const SSH_PORT: u16 = 22;

/// What to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The calling node: its name, number or address, or a user with one node.
    pub source: String,
    /// The node that is called, or any address.
    pub destination: String,
    /// The account that is asked for; without one, only the network is explained.
    pub login: Option<Login>,
    /// The port; none means SSH's.
    pub port: Option<u16>,
    /// The protocol's number; none means TCP.
    pub protocol: Option<u8>,
}

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// The policy cannot be read.
    #[error("the policy has errors:\n{0}")]
    Policy(#[from] Errors),
    /// Source or destination are unknown.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// SSH is between nodes.
    #[error("{0} is no node of this mesh, and one can only log in to nodes")]
    NoNode(IpAddr),
}

/// Both gates that a login passes, and what each says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who calls.
    pub source: String,
    /// Who is called.
    pub destination: String,
    /// The account that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// By its name.
    pub protocol: String,
    /// Of the destination.
    pub port: u16,
    /// What the network lets through, by address family; a family that one side lacks is left
    /// out.
    pub network: Vec<NetworkGate>,
    /// What the SSH rules say; none without a login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshGate>,
}

/// What the network rules say for one pair of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkGate {
    /// The caller's address.
    pub from: IpAddr,
    /// The called address.
    pub to: IpAddr,
    /// The first rule that permits it.
    pub permitted_by: Option<RuleLabel>,
    /// Without one: the rules that come nearest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Near>,
}

/// What the SSH rules say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshGate {
    /// Accept, check or deny.
    pub outcome: SshOutcome,
    /// The rule that decides.
    pub decided_by: Option<RuleLabel>,
    /// Without one: the rules that come nearest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Near>,
}

/// What comes of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SshOutcome {
    /// Denied.
    Deny,
    /// After a sign-in.
    Check,
    /// Let in.
    Accept,
}

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleLabel {
    /// Such as `ssh[2]`.
    pub rule: String,
    /// None for the rule that an absent section stands for.
    pub position: Option<Position>,
}

/// A rule that does not fit, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Near {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleLabel,
    /// What it lacks; one thing, where any rule lacks only one.
    pub lacks: Vec<String>,
}

/// Explains what a policy says about one source, destination and login.
///
/// # Errors
/// [`ExplainError`].
pub fn explain(
    text: &str,
    topology: &Topology,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let policy = Policy::parse(text)?;
    let compiled = policy.compile(topology);
    policy.explain(&compiled, question)
}

impl Policy {
    /// Like [`explain()`], for a policy that is already compiled.
    ///
    /// # Errors
    /// [`ExplainError`].
    pub fn explain(
        &self,
        compiled: &Compiled,
        question: &Question,
    ) -> Result<Explanation, ExplainError> {
        let source = find(compiled.mesh(), &question.source)?;
        let destination = find(compiled.mesh(), &question.destination)?;
        let protocol = question.protocol.unwrap_or(TCP);
        let port = question.port.unwrap_or(SSH_PORT);
        let mut network = Vec::new();
        for from in addresses(&source) {
            for to in addresses(&destination) {
                if from.is_ipv4() == to.is_ipv4() {
                    let packet = Packet {
                        source: from,
                        destination: to,
                        protocol,
                        port,
                    };
                    network.push(self.network_gate(compiled, &packet));
                }
            }
        }
        let ssh = match &question.login {
            None => None,
            Some(login) => {
                let (from, to) = (node(&source)?, node(&destination)?);
                Some(self.ssh_gate(compiled, from, to, login))
            }
        };
        Ok(Explanation {
            source: label(&source),
            destination: label(&destination),
            login: question
                .login
                .as_ref()
                .map(|login| login.as_str().to_owned()),
            protocol: protocol_name(protocol),
            port,
            network,
            ssh,
        })
    }

    fn network_gate(&self, compiled: &Compiled, packet: &Packet) -> NetworkGate {
        let fits: Vec<(Origin, Fit)> = compiled.network_fits(packet).collect();
        let permitted_by = fits.iter().find(|(_, fit)| fit.permits());
        let nearest = match (permitted_by, fits.iter().map(|(_, fit)| fit.lacks()).min()) {
            (None, Some(least)) => fits
                .iter()
                .filter(|(_, fit)| fit.lacks() == least)
                .map(|(origin, fit)| Near {
                    rule: self.rule_label(*origin),
                    lacks: network_lacks(*fit, packet),
                })
                .collect(),
            _ => Vec::new(),
        };
        NetworkGate {
            from: packet.source,
            to: packet.destination,
            permitted_by: permitted_by.map(|(origin, _)| self.rule_label(*origin)),
            nearest,
        }
    }

    fn ssh_gate(&self, compiled: &Compiled, from: &Node, to: &Node, login: &Login) -> SshGate {
        // Only the host knows user ids: root stands for 0, and every other name for another.
        let uid = if login.as_str() == "root" { 0 } else { 1000 };
        let account = Account {
            login: login.clone(),
            uid,
        };
        let fits: Vec<SshFit> = compiled.ssh_fits(from, to, &account).collect();
        let decided = fits.iter().find(|fit| fit.lacks() == 0);
        let nearest = match (decided, fits.iter().map(SshFit::lacks).min()) {
            (None, Some(least)) => fits
                .iter()
                .filter(|fit| fit.lacks() == least)
                .map(|fit| Near {
                    rule: self.rule_label(fit.origin),
                    lacks: ssh_lacks(fit, from, to, login),
                })
                .collect(),
            _ => Vec::new(),
        };
        SshGate {
            outcome: decided.map_or(SshOutcome::Deny, |fit| SshOutcome::of(fit.action)),
            decided_by: decided.map(|fit| self.rule_label(fit.origin)),
            nearest,
        }
    }

    fn rule_label(&self, origin: Origin) -> RuleLabel {
        RuleLabel {
            rule: origin.to_string(),
            position: origin.index.map(|_| self.position(origin.at)),
        }
    }
}

impl SshOutcome {
    pub(crate) fn of(action: Action) -> Self {
        match action {
            Action::Accept => Self::Accept,
            Action::Check(CheckPeriod::Default | CheckPeriod::Always | CheckPeriod::Seconds(_)) => {
                Self::Check
            }
        }
    }
}

impl Explanation {
    /// Whether the network lets the packet through on any pair of addresses.
    #[must_use]
    pub fn reaches(&self) -> bool {
        self.network.iter().any(|gate| gate.permitted_by.is_some())
    }

    /// Whether both gates are open: the network's, and that of the SSH rules where a login was
    /// asked for.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        let ssh = self.ssh.as_ref();
        self.reaches() && ssh.is_none_or(|gate| gate.outcome != SshOutcome::Deny)
    }
}

fn addresses(target: &Target<'_>) -> Vec<IpAddr> {
    match target {
        Target::Node(node) => node.addresses.both().to_vec(),
        Target::Address(address) => vec![*address],
    }
}

fn label(target: &Target<'_>) -> String {
    match target {
        Target::Node(node) => NodeLabel::of(node).to_string(),
        Target::Address(address) => address.to_string(),
    }
}

fn node<'a>(target: &Target<'a>) -> Result<&'a Node, ExplainError> {
    match target {
        Target::Node(node) => Ok(node),
        Target::Address(address) => Err(ExplainError::NoNode(*address)),
    }
}

fn network_lacks(fit: Fit, packet: &Packet) -> Vec<String> {
    let protocol = protocol_name(packet.protocol);
    [
        (fit.source, format!("src does not name {}", packet.source)),
        (
            fit.destination,
            format!("dst does not name {}", packet.destination),
        ),
        (fit.protocol, format!("it does not permit {protocol}")),
        (fit.port, format!("it does not permit port {}", packet.port)),
    ]
    .into_iter()
    .filter(|(fits, _)| !fits)
    .map(|(_, lack)| lack)
    .collect()
}

fn ssh_lacks(fit: &SshFit, from: &Node, to: &Node, login: &Login) -> Vec<String> {
    let (from, to) = (NodeLabel::of(from), NodeLabel::of(to));
    [
        (fit.source, format!("src does not name {from}")),
        (fit.destination, format!("dst does not name {to}")),
        (
            fit.login,
            format!("users does not list {:?}", login.as_str()),
        ),
    ]
    .into_iter()
    .filter(|(fits, _)| !fits)
    .map(|(_, lack)| lack)
    .collect()
}

impl fmt::Display for RuleLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} (line {})", self.rule, position.line),
            None => f.write_str(&self.rule),
        }
    }
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.lacks.join(", and "))
    }
}

/// The most nearest rules that the text form lists; the JSON form has all.
const MOST_NEAREST: usize = 5;

fn write_nearest(f: &mut fmt::Formatter<'_>, nearest: &[Near]) -> fmt::Result {
    if nearest.is_empty() {
        return f.write_str(": there is no rule at all");
    }
    f.write_str(": no rule permits it; nearest:")?;
    for near in nearest.iter().take(MOST_NEAREST) {
        write!(f, "\n  {near}")?;
    }
    match nearest.len().saturating_sub(MOST_NEAREST) {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}

impl fmt::Display for NetworkGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.permitted_by {
            Some(rule) => write!(f, "permitted by {rule}"),
            None => {
                f.write_str("denied")?;
                write_nearest(f, &self.nearest)
            }
        }
    }
}

impl fmt::Display for SshGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.decided_by, self.outcome) {
            (Some(rule), SshOutcome::Accept) => write!(f, "accepted by {rule}"),
            (Some(rule), SshOutcome::Check) => write!(f, "accepted after a check, by {rule}"),
            (Some(_), SshOutcome::Deny) | (None, _) => {
                f.write_str("denied")?;
                write_nearest(f, &self.nearest)
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.source, self.destination)?;
        if let Some(login) = &self.login {
            write!(f, " as {login}")?;
        }
        write!(f, ", {} port {}", self.protocol, self.port)?;
        let same = |a: &NetworkGate, b: &NetworkGate| {
            a.permitted_by.is_some() && a.permitted_by == b.permitted_by
        };
        match self.network.as_slice() {
            [] => f.write_str("\nnetwork: no addresses of the same family")?,
            [v4, v6] if same(v4, v6) => write!(f, "\nnetwork: {v4}")?,
            gates => {
                for gate in gates {
                    write!(f, "\nnetwork, {} to {}: {gate}", gate.from, gate.to)?;
                }
            }
        }
        match &self.ssh {
            Some(gate) => write!(f, "\nssh: {gate}"),
            None => Ok(()),
        }
    }
}
