//! The messages on the admin socket.

use std::net::SocketAddr;

use std::path::PathBuf;

use meshd_contract::address::MeshAddresses;
use meshd_contract::check::LoginClass;
use meshd_contract::identity::{NodeId, NodeName, Owner};
use meshd_contract::time::Timestamp;
use meshd_policy::Topology;
use serde::{Deserialize, Serialize};

use crate::api::Scope;
use crate::audit::{AuditQuery, AuditRow};
use crate::role::Role;
use crate::store::{ApiKeyRow, AuthKeyRow, UserRow};

/// The longest request or answer, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: u64 = 16 << 20;

/// What a command asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Adds a user.
    UsersCreate {
        /// An e-mail address.
        login: String,
        /// What the user is in the mesh.
        role: Role,
    },
    /// Makes a one-time link to an account.
    UsersInvite {
        /// An e-mail address.
        login: String,
        /// What the user is in the mesh; none for a user who is there, and for a member.
        role: Option<Role>,
    },
    /// All users.
    UsersList,
    /// Gives a user another role.
    UsersRole {
        /// An e-mail address.
        login: String,
        /// The new role.
        role: Role,
    },
    /// Removes a user with the user's nodes and auth keys.
    UsersDelete {
        /// An e-mail address.
        login: String,
    },
    /// Makes an auth key.
    AuthkeysCreate(AuthKeyWish),
    /// All auth keys, without their secrets.
    AuthkeysList,
    /// Removes an auth key.
    AuthkeysDelete {
        /// Its number.
        id: u64,
    },
    /// Makes an API key.
    ApikeysCreate(ApiKeyWish),
    /// All API keys, without their secrets.
    ApikeysList,
    /// Removes an API key.
    ApikeysDelete {
        /// Its number.
        id: u64,
    },
    /// All nodes.
    NodesList,
    /// Removes a node.
    NodesDelete {
        /// Its number or name.
        node: String,
    },
    /// Lets a node be somebody's peer.
    NodesApprove {
        /// Its number or name.
        node: String,
    },
    /// Gives a node another name.
    NodesRename {
        /// Its number or name.
        node: String,
        /// The new name.
        name: NodeName,
    },
    /// Sets when a node's key expires.
    NodesExpiry {
        /// Its number or name.
        node: String,
        /// In so many seconds from now; none for never.
        in_seconds: Option<u64>,
    },
    /// Everything that owners have approved for logins and still counts.
    ChecksList,
    /// Takes back what was approved for logins from a node.
    ChecksRevoke {
        /// Its number or name.
        node: String,
    },
    /// Takes back what was approved for logins from all nodes of a user.
    ChecksRevokeUser {
        /// An e-mail address.
        login: String,
    },
    /// The policy as it was saved.
    PolicyGet,
    /// Users, nodes and domains, as a policy is applied to them.
    PolicyTopology,
    /// Checks a policy and makes it the one that counts.
    PolicySet {
        /// The file's content.
        text: String,
        /// Also if it cuts what an administrator has now.
        #[serde(default)]
        yes: bool,
    },
    /// Checks a policy.
    PolicyCheck {
        /// The file's content.
        text: String,
    },
    /// A page of the audit log.
    Audit(AuditQuery),
    /// Copies everything that must not be lost.
    Backup,
    /// Control's public key.
    Key,
    /// Puts a new key in the place of control's present one.
    KeysRotate {
        /// How long the present one still counts; none for as long as a document does.
        overlap_seconds: Option<u64>,
    },
    /// The keys that control has and had.
    KeysList,
}

/// What an auth key shall be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuthKeyWish {
    /// Whose the joining nodes are.
    pub(crate) owner: Owner,
    /// Good for more than one node.
    pub(crate) reusable: bool,
    /// Its nodes are removed when they are gone.
    pub(crate) ephemeral: bool,
    /// How long it counts.
    pub(crate) expires_in_seconds: u64,
}

/// What an API key shall be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ApiKeyWish {
    /// What it may do.
    pub(crate) scopes: Vec<Scope>,
    /// How long it counts.
    pub(crate) expires_in_seconds: u64,
}

/// What a command gets back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", content = "content", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It is done.
    Done(Done),
    /// All users.
    Users(Vec<UserRow>),
    /// The address of a page, good for one use.
    Link(String),
    /// The new auth key or API key.
    AuthKey(NewKey),
    /// All auth keys.
    AuthKeys(Vec<AuthKeyRow>),
    /// All API keys.
    ApiKeys(Vec<ApiKeyRow>),
    /// All nodes.
    Nodes(Vec<NodeEntry>),
    /// What is approved.
    Approvals(Vec<ApprovalEntry>),
    /// The policy's text.
    Policy(String),
    /// What a policy is applied to.
    Topology(Topology),
    /// Control's public key.
    Key(ControlKey),
    /// The keys that control has and had, the oldest first.
    Keys(Vec<KeyEntry>),
    /// A page of the audit log.
    Audit(Vec<AuditRow>),
    /// The directory of the copy.
    Copied(PathBuf),
    /// Everything that is wrong with the policy, each with its place; nothing was changed.
    PolicyRefused(Vec<String>),
    /// What the policy would take from those who administer the mesh; nothing was changed.
    WouldCut(Vec<String>),
    /// Not done, one sentence why.
    Failed(String),
}

/// A change that is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// One sentence.
    pub(crate) message: String,
    /// What may not be as expected.
    pub(crate) warnings: Vec<String>,
    /// Every connected node has been told, or none needs to be.
    pub(crate) published: bool,
}

/// A new auth key or API key; the only time that its secret is shown.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewKey {
    /// Its number.
    pub(crate) id: u64,
    /// What the host needs.
    pub(crate) secret: String,
}

/// Control's public key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ControlKey {
    /// Base64.
    pub(crate) key: String,
    /// As `ssh-keygen -l` writes it.
    pub(crate) fingerprint: String,
}

/// What an owner has approved, in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ApprovalEntry {
    /// From where.
    pub(crate) source: String,
    /// By whom.
    pub(crate) owner: String,
    /// As which accounts.
    pub(crate) class: LoginClass,
    /// At which node; none for more than one.
    pub(crate) destination: Option<String>,
    /// What an approval ahead was limited to.
    pub(crate) target: Option<String>,
    /// Only the connection that waited for it.
    pub(crate) one_connection: bool,
    /// It was asked for before a login needed it.
    pub(crate) is_ahead: bool,
    /// When.
    pub(crate) approved_at: Timestamp,
    /// It counts no longer than until then; a rule may want a more recent one.
    pub(crate) expires_at: Timestamp,
}

/// A key of control in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyEntry {
    /// Base64.
    pub(crate) key: String,
    /// As `ssh-keygen -l` writes it.
    pub(crate) fingerprint: String,
    /// Since when it signs; none for the first one.
    pub(crate) since: Option<Timestamp>,
    /// From this second on it counts no more; none for the present one.
    pub(crate) ends_at: Option<Timestamp>,
}

/// A node in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeEntry {
    /// Its number.
    pub(crate) id: NodeId,
    /// Its name.
    pub(crate) name: NodeName,
    /// Whom it belongs to.
    pub(crate) owner: Owner,
    /// Its addresses.
    pub(crate) addresses: MeshAddresses,
    /// It follows its documents now.
    pub(crate) connected: bool,
    /// When it was last heard of.
    pub(crate) last_seen: Option<Timestamp>,
    /// From then on it is nobody's peer; none means never.
    pub(crate) key_expires_at: Option<Timestamp>,
    /// It may be somebody's peer.
    pub(crate) approved: bool,
    /// It is removed when it is gone.
    pub(crate) ephemeral: bool,
    /// Where its WireGuard may be reached.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// The version of meshd that it reported.
    pub(crate) release: String,
    /// When it joined.
    pub(crate) created_at: Timestamp,
}
