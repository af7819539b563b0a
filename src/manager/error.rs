//! What can go wrong in the manager, each as one sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use meshd_contract::signed::SignedError;
use thiserror::Error;

/// Why the manager cannot do what it was asked to.
#[derive(Debug, Error)]
pub enum Error {
    /// Started as root.
    #[error("meshd does not run as root: start it as the user meshd (systemctl start meshd)")]
    Root,
    /// Started without the one capability.
    #[error(
        "meshd needs the capability CAP_NET_ADMIN: start it through its unit (systemctl start \
         meshd), which gives it AmbientCapabilities=CAP_NET_ADMIN"
    )]
    NoNetAdmin,
    /// The file of settings cannot be used.
    #[error("{path} is not in order: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Where in it, and why.
        reason: String,
    },
    /// The state file cannot be used.
    #[error(
        "the state file {path} cannot be read ({reason}): restore it from a backup, or move it \
         away and join again with mesh up"
    )]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of the manager cannot be written or read.
    #[error("{path} cannot be {verb}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read`, `written` and so on.
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel has no WireGuard, but was asked for.
    #[error(
        "this kernel has no WireGuard: install its module (modprobe wireguard), or let meshd \
         do without it: wireguard = \"auto\" in /etc/meshd/meshd.toml"
    )]
    NoKernelWireGuard,
    /// There is no WireGuard of any kind.
    #[error(
        "this host has no WireGuard: its kernel has none, and /dev/net/tun for another one cannot \
         be opened ({0}): load the module wireguard (modprobe wireguard), or tun"
    )]
    NoWireGuard(io::Error),
    /// There is no TUN device.
    #[error(
        "/dev/net/tun cannot be opened ({0}): load the module tun (modprobe tun) and let everybody \
         open it (chmod 0666 /dev/net/tun)"
    )]
    NoTun(io::Error),
    /// The interface's name is taken by something else.
    #[error(
        "the network device {device} exists already and is no {wanted} device: remove it (ip link \
         delete {device}) or choose another name: device in /etc/meshd/meshd.toml"
    )]
    DeviceTaken {
        /// The name.
        device: String,
        /// `WireGuard` or `TUN`.
        wanted: &'static str,
    },
    /// Another process serves the TUN device.
    #[error("the network device {0} is in use by another process: stop the other meshd")]
    DeviceBusy(String),
    /// The UDP port is taken.
    #[error(
        "UDP port {0} is in use by another program: stop it, or choose another: wireguard_port \
         in /etc/meshd/meshd.toml"
    )]
    PortInUse(u16),
    /// A step of setting up the network failed.
    #[error("{step} failed: {reason}")]
    Network {
        /// What was tried.
        step: String,
        /// What the kernel said.
        reason: String,
    },
    /// nft is not installed.
    #[error("the program nft is missing: install the package nftables")]
    NoNft,
    /// The kernel has no nftables.
    #[error("this kernel has no nftables ({0}): load its module (modprobe nf_tables)")]
    NoNftables(String),
    /// Its nftables have no address translation.
    #[error(
        "this kernel's nftables cannot translate addresses ({0}): load the modules nft_chain_nat \
         and nft_nat (modprobe -a nft_chain_nat nft_nat)"
    )]
    NoNat(String),
    /// nft refused.
    #[error("nft refused the rules of table inet meshd: {0}")]
    Nft(String),
    /// Control's address is none.
    #[error("{0:?} is no address of a control server: write https://HOST or https://HOST:PORT")]
    ControlUrl(String),
    /// Control does not answer.
    #[error(
        "the control server at {url} cannot be reached ({reason}): check the address and that \
         meshd-control runs there"
    )]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        reason: String,
    },
    /// Control has another key than the one expected.
    #[error(
        "the control server at {url} does not have the expected key {expected}: check the address \
         and the key before you trust it"
    )]
    WrongControlKey {
        /// Its address.
        url: String,
        /// The fingerprint of the expected key.
        expected: String,
    },
    /// The TLS certificate is not control's.
    #[error(
        "the TLS certificate that {0} served is not the control server's: something between this \
         host and control answers in its place"
    )]
    WrongCertificate(String),
    /// Control said no.
    #[error("{detail}")]
    Problem {
        /// The HTTP status.
        status: u16,
        /// The sentence that control sent.
        detail: String,
    },
    /// Control said something that is not its language.
    #[error("the control server at {url} gave an answer that meshd does not understand: {reason}")]
    Answer {
        /// Its address.
        url: String,
        /// What was wrong.
        reason: String,
    },
    /// A document is not believed.
    #[error("a document was refused: {0}")]
    Document(#[from] SignedError),
    /// Nobody has said how to join.
    #[error("this host is in no mesh yet: mesh up --control URL")]
    NotJoined,
    /// The host belongs to another control server.
    #[error("this host already belongs to the mesh of {0}: leave it first with mesh logout")]
    OtherControl(String),
    /// Nobody has let this host in.
    #[error("nobody has let this host in in time: run mesh up again for a new page")]
    NotLetIn,
    /// Two `mesh up` at a time.
    #[error("another mesh up is under way: wait for it to end")]
    Busy,
    /// No node has this name or address.
    #[error("no node of the mesh has the name or address {0:?}: mesh status lists them")]
    NoSuchNode(String),
    /// No connection has this name.
    #[error("no SSH connection has an ID that begins with {0:?}: mesh sessions lists them")]
    NoSuchSession(String),
    /// Several connections' names begin so.
    #[error("{count} connections have an ID that begins with {prefix:?}: give more of it")]
    SeveralSessions {
        /// The beginning.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// A connection did not end when it was told to.
    #[error(
        "the connection {0} was told to end and is still there: journalctl -u meshd-ssh says what \
         its worker does"
    )]
    SessionStays(String),
    /// The mesh did not come up in time.
    #[error("{0}")]
    NotUp(String),
    /// The request needs root.
    #[error("this needs root: run it with sudo")]
    NeedsRoot,
    /// Another manager holds the socket.
    #[error("another meshd answers on {0}: stop it first")]
    SocketTaken(PathBuf),
    /// No random bytes.
    #[error("the system's random number generator failed: {0}")]
    Random(String),
}

impl Error {
    /// Whether meshd cannot start before a person has put something right.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::Root | Self::NoNetAdmin | Self::Config { .. } | Self::State { .. }
        )
    }

    /// A file of settings that was asked for by name.
    pub fn no_config(path: &Path) -> Self {
        Self::Config {
            path: path.to_owned(),
            reason: "there is no such file".to_owned(),
        }
    }

    /// A file that could not be used.
    pub fn file(path: impl Into<PathBuf>, verb: &'static str, source: io::Error) -> Self {
        Self::File {
            path: path.into(),
            verb,
            source,
        }
    }

    /// A step of setting up the network that failed.
    pub fn network(step: impl Into<String>, reason: impl ToString) -> Self {
        Self::Network {
            step: step.into(),
            reason: reason.to_string(),
        }
    }
}
