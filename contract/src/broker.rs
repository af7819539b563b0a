//! The messages between manager, worker and session process.
//!
//! Each is one packet of a `SOCK_SEQPACKET` Unix socket ([`crate::wire`]): a version byte, then
//! the message in postcard's encoding (<https://postcard.jamesmunns.com/wire-format>).
//!
//! ```text
//! manager                 worker                          session process
//!   Bind + tcp, link  ->
//!   <- Bound | Refused
//!                           (starts it with tcp, link, socketpair)
//!                                        Hello ->
//!                           <- Sign            Signed ->
//!                           <- Login           Permitted | Denied ->
//!                           <- AllocatePty     Pty + master ->
//!                           <- Release
//!                           <- Open            Opened + fds | Failed ->
//!                           <- Signal
//!                                              Notice, Exited, Revoked ->
//! ```

use serde::{Deserialize, Serialize};

/// The version of these messages; a packet with another first byte is refused.
pub const PROTOCOL: u8 = 1;

/// The longest packet, in bytes: room for the longest argument that Linux gives a program
/// (execve(2), 128 KiB), and less than the default buffer of a socket (212,992 bytes).
pub const MAX_MESSAGE_BYTES: usize = 192 << 10;

/// The most descriptors that one packet carries.
pub const MAX_MESSAGE_FDS: usize = 4;

/// The client's variables that one channel may bring.
pub const MAX_ENVIRONMENT_VARIABLES: usize = 128;

/// From the manager: serve this connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromManager {
    /// With two descriptors: the accepted TCP socket, and the session process's end of its link
    /// to the manager.
    Bind,
}

/// To the manager, once for each [`FromManager::Bind`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToManager {
    /// The connection is a peer's and has a session process now.
    Bound {
        /// Names the connection in every record.
        connection: String,
        /// The peer's number.
        peer: u64,
    },
    /// The connection is closed; one sentence why, for the manager's log.
    Refused(String),
}

/// From the session process to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSession {
    /// Sign an exchange hash with this host key (RFC 4253, section 8).
    Sign {
        /// Index into [`ToSession::Hello`]'s host keys.
        key: u8,
        /// 32, 48 or 64 bytes.
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
}

/// What to start on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The channel; with a terminal if [`FromSession::AllocatePty`] named it before.
    pub channel: u32,
    /// Shell or command.
    pub kind: OpenKind,
    /// The terminal's type, for `TERM`; empty without a terminal.
    pub term: Vec<u8>,
    /// The client's variables, at most [`MAX_ENVIRONMENT_VARIABLES`]; the worker filters them.
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
    /// The most channels at a time.
    pub max_channels: u32,
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
