//! What the manager is started with: its command line, and what root has set in a file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use meshd_contract::paths;
use serde::Deserialize;

use super::config::{Config, DeviceName, Mtu, Port};
use super::error::Error;

/// Keeps this host in its mesh. Runs as user meshd with CAP_NET_ADMIN and nothing else.
///
/// What is not given here is taken from the file of settings, or has its default.
#[derive(Debug, Clone, Parser)]
#[command(name = "meshd", version)]
pub struct Arguments {
    /// The file of settings, instead of /etc/meshd/meshd.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which WireGuard to use; auto takes the kernel's where it has one.
    #[arg(long, value_name = "KIND", value_enum)]
    wireguard: Option<WireGuardChoice>,
    /// The name of the network device.
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceName>,
    /// The UDP port of WireGuard.
    #[arg(long, value_name = "PORT")]
    wireguard_port: Option<Port>,
    /// The device's MTU in bytes; 0 for the one that the host's other networks leave room for.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<Mtu>,
    /// The directory of keys and documents.
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// The socket of the mesh command.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The socket of the SSH broker; SSH is on while it is there.
    #[arg(long, default_value = paths::BROKER_SOCKET, hide = true)]
    broker_socket: PathBuf,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Reads the settings and says whether they are in order.
    Check,
}

/// Everything that the manager was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which WireGuard to use.
    pub wireguard: WireGuardChoice,
    /// The name of the network device.
    pub device: String,
    /// The UDP port of WireGuard.
    pub wireguard_port: u16,
    /// The device's MTU, in bytes; none for the one that the underlay leaves room for.
    pub mtu: Option<u32>,
    /// The directory of keys and documents.
    pub state: PathBuf,
    /// The socket of the mesh command.
    pub socket: PathBuf,
    /// The socket of the SSH broker; SSH is on while it is there.
    pub broker_socket: PathBuf,
}

/// The WireGuard to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WireGuardChoice {
    /// The kernel's where it has one, else the one in this process.
    Auto,
    /// The kernel's.
    Kernel,
    /// The one in this process, on a TUN device.
    Userspace,
}

impl Arguments {
    /// Reads the file of settings, over which the command line wins.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn options(self) -> Result<Options, Error> {
        let config = match &self.config {
            Some(path) if !path.exists() => return Err(Error::no_config(path)),
            Some(path) => Config::load(path)?,
            None => Config::load(paths::MANAGER_CONFIG.as_ref())?,
        };
        Ok(self.over(config))
    }

    fn over(self, config: Config) -> Options {
        let device = self.device.unwrap_or(config.device);
        Options {
            wireguard: self.wireguard.unwrap_or(config.wireguard),
            device: device.as_str().to_owned(),
            wireguard_port: self
                .wireguard_port
                .unwrap_or(config.wireguard_port)
                .number(),
            mtu: self.mtu.unwrap_or(config.mtu).fixed(),
            state: self.state.unwrap_or(config.state),
            socket: self.socket.unwrap_or(config.socket),
            broker_socket: self.broker_socket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["meshd"], words].concat())
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("meshd.toml");
        std::fs::write(&path, "device = \"one\"\nmtu = 1300\n").expect("writes");
        let path = path.display().to_string();
        let options = arguments(&["--config", &path, "--device", "two"]).expect("is in order");
        let options = options.options().expect("is in order");
        assert_eq!(options.device, "two");
        assert_eq!(options.mtu, Some(1300));
        assert_eq!(options.wireguard_port, paths::WIREGUARD_PORT);
        let none = arguments(&["--config", "/nonexistent/meshd.toml"]).expect("is in order");
        let said = none.options().expect_err("is missing").to_string();
        assert!(said.starts_with("/nonexistent/meshd.toml is not"), "{said}");
    }

    #[test]
    fn bad_values_are_refused_with_their_reason() {
        for (words, reason) in [
            (["--device", "a/b"], "a device's name"),
            (["--wireguard-port", "0"], "from 1 to 65535"),
            (["--mtu", "12"], "from 1280"),
            (["--wireguard", "both"], "userspace"),
        ] {
            let said = arguments(&words).expect_err("is refused").to_string();
            assert!(said.contains(reason), "{said}");
        }
    }
}
