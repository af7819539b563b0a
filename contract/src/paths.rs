//! Where the processes of one host meet.

/// What root pinned at join; owned by root.
pub const TRUST: &str = "/etc/meshd/trust.json";
/// Root's own restrictions on SSH; owned by root.
pub const SSH_CONFIG: &str = "/etc/meshd/ssh.toml";

/// The manager's settings; owned by root.
pub const MANAGER_CONFIG: &str = "/etc/meshd/meshd.toml";
/// The manager's state directory.
pub const MANAGER_STATE: &str = "/var/lib/meshd";
/// The newest peer document, as signed; written by the manager by rename.
pub const PEER_DOCUMENT: &str = "/var/lib/meshd/peers.signed";
/// The newest network document, as signed.
pub const NETWORK_DOCUMENT: &str = "/var/lib/meshd/network.signed";
/// The rotations of control's key since the one that was pinned, as signed: a list for
/// [`crate::keyring::Keyring::follow_list`].
pub const KEY_ROTATIONS: &str = "/var/lib/meshd/key-rotations.json";

/// The broker's state directory: its own host key, the highest version and the newest control key
/// seen; root's alone.
pub const BROKER_STATE: &str = "/var/lib/meshd-ssh";
/// The broker's run directory.
pub const BROKER_RUN: &str = "/run/meshd-ssh";
/// The socket on which the broker takes connections from the manager; there while SSH is on.
pub const BROKER_SOCKET: &str = "/run/meshd-ssh/broker.sock";
/// The session process's root directory: empty and not writable.
pub const EMPTY_ROOT: &str = "/run/meshd-ssh/empty";
/// The public halves of the host keys that the broker serves, one a line; world-readable.
pub const HOST_KEYS: &str = "/run/meshd-ssh/host_keys.pub";

/// The manager's socket for the `mesh` command.
pub const MANAGER_SOCKET: &str = "/run/meshd/meshd.sock";

/// The session process.
pub const SESSION_PROGRAM: &str = "/usr/lib/meshd/meshd-session";
/// The helper.
pub const HELPER_PROGRAM: &str = "/usr/lib/meshd/meshd-helper";

/// The user that the manager runs as.
pub const MANAGER_USER: &str = "meshd";
/// The user that session processes run as.
pub const SESSION_USER: &str = "meshd-ssh";

/// The PAM service of every session.
pub const PAM_SERVICE: &str = "meshd-ssh";

/// The mesh's network device.
pub const DEVICE: &str = "mesh0";
/// The port on the mesh addresses where the manager accepts SSH; nftables sends port 22 there,
/// so that an sshd on port 22 of every address is left alone.
pub const SSH_PORT: u16 = 7122;
/// The port on the mesh addresses where the manager answers DNS; nftables sends the host's own
/// queries to port 53 there.
pub const DNS_PORT: u16 = 7153;
/// The UDP port of WireGuard, unless configured otherwise.
pub const WIREGUARD_PORT: u16 = 51820;
