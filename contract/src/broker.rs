//! The messages between manager, worker and session process.
//!
//! Each is one packet of a `SOCK_SEQPACKET` Unix socket ([`crate::wire`]). The manager is upgraded
//! apart from workers and session processes, which live as long as their connections: what it
//! hears and says is [`Encoding::Extensible`]. Workers start the session process of their own
//! version.
//!
//! ```text
//! manager                 worker                          session process
//!   Bind + tcp, link  ->
//!   <- Bound | Refused
//!                           (starts it with tcp, link, socketpair)
//!   Describe          ->
//!   <- Described            (also unasked, when the login is permitted)
//!   <- Login                (unasked: accepted, denied, revoked, ended)
//!   End               ->    (as if access were revoked)
//!   <- Check                (the login that is asked for waits for a sign-in)
//!   Checking          ->
//!   Checked           ->
//!                                        Hello ->
//!                           <- Sign            Signed ->
//!                           <- Login           Asking, Held ->
//!                                              Permitted | Denied ->
//!                           <- AllocatePty     Pty + master ->
//!                           <- Release
//!                           <- Open            Opened + fds | Failed ->
//!                           <- Signal
//!                           <- Traffic, Leaving
//!                           <- Connect         Connected + socket | NotForwarded ->
//!                           <- Listen, ForwardAgent
//!                                              Listening | NotForwarded ->
//!                                              Accepted + socket ->
//!                           <- Taken, EndForward
//!                                              Notice, Exited, Revoked ->
//! ```
//!
//! The link between manager and session process carries [`ToManagerLink`] one way.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::check::{CheckNeed, CheckRefusal, Prompt};
use crate::forward::{Endpoint, ForwardFailure, Origin};
use crate::identity::NodeId;
use crate::login_event::LoginEvent;
use crate::time::Timestamp;
use crate::wire::{Encoding, Message};

/// The version of the messages of [`Encoding::Compact`]; a packet with another first byte is
/// refused.
pub const PROTOCOL: u8 = 1;

/// The longest packet, in bytes: room for the longest argument that Linux gives a program
/// (execve(2), 128 KiB), and less than the default buffer of a socket (212,992 bytes).
pub const MAX_MESSAGE_BYTES: usize = 192 << 10;

/// The most descriptors that one packet carries.
pub const MAX_MESSAGE_FDS: usize = 4;

/// The length of an exchange hash, in bytes: SHA-256 is that of every key exchange that is offered.
pub const EXCHANGE_HASH_BYTES: usize = 32;

/// The most of the client's variables that one channel may bring, whatever root's limit is.
pub const MAX_ENVIRONMENT_VARIABLES: usize = 1024;

/// From the manager. It keeps the socket for as long as the worker lives, and may pass it to its
/// own successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say")]
pub enum FromManager {
    /// Serve this connection; the first message, once. With two descriptors: the accepted TCP
    /// socket, and the session process's end of its link to the manager.
    Bind,
    /// Another first message, without descriptors: write down which key of control counts, also if
    /// nobody logs in. The answer is the end, or [`ToManager::Refused`].
    Keys,
    /// Say what this connection is.
    Describe,
    /// End it, as if its right had ended.
    End,
    /// There may be a newer peer document. Without this it is found a few seconds later.
    Look,
    /// The person can pass the check there.
    Checking(Prompt),
    /// The check that [`ToManager::Check`] asked for has come to its end.
    Checked(CheckOutcome),
    /// What a newer manager says; it is passed over.
    #[serde(other)]
    Unknown,
}

impl Message for FromManager {
    const ENCODING: Encoding = Encoding::Extensible;
}

/// To the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say")]
pub enum ToManager {
    /// The connection is a peer's and has a session process now; the answer to
    /// [`FromManager::Bind`].
    Bound {
        /// Names the connection in every record.
        connection: String,
        /// The peer's number; 0 for one that no SSH rule names.
        peer: u64,
        /// What root lets a host have, from now on.
        limits: ConnectionLimits,
    },
    /// The connection is closed.
    Refused {
        /// One sentence why, for the manager's log.
        reason: String,
    },
    /// What the connection is; the answer to [`FromManager::Describe`], and unasked as soon as
    /// its login is permitted.
    Described(Description),
    /// What has become of its login; told once, as it happens.
    Login(LoginEvent),
    /// The login needs a check: have control ask for it, and say what comes of it.
    Check {
        /// What the login lacks.
        need: CheckNeed,
        /// A grant that the manager has kept did not do.
        fresh: bool,
    },
    /// What a newer worker says; it is passed over.
    #[serde(other)]
    Unknown,
}

impl Message for ToManager {
    const ENCODING: Encoding = Encoding::Extensible;
}

/// How a check has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// With a grant ([`crate::check::CheckGrant`]), as control signed it.
    Granted(String),
    /// Without.
    Refused(CheckRefusal),
}

/// How many connections may be open at a time; the manager keeps to it before it asks the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Whose login is not permitted yet, of all peers.
    pub unauthenticated: u32,
    /// Whose login is not permitted yet, of one peer.
    pub unauthenticated_per_peer: u32,
    /// Of one peer.
    pub per_peer: u32,
    /// Of all peers.
    pub total: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            unauthenticated: 256,
            unauthenticated_per_peer: 64,
            per_peer: 512,
            total: 1024,
        }
    }
}

/// One connection, as root knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Names the connection in every record.
    pub connection: String,
    /// The peer's number; 0 for one that no SSH rule names.
    pub peer: NodeId,
    /// The peer's name, as the document had it at the start; empty for an unknown one.
    pub peer_name: String,
    /// Its user or its tags, as the document had them at the start; empty for an unknown one.
    pub owner: String,
    /// From where it comes.
    pub address: IpAddr,
    /// The account, once the login is permitted.
    pub login: Option<String>,
    /// The rule that permits it (where it is in the policy).
    pub rule: Option<String>,
    /// When the worker started.
    pub since: Timestamp,
    /// What runs.
    pub channels: Vec<ChannelDescription>,
    /// What is forwarded; of very many, some.
    #[serde(default)]
    pub forwards: Vec<ForwardDescription>,
    /// Bytes from the client, as the session process counts.
    pub received: u64,
    /// Bytes to the client, as the session process counts.
    pub sent: u64,
}

/// One channel of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelDescription {
    /// Its number in the connection.
    pub channel: u32,
    /// `shell`, `exec` or `sftp`.
    pub kind: String,
    /// Its terminal's path, if it has one.
    pub terminal: Option<String>,
    /// The number of its first process.
    pub pid: i32,
    /// When it was opened.
    pub since: Timestamp,
}

/// A listener of a connection, or its forwarded connections to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardDescription {
    /// `local` (the client reaches what the host reaches), `remote` (the host listens for the
    /// client) or `agent`.
    pub kind: String,
    /// Where the connections lead to, or what listens; empty for an agent.
    pub endpoint: String,
    /// How many connections are open.
    pub connections: u32,
}

/// From the session process to the manager, over their link; nothing rests on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say")]
pub enum ToManagerLink {
    /// What closes the process in; the first message.
    Sandbox(SandboxReport),
    /// What a newer session process says; it is passed over.
    #[serde(other)]
    Unknown,
}

impl Message for ToManagerLink {
    const ENCODING: Encoding = Encoding::Extensible;
}

/// Which layers of the sandbox this kernel has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    /// The version of Landlock's interface that the kernel offers; 0 for none
    /// (landlock_create_ruleset(2)).
    pub landlock_abi: u32,
    /// How many system calls the filter lets pass.
    pub system_calls: u32,
    /// One sentence for each layer that is missing or incomplete.
    pub missing: Vec<String>,
}

/// From the session process to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSession {
    /// Sign an exchange hash with this host key (RFC 4253, section 8).
    Sign {
        /// Index into [`ToSession::Hello`]'s host keys.
        key: u8,
        /// [`EXCHANGE_HASH_BYTES`].
        hash: Vec<u8>,
    },
    /// The client asks to become this account.
    Login {
        /// As the client sent it.
        name: Vec<u8>,
    },
    /// The client asks for a terminal on this channel.
    AllocatePty {
        /// Chosen by the session process; unique in the connection.
        channel: u32,
    },
    /// The client has closed this channel before anything ran on it: the terminal is not needed.
    Release {
        /// The channel.
        channel: u32,
    },
    /// The client asks for a shell or a command.
    Open(Open),
    /// The client sends a signal to what runs on the channel.
    Signal {
        /// The channel.
        channel: u32,
        /// The signal's name without `SIG` (RFC 4254, section 6.9).
        name: String,
    },
    /// How much the connection has carried so far, for the records; may come at any time.
    Traffic {
        /// Bytes of channels from the client.
        received: u64,
        /// Bytes of channels to the client.
        sent: u64,
    },
    /// The connection ends, and why, for the records; nothing rests on it.
    Leaving(Leaving),
    /// The client asks for a connection to somewhere.
    Connect {
        /// Chosen by the session process: below [`FIRST_ACCEPTED`], and above every other one that
        /// it has chosen before.
        forward: u32,
        /// Where to.
        target: Endpoint,
    },
    /// The client asks for connections from somewhere.
    Listen {
        /// Chosen as for [`FromSession::Connect`].
        forward: u32,
        /// Where.
        at: Endpoint,
    },
    /// The client offers its agent to what runs on this channel from now on.
    ForwardAgent {
        /// Chosen as for [`FromSession::Connect`].
        forward: u32,
        /// The channel.
        channel: u32,
    },
    /// The client has taken the accepted connection.
    Taken {
        /// As [`ToSession::Accepted`] named it.
        forward: u32,
    },
    /// The connection has ended, or nothing more is to be accepted.
    EndForward {
        /// The number.
        forward: u32,
    },
}

impl Message for FromSession {
    const ENCODING: Encoding = Encoding::Compact;
}

/// Why a connection ends, as the session process has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaving {
    /// The client has said that it leaves, or has closed the connection.
    Left,
    /// The client has not answered for as long as root lets it ([`Hello::client_alive_interval`]).
    Silent,
    /// The kernel has given the connection up.
    Lost,
    /// The client has not kept to the protocol.
    Violation,
    /// The client has not logged in in time.
    Late,
}

impl Leaving {
    /// The reason that the records name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Left => "the client has left",
            Self::Silent => "the client does not answer any more",
            Self::Lost => "the connection was lost",
            Self::Violation => "the client did not keep to the protocol",
            Self::Late => "no login in time",
        }
    }
}

/// The first number of accepted connections, which the worker chooses.
pub const FIRST_ACCEPTED: u32 = 1 << 31;

/// What to start on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The channel; with a terminal if [`FromSession::AllocatePty`] named it before.
    pub channel: u32,
    /// Shell or command.
    pub kind: OpenKind,
    /// The terminal's type, for `TERM`; empty without a terminal.
    pub term: Vec<u8>,
    /// The client's variables, at most [`Hello::max_variables`]; the worker filters them.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a client asks a channel to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenKind {
    /// The account's login shell.
    Shell,
    /// `shell -c` with this command.
    Exec(Vec<u8>),
    /// File transfer (the subsystem `sftp`).
    Sftp,
}

/// From the worker to its session process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSession {
    /// The first message.
    Hello(Hello),
    /// The answer to [`FromSession::Sign`].
    Signed {
        /// The signature's blob as SSH sends it (RFC 4253, section 6.6).
        signature: Vec<u8>,
    },
    /// The login needs a check; what comes next may take
    /// [`crate::check::FIRST_WORD_SECONDS`] longer than any other answer.
    Asking,
    /// The login waits for a sign-in; the client is to be told where.
    Held(Prompt),
    /// The login is permitted; channels may be opened.
    Permitted(Permitted),
    /// The login is not permitted; the connection is over.
    Denied(Denial),
    /// The terminal's master side, one descriptor.
    Pty {
        /// The channel.
        channel: u32,
    },
    /// It runs. Descriptors: none with a terminal, else standard input (for writing), output and
    /// error (for reading).
    Opened {
        /// The channel.
        channel: u32,
    },
    /// It could not be started; the channel is free.
    Failed {
        /// The channel.
        channel: u32,
        /// What the client is told.
        message: String,
    },
    /// A text for an interactive user, such as the message of the day, before any output.
    Notice {
        /// The channel.
        channel: u32,
        /// Bytes to show, with line feeds.
        text: Vec<u8>,
    },
    /// What ran on the channel has ended.
    Exited {
        /// The channel.
        channel: u32,
        /// How.
        status: ExitStatus,
    },
    /// The right to be here has ended: say [`ACCESS_REVOKED`] and close.
    Revoked,
    /// The connected socket, one descriptor; the answer to [`FromSession::Connect`].
    Connected {
        /// The number.
        forward: u32,
    },
    /// Connections are accepted; the answer to [`FromSession::Listen`] and
    /// [`FromSession::ForwardAgent`].
    Listening {
        /// The number.
        forward: u32,
        /// The port; 0 for a Unix socket.
        port: u16,
    },
    /// There is no such forward, or not any more.
    NotForwarded {
        /// The number.
        forward: u32,
        /// Why.
        failure: ForwardFailure,
    },
    /// A connection was accepted; one descriptor.
    Accepted {
        /// What accepted it.
        listener: u32,
        /// Its own number, from [`FIRST_ACCEPTED`] on.
        forward: u32,
        /// From where it comes.
        origin: Origin,
    },
}

impl Message for ToSession {
    const ENCODING: Encoding = Encoding::Compact;
}

/// What a revoked user reads.
pub const ACCESS_REVOKED: &str = "Access revoked.";

/// What the session process must know before its first byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Names the connection in every record.
    pub connection: String,
    /// Public host keys in the order of preference, as SSH encodes them (RFC 4253, section 6.6).
    pub host_keys: Vec<Vec<u8>>,
    /// How long the client may take to authenticate, in seconds.
    pub login_grace: u32,
    /// How long the host may take for an answer of its user database, PAM or logind, in seconds;
    /// the client is told when it is over.
    pub answer: u32,
    /// The most channels at a time.
    pub max_channels: u32,
    /// The most variables of the client for one channel, at most [`MAX_ENVIRONMENT_VARIABLES`].
    pub max_variables: u32,
    /// The most bytes of these variables, names and values.
    pub max_variable_bytes: u32,
    /// The most forwarded connections at a time.
    pub max_forwards: u32,
    /// How long a forward may take to connect, in seconds.
    pub connect: u32,
    /// After how many seconds without a word the client is asked whether it is there; 0 for never.
    pub client_alive_interval: u32,
    /// How many such questions in a row may stay unanswered; 0 for any number.
    pub client_alive_count_max: u32,
    /// After how many bytes in one direction new keys are made; never more than a gibibyte.
    pub rekey_bytes: u32,
    /// After how many seconds new keys are made; 0 for never because of the time.
    pub rekey_seconds: u32,
}

/// What a permitted login may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permitted {
    /// The account's name.
    pub login: String,
}

/// Why a login is denied; the client reads [`Denial::message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denial {
    /// No rule names the peer.
    Node,
    /// No rule names it together with this account, or there is no such account.
    Login {
        /// As the client sent it, control characters replaced.
        name: String,
    },
    /// Permitted by policy, but the account or the host refuses; one sentence for the client.
    Account(String),
}

impl Denial {
    /// The sentence that the client is shown.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Node => "meshd: policy does not permit you to SSH to this node".to_owned(),
            Self::Login { name } => {
                format!("meshd: policy does not permit you to SSH as user \"{name}\"")
            }
            Self::Account(sentence) => format!("meshd: {sentence}"),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(u8),
    /// By this signal number, with or without a core dump.
    Signal {
        /// The number (signal(7)).
        number: i32,
        /// Whether it left a core dump.
        core: bool,
    },
}
