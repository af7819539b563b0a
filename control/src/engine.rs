//! The policy language, applied to the mesh as the store has it.

use std::collections::BTreeSet;

use meshd_policy::{Actor, Compiled, Cut, Node, Policy, Problem, Topology, User};
use thiserror::Error;

use crate::role::{self, Role};
use crate::store::{NodeRow, UserRow};

/// A policy that has been read and found good.
#[derive(Debug)]
pub(crate) struct Engine {
    policy: Policy,
}

/// Everything that is wrong with a policy, each with its line and column.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct PolicyError(pub(crate) Vec<String>);

impl Engine {
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyError> {
        match Policy::parse(text) {
            Ok(policy) => Ok(Self { policy }),
            Err(errors) => Err(PolicyError(sentences(errors.problems()))),
        }
    }

    /// The policy of a fresh mesh.
    pub(crate) fn default_text() -> &'static str {
        Policy::default_text()
    }

    /// Whether this user may give this tag to a node.
    pub(crate) fn may_tag(&self, login: &str, role: Role, tag: &str) -> bool {
        let user = User {
            login: login.to_owned(),
            role,
        };
        self.policy.may_tag(Actor::User(&user), tag)
    }

    /// Whether nodes can carry this tag.
    pub(crate) fn defines_tag(&self, tag: &str) -> bool {
        self.policy.defines_tag(tag)
    }

    /// What has no effect in this mesh, or not the expected one.
    pub(crate) fn warnings(&self, topology: &Topology) -> Vec<String> {
        sentences(&self.policy.warnings(topology))
    }

    /// What stands against this policy in this mesh: domains that it does not have, and tests of
    /// the policy that fail.
    pub(crate) fn objections(&self, topology: &Topology) -> Vec<String> {
        let mut objections = match self.policy.check_domains(&topology.domains) {
            Err(errors) => sentences(errors.problems()),
            Ok(()) => Vec::new(),
        };
        let report = self.policy.run_tests(topology);
        objections.extend(
            report
                .failures
                .iter()
                .map(|failure| format!("test failed: {failure}")),
        );
        objections
    }

    /// What users with the role owner or admin can reach by the policy `old` and not by this one,
    /// one sentence for each user and kind of loss.
    pub(crate) fn cuts(&self, old: &Self, topology: &Topology) -> Vec<String> {
        let admins = topology.users.iter();
        let admins = admins.filter(|user| role::administers(user.role));
        let admins: BTreeSet<&str> = admins.map(|user| user.login.as_str()).collect();
        let cuts = Cut::between(&old.policy, &self.policy, topology, &admins);
        let alike = cuts.chunk_by(|a, b| (&a.user, a.loss) == (&b.user, b.loss));
        alike.map(sentence).collect()
    }

    /// What it says about a mesh.
    pub(crate) fn compile(&self, topology: &Topology) -> Compiled {
        self.policy.compile(topology)
    }
}

/// The mesh as the policy sees it, with these approved nodes.
pub(crate) fn topology(users: &[UserRow], nodes: Vec<Node>, domains: &[String]) -> Topology {
    Topology {
        users: users.iter().map(user).collect(),
        nodes,
        domains: domains.to_vec(),
    }
}

fn user(user: &UserRow) -> User {
    User {
        login: user.login.clone(),
        role: user.role,
    }
}

/// A node as the policy sees it.
pub(crate) fn node(node: &NodeRow) -> Node {
    Node {
        id: node.id,
        name: node.name.clone(),
        addresses: node.slot.addresses(),
        owner: node.owner.clone(),
        approved_routes: Vec::new(),
    }
}

/// About cuts of one user and one kind, of which there is at least one.
fn sentence(cuts: &[Cut]) -> String {
    const NAMED: usize = 5;
    let names = cuts.iter().map(|cut| cut.destination.name.as_str());
    let mut nodes = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if cuts.len() > NAMED {
        nodes.push_str(&format!(" and {} more", cuts.len() - NAMED));
    }
    format!("{} could no longer {} {nodes}", cuts[0].user, cuts[0].loss)
}

fn sentences(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
