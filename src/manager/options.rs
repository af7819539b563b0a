//! The manager's command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use meshd_contract::paths;

/// Keeps this host in its mesh. Runs as user meshd with CAP_NET_ADMIN and nothing else.
#[derive(Debug, Clone, Parser)]
#[command(name = "meshd", version)]
pub struct Options {
    /// Which WireGuard to use; auto takes the kernel's where it has one.
    #[arg(long, value_name = "KIND", value_enum, default_value_t = WireGuardChoice::Auto)]
    pub wireguard: WireGuardChoice,
    /// The name of the network device.
    #[arg(long, value_name = "NAME", default_value = paths::DEVICE)]
    pub device: String,
    /// The UDP port of WireGuard.
    #[arg(long, value_name = "PORT", default_value_t = paths::WIREGUARD_PORT)]
    pub wireguard_port: u16,
    /// The directory of keys and documents.
    #[arg(long, value_name = "DIRECTORY", default_value = paths::MANAGER_STATE)]
    pub state: PathBuf,
    /// The socket of the mesh command.
    #[arg(long, value_name = "PATH", default_value = paths::MANAGER_SOCKET)]
    pub socket: PathBuf,
    /// The socket of the SSH broker; SSH is on while it is there.
    #[arg(long, default_value = paths::BROKER_SOCKET, hide = true)]
    pub broker_socket: PathBuf,
}

/// The WireGuard to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WireGuardChoice {
    /// The kernel's where it has one, else the one in this process.
    Auto,
    /// The kernel's.
    Kernel,
    /// The one in this process, on a TUN device.
    Userspace,
}
