//! The lab: hosts in namespaces, on a network of their own, with the project's programs in them.
//!
//! A host has its own root (an overlay of this machine's, written to memory), network, processes,
//! hostname and IPC, so it has its own accounts, PAM, `/run` and `/var/lib`. Nothing of it exists
//! outside its namespaces: when the process that holds a [`Host`] ends, however it ends, the
//! kernel takes everything away.
//!
//! A host may also be booted ([`Kind::Booted`]): a Debian with systemd as its first process. A
//! [`Machine`] is that with a kernel of its own, under emulation, and is slow.
//!
//! It needs root, and `/dev/net/tun` for userspace WireGuard ([`requirements`]).

pub mod clients;
mod clock;
mod command;
mod daemon;
mod error;
mod fd_store;
mod files;
mod held;
mod host;
pub mod inside;
mod lan;
mod machine;
mod mesh;
mod person;
mod programs;
pub mod requirements;
mod running;
mod talk;
mod terminal;
mod wait;

pub use clock::unix_time;
pub use command::{HostCommand, Output};
pub use daemon::Daemon;
pub use error::{LabError, Result};
pub use host::{Host, Kind, Process};
pub use lan::Lan;
pub use machine::{Machine, Rack};
pub use mesh::{
    CONTROL, CONTROL_SOCKET, Mesh, Owner, WIREGUARD_VARIABLE, policy_for_alice, policy_with,
};
pub use person::{Page, Person};
pub use programs::{build_directory, program};
pub use running::Running;
pub use talk::Talk;
pub use terminal::Terminal;
pub use wait::{DEADLINE, wait_for};
