//! `/etc/meshd/meshd.toml`: how root of this host has the manager started.

use std::fmt;
use std::path::{Path, PathBuf};

use meshd_contract::paths;
use serde::Deserialize;

use super::error::Error;
use super::options::WireGuardChoice;

/// The longest name of a network device, in bytes (IFNAMSIZ, netdevice(7), less the byte that ends
/// it).
const MAX_DEVICE_BYTES: usize = 15;
/// The smallest MTU that IPv6 permits (RFC 8200, section 5), and the greatest that a tunnel over
/// UDP can have.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=65455;

/// The settings; what the file does not name has its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which WireGuard to use.
    pub wireguard: WireGuardChoice,
    /// The name of the network device.
    pub device: DeviceName,
    /// The UDP port of WireGuard.
    pub wireguard_port: Port,
    /// The device's MTU.
    pub mtu: Mtu,
    /// The directory of keys and documents.
    pub state: PathBuf,
    /// The socket of the mesh command.
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wireguard: WireGuardChoice::Auto,
            device: DeviceName(paths::DEVICE.to_owned()),
            wireguard_port: Port(paths::WIREGUARD_PORT),
            mtu: Mtu(0),
            state: paths::MANAGER_STATE.into(),
            socket: paths::MANAGER_SOCKET.into(),
        }
    }
}

/// A name that a network device can have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DeviceName(String);

impl DeviceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let length = 1..=MAX_DEVICE_BYTES;
        if length.contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(name))
        } else {
            Err("a device's name is 1 to 15 letters, digits, hyphens and underscores")
        }
    }
}

impl std::str::FromStr for DeviceName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.to_owned().try_into()
    }
}

/// A UDP port; never 0, which would be another one at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Port(u16);

impl Port {
    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for Port {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(Self(port)),
            _ => Err("a port is a number from 1 to 65535"),
        }
    }
}

impl std::str::FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().unwrap_or(0).try_into()
    }
}

/// An MTU, in bytes; 0 for the one that the underlay leaves room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Mtu(u32);

impl Mtu {
    /// The MTU, where one is set.
    #[must_use]
    pub fn fixed(self) -> Option<u32> {
        (self.0 != 0).then_some(self.0)
    }
}

impl TryFrom<i64> for Mtu {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match u32::try_from(number) {
            Ok(mtu) if mtu == 0 || MTUS.contains(&mtu) => Ok(Self(mtu)),
            _ => Err(format!(
                "an MTU is a number from {} to {}, or 0 for the one that the other networks of \
                 this host leave room for",
                MTUS.start(),
                MTUS.end()
            )),
        }
    }
}

impl std::str::FromStr for Mtu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().unwrap_or(-1).try_into()
    }
}

impl Config {
    /// Reads the file; one that is not there means the defaults.
    ///
    /// # Errors
    /// [`Error::Config`] for a file that cannot be read or understood, with line and column.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let fault = |reason: String| Error::Config {
            path: path.to_owned(),
            reason,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| fault(Described(&text, &error).to_string()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(fault(error.to_string())),
        }
    }
}

/// What is wrong with a text, in one line.
struct Described<'a>(&'a str, &'a toml::de::Error);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, error) = self;
        if let Some(before) = error.span().and_then(|span| text.get(..span.start)) {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&error.message().replace('\n', ", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("meshd.toml");
        std::fs::write(&path, text).expect("writes");
        let shown = path.display().to_string();
        Config::load(&path).map_err(|error| error.to_string().replace(&shown, "FILE"))
    }

    #[test]
    fn no_file_means_the_defaults() {
        let config = Config::load("/nonexistent/meshd.toml".as_ref()).expect("loads");
        assert_eq!(config, Config::default());
        assert_eq!(read(""), Ok(Config::default()));
    }

    #[test]
    fn what_is_set_counts() {
        let config = read("wireguard = \"kernel\"\ndevice = \"lan1\"\nmtu = 1300\n");
        let config = config.expect("is in order");
        assert_eq!(config.wireguard, WireGuardChoice::Kernel);
        assert_eq!(config.device.as_str(), "lan1");
        assert_eq!(config.mtu.fixed(), Some(1300));
        assert_eq!(config.wireguard_port.number(), paths::WIREGUARD_PORT);
    }

    #[test]
    fn a_fault_has_its_place_in_one_line() {
        for (text, place, words) in [
            ("devise = 1\n", "line 1, column 1", "unknown field `devise`"),
            (
                "mtu = 0\nwireguard = \"both\"\n",
                "line 2, column 13",
                "`both`",
            ),
            (
                "\n\n  device = \"a b\"",
                "line 3, column 12",
                "a device's name",
            ),
            ("wireguard_port = 0", "line 1, column 18", "from 1 to 65535"),
            ("wireguard_port = 65536", "line 1, column 18", "65535"),
            ("mtu = 1279", "line 1, column 7", "from 1280 to 65455"),
            ("mtu = -1", "line 1, column 7", "an MTU"),
            ("state = 1", "line 1, column 9", "invalid type"),
            ("mtu = 0\nmtu = 0\n", "line 2, column 1", "duplicate key"),
            ("mtu =", "line 1, column", ""),
        ] {
            let said = read(text).expect_err(text);
            let head = format!("FILE is not in order: {place}");
            assert!(said.starts_with(&head), "{text}: {said}");
            assert!(said.contains(words), "{text}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
