//! What `mesh` and the manager say to each other over [`meshd_contract::paths::MANAGER_SOCKET`].
//!
//! Each message is one line of JSON. A client may send several requests over one connection; each
//! is answered by exactly one [`Response`], in order. `Identify`, `Up`, `AwaitJoin`, `Down`,
//! `Logout`, `Kill` and `RevokeChecks` need user id 0.

use std::net::{IpAddr, SocketAddr};

use meshd_contract::address::MeshAddresses;
use meshd_contract::broker::{ChannelDescription, ForwardDescription};
use meshd_contract::check::LoginClass;
use meshd_contract::document::Version;
use meshd_contract::identity::{NodeId, NodeName, Owner};
use meshd_contract::key::{PublicKey, WireGuardKey};
use meshd_contract::node_api::{Approved, CheckState};
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest request or answer, in bytes.
pub const MAX_LINE_BYTES: usize = 32 << 20;

/// What `mesh` asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Which key does the control server at this address have?
    Identify {
        /// `https://HOST[:PORT]`.
        control: String,
    },
    /// Become part of a mesh, or use it again after `Down`.
    Up {
        /// How to join; none where the node has joined before.
        join: Option<Box<Join>>,
    },
    /// Answer when a person has let this host in, as [`Response::Page`] asked for; whoever goes away
    /// before takes the request back.
    AwaitJoin {
        /// The wish in the [`Request::Up`].
        join: Box<Join>,
    },
    /// Answer when the mesh is in use: the interface is up and both documents have arrived.
    Await,
    /// Stop using the mesh; the node stays registered.
    Down,
    /// Leave the mesh for good.
    Logout,
    /// How is it going?
    Status,
    /// Who has this name or address?
    Whois {
        /// A node's name, with or without the mesh's domain, or one of its addresses.
        who: String,
    },
    /// Which SSH connections are open?
    Sessions,
    /// Have the owner of this host asked for the logins of the next minutes.
    Check {
        /// For how long.
        seconds: u64,
        /// To which nodes: a tag or a node's name; none for all.
        target: Option<String>,
        /// As which accounts.
        class: LoginClass,
    },
    /// What has become of a check? Answered after a few seconds at the latest.
    CheckNews {
        /// As the answer to [`Request::Check`] named it.
        id: String,
    },
    /// What was approved for logins from this host?
    Approved,
    /// Take back what was approved for logins from this host; answered when control has done so.
    RevokeChecks,
    /// End an SSH connection, as if its right had ended; answered when it has ended.
    Kill {
        /// Its ID, or as much of it as no other has.
        connection: String,
    },
}

/// How to join a mesh.
#[derive(Clone, Serialize, Deserialize)]
pub struct Join {
    /// `https://HOST[:PORT]`.
    pub control: String,
    /// The key that control must have, or have handed its place over from.
    pub control_key: PublicKey,
    /// The secret that permits it; none to use the mesh that the node has joined before, and to
    /// ask a person.
    pub auth_key: Option<String>,
    /// The wished name.
    pub name: NodeName,
    /// Have the owner of this node sign in again, and give it new keys.
    #[serde(default)]
    pub renew: bool,
    /// The wished tags, where a person is asked.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("control", &self.control)
            .field("control_key", &self.control_key)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What the manager answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Identify`].
    Identity {
        /// The key that control proved to have.
        control_key: PublicKey,
        /// The rotations that it tells of, not verified; a list for
        /// [`meshd_contract::keyring::Keyring::follow_all`].
        #[serde(default)]
        rotations: Vec<String>,
    },
    /// To [`Request::Up`] and [`Request::AwaitJoin`].
    Joined(Joined),
    /// To [`Request::Up`] where a person has to let the host in.
    Page(Page),
    /// To [`Request::Await`] and [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Whois`].
    Node(Box<Node>),
    /// To [`Request::Sessions`].
    Sessions {
        /// The oldest first.
        sessions: Vec<Session>,
    },
    /// To [`Request::Check`] and [`Request::CheckNews`].
    Check {
        /// Where it stands.
        state: CheckState,
    },
    /// To [`Request::Approved`].
    Approved {
        /// The oldest first.
        approved: Vec<Approved>,
    },
    /// To [`Request::Down`], [`Request::Logout`], [`Request::Kill`] and [`Request::RevokeChecks`].
    Done,
    /// To any request; one sentence that says what to do.
    Error {
        /// The sentence.
        message: String,
    },
}

/// What root pins after a node has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The node's number.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// The key that it has pinned for its control server.
    pub control_key: PublicKey,
    /// It is nobody's peer until an administrator has approved it; known only right after it has
    /// joined.
    #[serde(default)]
    pub needs_approval: bool,
}

/// Where a person lets this host in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its address.
    pub url: String,
    /// The fingerprint of this host's key, which the page shows too.
    pub fingerprint: String,
    /// From this second on nobody can let it in there.
    pub expires_at: Timestamp,
}

/// Whether the mesh is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The host is no node of any mesh.
    LoggedOut,
    /// The host is a node, but `mesh down` was said.
    Down,
    /// Waits for the first documents, or for what keeps the interface from coming up.
    Starting,
    /// In use.
    Up,
}

/// How it is going.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The manager's version.
    pub release: String,
    /// Whether the mesh is in use.
    pub state: State,
    /// One sentence on what is wrong, if something is.
    pub problem: Option<String>,
    /// What another program has taken away and the manager has put back; none where nothing was.
    #[serde(default)]
    pub repairs: Option<Repairs>,
    /// The control server, where the host has one.
    pub control: Option<Control>,
    /// This node, once its network document is there.
    pub node: Option<Node>,
    /// Chains of other people's nftables that may drop what comes from the mesh, as
    /// `FAMILY TABLE CHAIN`.
    #[serde(default)]
    pub firewalls: Vec<String>,
    /// Whether this host can have its IPv6 address.
    #[serde(default = "yes")]
    pub has_ipv6: bool,
    /// The domain of node names.
    pub domain: Option<String>,
    /// WireGuard, while the interface is up.
    pub wireguard: Option<WireGuard>,
    /// Whether this host accepts SSH from the mesh.
    pub ssh: bool,
    /// SSH connections that are open.
    pub ssh_connections: usize,
    /// What closes the processes in that speak SSH.
    pub sandbox: Sandbox,
    /// The documents in use.
    pub documents: Option<Documents>,
    /// Every other node that this one knows.
    pub peers: Vec<Node>,
}

fn yes() -> bool {
    true
}

/// What was put back since the manager started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Repairs {
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
    /// What, the last time.
    pub what: String,
}

/// The control server of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Control {
    /// Its address.
    pub url: String,
    /// Its key's fingerprint.
    pub fingerprint: String,
    /// Whether the stream of documents is open.
    pub connected: bool,
}

/// The manager's WireGuard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireGuard {
    /// `kernel` or `userspace`.
    pub kind: String,
    /// The network device.
    pub device: String,
    /// Its UDP port.
    pub port: u16,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its public key.
    pub public_key: WireGuardKey,
}

/// The documents in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Documents {
    /// The peer document's version.
    pub peers: Option<Version>,
    /// The network document's version.
    pub network: Version,
    /// When the network document ends.
    pub expires_at: Timestamp,
}

/// A node as others see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Its addresses.
    pub addresses: MeshAddresses,
    /// Where WireGuard reaches it now; none for this node itself and where nothing is known.
    pub endpoint: Option<SocketAddr>,
    /// The last handshake with it, in seconds since 1970.
    pub last_handshake: Option<Timestamp>,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
    /// How many SSH host keys of it are known.
    pub ssh_host_keys: usize,
    /// From this second on it is nobody's peer; none means never.
    #[serde(default)]
    pub key_expires_at: Option<Timestamp>,
}

/// What closes the processes in that speak SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Who says so.
    pub source: SandboxSource,
    /// The version of Landlock's interface that the kernel offers, 0 for none; unknown before
    /// there was a connection.
    pub landlock_abi: Option<u32>,
    /// How many system calls the filter lets pass; unknown before there was a connection.
    pub system_calls: Option<u32>,
    /// One sentence for each layer that is missing or incomplete.
    pub missing: Vec<String>,
}

/// Who says what a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxSource {
    /// The session process of the last connection.
    Session,
    /// The kernel, as there was no connection since the manager started.
    Kernel,
}

/// An SSH connection to this host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Its ID, which is in every record of it.
    pub connection: String,
    /// The peer's number.
    pub peer: NodeId,
    /// The peer's name; empty where it is not known.
    pub peer_name: String,
    /// The peer's user or tags; empty where they are not known.
    pub owner: String,
    /// From where it comes.
    pub address: Option<IpAddr>,
    /// The account; none before the login is permitted.
    pub login: Option<String>,
    /// The rule of the policy that permits it.
    pub rule: Option<String>,
    /// When it began.
    pub since: Option<Timestamp>,
    /// What runs.
    pub channels: Vec<ChannelDescription>,
    /// What is forwarded; of very many, some.
    pub forwards: Vec<ForwardDescription>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Its worker does not answer at the moment; what is shown is what was known before.
    pub busy: bool,
}
