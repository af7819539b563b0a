//! `/etc/meshd/ssh.toml`: what root of this host restricts beyond the policy.

use std::path::Path;

use meshd_contract::broker::ConnectionLimits;
use meshd_contract::login::Login;
use meshd_contract::paths;
use meshd_contract::ssh_rule::Forwarding;
use serde::Deserialize;
use thiserror::Error;

use crate::machine::ForwardLimits;

/// Root's restrictions; a missing file means the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The mesh's network device; connections from any other are refused.
    pub device: String,
    /// Refuse peers whose address the kernel's WireGuard has not bound to their key, also where a
    /// userspace WireGuard serves the device.
    pub require_kernel_wireguard: bool,
    /// Whether the policy may let anybody become an account with user id 0.
    pub permit_root: bool,
    /// Accounts with a smaller user id are refused, root apart.
    pub minimum_uid: u32,
    /// What becomes of an account whose password must be changed.
    pub expired_password: ExpiredPassword,
    /// Accounts that nobody becomes, whatever the policy says.
    pub deny_logins: Vec<Login>,
    /// Which kinds of forwarding the policy may permit.
    pub forwarding: Forwarding,
    /// Whether a client may have this host listen at other addresses than the loopback.
    pub gateway_ports: bool,
    /// Bounds on what one connection may use.
    pub limits: Limits,
}

/// What becomes of an account whose password must be changed (PAM_NEW_AUTHTOK_REQD,
/// pam_acct_mgmt(3)); no password plays a part in a login over the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiredPassword {
    /// Nobody becomes it before the password has been changed in another way.
    #[default]
    Refuse,
    /// The session begins, with PAM's word on it.
    Permit,
}

/// Bounds on what one connection may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Seconds that a client has to authenticate.
    pub login_grace: u32,
    /// Seconds that the user database, PAM and logind have for a login or a session.
    pub answer: u32,
    /// Channels at a time in one connection.
    pub channels: u32,
    /// Seconds from the hang-up of a revoked session to its end by SIGKILL.
    pub kill_grace: u32,
    /// Connections at a time on this host.
    pub connections: u32,
    /// Connections at a time of one peer.
    pub connections_per_peer: u32,
    /// Connections at a time whose login is not permitted yet.
    pub unauthenticated: u32,
    /// The same, of one peer.
    pub unauthenticated_per_peer: u32,
    /// Variables that a client may bring for one channel.
    pub environment_variables: u32,
    /// Bytes of these variables, names and values.
    pub environment_bytes: u32,
    /// Forwarded connections at a time in one connection.
    pub forwards: u32,
    /// Of these, connections that are not made yet.
    pub connecting: u32,
    /// Listeners at a time in one connection, a forwarded agent's included.
    pub listeners: u32,
    /// Seconds that a forwarded connection may take to be made.
    pub connect: u32,
    /// Seconds without a word after which a client is asked whether it is there; 0 for never.
    pub client_alive_interval: u32,
    /// Such questions in a row that may stay unanswered; 0 for any number.
    pub client_alive_count_max: u32,
    /// Bytes in one direction after which new keys are made.
    pub rekey_bytes: u32,
    /// Seconds after which new keys are made; 0 for never because of the time.
    pub rekey_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            device: paths::DEVICE.to_owned(),
            require_kernel_wireguard: false,
            permit_root: true,
            minimum_uid: 0,
            expired_password: ExpiredPassword::default(),
            deny_logins: Vec::new(),
            forwarding: Forwarding::All,
            gateway_ports: false,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let connections = ConnectionLimits::default();
        Self {
            login_grace: 120,
            answer: 60,
            channels: 10,
            kill_grace: 5,
            connections: connections.total,
            connections_per_peer: connections.per_peer,
            unauthenticated: connections.unauthenticated,
            unauthenticated_per_peer: connections.unauthenticated_per_peer,
            environment_variables: 128,
            environment_bytes: 64 << 10,
            forwards: 256,
            connecting: 64,
            listeners: 32,
            connect: 60,
            client_alive_interval: 0,
            client_alive_count_max: 3,
            rekey_bytes: 1 << 30,
            rekey_seconds: 0,
        }
    }
}

impl Limits {
    /// Those on forwards.
    #[must_use]
    pub fn of_forwards(&self) -> ForwardLimits {
        ForwardLimits {
            connections: self.forwards as usize,
            connecting: self.connecting as usize,
            listeners: self.listeners as usize,
        }
    }

    /// Those that the manager keeps.
    #[must_use]
    pub fn of_connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            unauthenticated: self.unauthenticated,
            unauthenticated_per_peer: self.unauthenticated_per_peer,
            per_peer: self.connections_per_peer,
            total: self.connections,
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is there, but cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be understood; the parser names line and column.
    #[error("{path} is not in order: {source}")]
    Parse {
        /// The file.
        path: String,
        /// What the parser said.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads the file, or takes the defaults when there is none.
    ///
    /// # Errors
    /// [`ConfigError`] when the file is there but not usable: a restriction that cannot be read
    /// must not be taken for none.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|source| ConfigError::Parse {
                path: shown,
                source: Box::new(source),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read {
                path: shown,
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_means_the_defaults() {
        let config = Config::load("/nonexistent/ssh.toml".as_ref()).expect("loads");
        assert_eq!(config, Config::default());
    }

    #[test]
    fn a_word_that_is_not_known_is_an_error_with_its_line() {
        let error = toml::from_str::<Config>("permit_root = false\nminimun_uid = 3\n");
        let text = error.expect_err("an unknown key").to_string();
        assert!(text.contains("line 2"), "{text}");
        assert!(text.contains("minimun_uid"), "{text}");
    }

    #[test]
    fn limits_can_be_set_one_by_one() {
        let config: Config = toml::from_str("[limits]\nchannels = 3\n").expect("parses");
        assert_eq!(
            config.limits,
            Limits {
                channels: 3,
                ..Limits::default()
            }
        );
    }
}
