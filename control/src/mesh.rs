//! The mesh as far as documents depend on it, followed change by change.
//!
//! Most rounds of the publisher come because one node has connected or moved. What they cost must
//! not grow with the mesh, so that nothing here is read or compiled anew but what has changed.

use std::collections::{BTreeMap, BTreeSet};

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;
use meshd_policy::{Compiled, Topology, User};
use thiserror::Error;
use tokio::task::block_in_place;

use crate::compose::{Nodes, View};
use crate::engine::{self, Engine, PolicyError};
use crate::farewell::Leaving;
use crate::issue::PeerDigests;
use crate::role::Role;
use crate::store::{ChangedNode, Changes, Known, LeavingRow, NodeRow, Store, StoreError, UserRow};

/// Everything that documents depend on, at one moment.
pub(crate) struct Mesh {
    known: Known,
    domains: Vec<String>,
    roles: BTreeMap<String, Role>,
    /// Members, and the deleted nodes that are in the network for a moment longer.
    pub(crate) nodes: Nodes,
    /// What stands for each of them in the documents of others.
    pub(crate) digests: BTreeMap<NodeId, PeerDigests>,
    /// How far deleted nodes have left.
    pub(crate) leaving: Leaving,
    deleted: BTreeMap<NodeId, LeavingRow>,
    policy: Engine,
    /// The policy in the mesh of the members: who may log in.
    for_logins: Compiled,
    /// The policy in the mesh of all [`Self::nodes`]: whose packets pass.
    for_packets: Compiled,
}

/// Whose documents may be other ones now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affected {
    /// Those of every node.
    Everybody,
    /// Those of these nodes, some of which may be gone.
    Nodes(BTreeSet<NodeId>),
}

/// Why the mesh is not known, or no document can be made of it.
#[derive(Debug, Error)]
pub(crate) enum MeshError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy that counts.
    #[error("the stored policy cannot be read by this release; save it anew: {0}")]
    Policy(#[from] PolicyError),
    /// Something about a node.
    #[error("a document cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Mesh {
    /// Reads the whole mesh, which has these e-mail domains.
    ///
    /// # Errors
    /// [`MeshError`]; a mesh without a policy is one.
    pub(crate) async fn read(
        store: &Store,
        domains: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, MeshError> {
        let mut changes = store.changes(Known::default()).await?;
        let policy = changes.policy.take();
        let policy = policy.ok_or_else(|| StoreError::Content("no policy".to_owned()))?;
        block_in_place(|| {
            let policy = Engine::parse(&policy.text)?;
            let nobody = policy.compile(&Topology::default());
            let mut mesh = Self {
                known: Known::default(),
                domains,
                roles: BTreeMap::new(),
                nodes: Nodes::new(),
                digests: BTreeMap::new(),
                leaving: Leaving::default(),
                deleted: BTreeMap::new(),
                policy,
                for_packets: nobody.clone(),
                for_logins: nobody,
            };
            mesh.roles = roles(changes.users.take().unwrap_or_default());
            let changed = mesh.take(changes, now);
            mesh.digest(&changed)?;
            mesh.compile();
            Ok(mesh)
        })
    }

    /// Takes in what has changed since, in the store and by the clock.
    ///
    /// # Errors
    /// [`MeshError`]; the mesh must be read anew then.
    pub(crate) async fn update(
        &mut self,
        store: &Store,
        now: Timestamp,
    ) -> Result<Affected, MeshError> {
        let changes = store.changes(self.known).await?;
        block_in_place(|| self.apply(changes, now))
    }

    /// What the policy says about a node; without peers or rights for one that is not approved.
    pub(crate) fn view(&self, id: NodeId) -> View {
        let view = self.for_packets.node(id);
        match self.leaving.staying.is_empty() {
            true => view,
            false => View {
                ssh_rules: self.for_logins.node(id).ssh_rules,
                ..view
            },
        }
    }

    fn apply(&mut self, mut changes: Changes, now: Timestamp) -> Result<Affected, MeshError> {
        let policy = changes.policy.take();
        let users = changes.users.take();
        let changed = self.take(changes, now);
        self.digest(&changed)?;
        if let Some(policy) = policy {
            self.policy = Engine::parse(&policy.text)?;
            self.roles = users.map_or_else(|| std::mem::take(&mut self.roles), roles);
            self.compile();
            return Ok(Affected::Everybody);
        }
        let mut affected = users.map_or_else(BTreeSet::new, |users| self.replace_users(users));
        affected.extend(self.replace_nodes(&changed));
        affected.extend(changed);
        Ok(Affected::Nodes(affected))
    }

    /// Takes rows over; which nodes came, went, or are others now.
    fn take(&mut self, changes: Changes, now: Timestamp) -> BTreeSet<NodeId> {
        self.known = changes.known;
        let mut changed = BTreeSet::new();
        for change in changes.nodes {
            let id = match change {
                ChangedNode::Member(node) => {
                    let id = node.id;
                    self.nodes.insert(id, node);
                    id
                }
                ChangedNode::Leaving(row) => {
                    let id = row.node.id;
                    self.nodes.remove(&id);
                    self.deleted.insert(id, row);
                    id
                }
                ChangedNode::Gone(node) => {
                    self.nodes.remove(&node.id);
                    self.deleted.remove(&node.id);
                    node.id
                }
            };
            changed.insert(id);
        }
        let stayed: BTreeSet<NodeId> = self.leaving.staying.keys().copied().collect();
        for id in &stayed {
            self.nodes.remove(id);
        }
        self.leaving = Leaving::at(self.deleted.values(), &self.nodes, now);
        let stays: BTreeSet<NodeId> = self.leaving.staying.keys().copied().collect();
        changed.extend(stayed.symmetric_difference(&stays));
        self.nodes.extend(self.leaving.staying.clone());
        changed
    }

    fn digest(&mut self, changed: &BTreeSet<NodeId>) -> Result<(), serde_json::Error> {
        for id in changed {
            match self.nodes.get(id) {
                Some(node) => self.digests.insert(*id, PeerDigests::of(node)?),
                None => self.digests.remove(id),
            };
        }
        Ok(())
    }

    fn compile(&mut self) {
        let users = self.roles.iter();
        let users = users.map(|(login, role)| user(login, *role)).collect();
        let members = self.nodes.values().filter(|node| self.is_member(node));
        let mut topology = Topology {
            users,
            nodes: members.map(engine::node).collect(),
            domains: self.domains.clone(),
        };
        self.for_logins = self.policy.compile(&topology);
        self.for_packets = match self.leaving.staying.is_empty() {
            true => self.for_logins.clone(),
            false => {
                let staying = self.leaving.staying.values();
                let staying = staying.filter(|node| node.approved).map(engine::node);
                topology.nodes.extend(staying);
                self.policy.compile(&topology)
            }
        };
    }

    fn is_member(&self, node: &NodeRow) -> bool {
        node.approved && !self.leaving.staying.contains_key(&node.id)
    }

    fn replace_users(&mut self, users: Vec<UserRow>) -> BTreeSet<NodeId> {
        let new = roles(users);
        let old = std::mem::replace(&mut self.roles, new);
        let mut affected = BTreeSet::new();
        for compiled in [&mut self.for_logins, &mut self.for_packets] {
            for login in old.keys().filter(|login| !self.roles.contains_key(*login)) {
                affected.extend(compiled.remove_user(login));
            }
            for (login, role) in &self.roles {
                if old.get(login) != Some(role) {
                    affected.extend(compiled.set_user(user(login, *role)));
                }
            }
        }
        affected
    }

    /// Whatever goes, goes first: a new node may have its address.
    fn replace_nodes(&mut self, changed: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut affected = BTreeSet::new();
        let mut come = Vec::new();
        for id in changed {
            let node = self.nodes.get(id).filter(|node| node.approved);
            let member = node.filter(|node| self.is_member(node));
            if member.is_none() {
                affected.extend(self.for_logins.remove_node(*id));
            }
            if node.is_none() {
                affected.extend(self.for_packets.remove_node(*id));
            }
            come.extend(node.map(|node| (engine::node(node), member.is_some())));
        }
        for (node, is_member) in come {
            if is_member {
                affected.extend(self.for_logins.set_node(node.clone()));
            }
            affected.extend(self.for_packets.set_node(node));
        }
        affected
    }
}

fn roles(users: Vec<UserRow>) -> BTreeMap<String, Role> {
    let users = users.into_iter();
    users.map(|user| (user.login, user.role)).collect()
}

fn user(login: &str, role: Role) -> User {
    User {
        login: login.to_owned(),
        role,
    }
}

#[cfg(test)]
mod tests;
