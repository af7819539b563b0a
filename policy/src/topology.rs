//! What a policy is applied to: users, nodes, domains. Also the format of topology files (JSON).

use ipnet::IpNet;
use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, NodeName, Owner};
use serde::{Deserialize, Serialize};

/// The mesh as the policy sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Every user; a node's owner counts as one even if it is missing here.
    #[serde(default)]
    pub users: Vec<User>,
    /// Every node; numbers and addresses do not repeat.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// The e-mail domains that belong to this mesh: the only ones that `user:*@DOMAIN` and
    /// `localpart:*@DOMAIN` may name.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The e-mail address by which the identity provider knows it.
    pub login: String,
    /// What it may do in the mesh.
    #[serde(default)]
    pub role: Role,
}

/// What a user may do in the mesh; each but the first has an autogroup of its name.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// No administration.
    #[default]
    Member,
    /// Everything.
    Owner,
    /// Everything but to replace the owner.
    Admin,
    /// Network and policy.
    NetworkAdmin,
    /// Users and nodes.
    ItAdmin,
    /// Billing.
    BillingAdmin,
    /// Reads everything.
    Auditor,
}

impl Role {
    /// The name after `autogroup:`; every user of a mesh is in `autogroup:member` through its
    /// nodes, so that [`Role::Member`] has none.
    #[must_use]
    pub fn autogroup(self) -> Option<&'static str> {
        match self {
            Self::Member => None,
            Self::Owner => Some("owner"),
            Self::Admin => Some("admin"),
            Self::NetworkAdmin => Some("network-admin"),
            Self::ItAdmin => Some("it-admin"),
            Self::BillingAdmin => Some("billing-admin"),
            Self::Auditor => Some("auditor"),
        }
    }

    pub(crate) const NAMED: [Self; 6] = [
        Self::Owner,
        Self::Admin,
        Self::NetworkAdmin,
        Self::ItAdmin,
        Self::BillingAdmin,
        Self::Auditor,
    ];
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its two addresses.
    pub addresses: MeshAddresses,
    /// A user, or tags.
    pub owner: Owner,
    /// The networks behind it that an admin has approved; `0.0.0.0/0` or `::/0` make it an exit
    /// node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_routes: Vec<IpNet>,
}

impl Node {
    /// The login of its user; none for a tagged node.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match &self.owner {
            Owner::User(login) => Some(login),
            Owner::Tags(_) => None,
        }
    }

    /// Its tags; none for a node of a user.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        match &self.owner {
            Owner::User(_) => &[],
            Owner::Tags(tags) => tags,
        }
    }

    /// Whether it carries the internet for others.
    #[must_use]
    pub fn is_exit(&self) -> bool {
        self.approved_routes.iter().any(|net| net.prefix_len() == 0)
    }

    /// The networks behind it, without the internet.
    pub fn subnets(&self) -> impl Iterator<Item = &IpNet> {
        self.approved_routes
            .iter()
            .filter(|net| net.prefix_len() != 0)
    }
}
