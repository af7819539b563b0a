//! The messages between a worker and its helper, which runs as the account.
//!
//! Each is one packet of a `SOCK_SEQPACKET` Unix socket ([`crate::wire`]). The worker decides what
//! is done; the helper does what the account may do, and hands over the sockets. The worker chooses
//! the numbers, and believes nothing that comes back but that a socket is one. It starts the helper
//! of its own version, also when a newer one has been installed since.
//!
//! ```text
//! worker                  helper
//!   Connect            ->
//!   <- Connected + socket | Failed
//!   Listen, ListenAgent ->
//!   <- Listening | Failed
//!   Accept             ->
//!   <- Accepted + socket
//!   Close              ->
//! ```

use serde::{Deserialize, Serialize};

use crate::forward::{Endpoint, Origin};
use crate::wire::{Encoding, Message};

/// The longest text of [`FromHelper::Failed`], in bytes.
pub const MAX_WORDS_BYTES: usize = 512;

/// What the worker asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHelper {
    /// Connect a socket.
    Connect {
        /// Names the request.
        number: u32,
        /// Where it is to lead.
        target: Endpoint,
        /// How long names and all addresses may take together, in seconds.
        seconds: u32,
    },
    /// Listen.
    Listen {
        /// Names the listener.
        number: u32,
        /// Where; port 0 for any.
        at: Endpoint,
        /// At the address that is named; else at the loopback addresses only.
        anywhere: bool,
    },
    /// Listen at a Unix socket in a new directory, for the client's agent.
    ListenAgent {
        /// Names the listener.
        number: u32,
    },
    /// Listen no more, or give the request up.
    Close {
        /// The number.
        number: u32,
    },
    /// So many connections more may be accepted.
    Accept {
        /// How many.
        more: u32,
    },
}

impl Message for ToHelper {
    const ENCODING: Encoding = Encoding::Compact;
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHelper {
    /// The connected socket, one descriptor.
    Connected {
        /// The request.
        number: u32,
    },
    /// It listens.
    Listening {
        /// The listener.
        number: u32,
        /// The port; 0 for a Unix socket.
        port: u16,
        /// The path of the agent's socket; empty for others.
        path: Vec<u8>,
    },
    /// It did not succeed.
    Failed {
        /// The number.
        number: u32,
        /// The system's words, at most [`MAX_WORDS_BYTES`].
        words: String,
    },
    /// A listener has accepted a connection; one descriptor.
    Accepted {
        /// The listener.
        number: u32,
        /// From where.
        origin: Origin,
    },
}

impl Message for FromHelper {
    const ENCODING: Encoding = Encoding::Compact;
}
