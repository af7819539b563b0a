//! Forwards: where a socket is to lead or to listen, and what a rule permits of it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ssh_rule::{Forwarding, Rights};

/// The longest host name (RFC 1035, section 2.3.4), in bytes.
pub const MAX_HOST_BYTES: usize = 255;

/// The longest path of a Unix socket, in bytes (unix(7): 108 with the zero byte).
pub const MAX_PATH_BYTES: usize = 107;

/// Where a forward leads, or listens, on the host that serves SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// A name or an address, as the client sent it.
        host: String,
        /// The port; 0 only to listen, for any that is free.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: Vec<u8>,
    },
}

/// From where an accepted connection comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The address; empty for a Unix socket.
    pub address: String,
    /// The port; 0 for a Unix socket.
    pub port: u16,
}

/// Why there is no forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardFailure {
    /// It is not permitted; one sentence.
    Prohibited(String),
    /// It was tried and did not succeed; the system's words.
    Failed(String),
    /// The connection has as many as it may have; one sentence.
    Shortage(String),
}

impl Endpoint {
    /// Whether its texts have a length that such texts can have, and no zero byte.
    #[must_use]
    pub fn is_in_bounds(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => host.len() <= MAX_HOST_BYTES && !host.contains('\0'),
            Self::Unix { path } => (1..=MAX_PATH_BYTES).contains(&path.len()) && !path.contains(&0),
        }
    }
}

/// As ssh(1) writes it, for people: control characters are replaced.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => {
                write!(f, "[{}]:{port}", printable(host))
            }
            Self::Tcp { host, port } => write!(f, "{}:{port}", printable(host)),
            Self::Unix { path } => f.write_str(&printable(&String::from_utf8_lossy(path))),
        }
    }
}

/// A text without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    let replace = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(replace).collect()
}

impl Origin {
    /// Whether its text has a length that an address can have.
    #[must_use]
    pub fn is_in_bounds(&self) -> bool {
        self.address.len() <= MAX_HOST_BYTES && !self.address.contains('\0')
    }
}

impl Forwarding {
    /// Whether a client may have sockets connected on the host.
    #[must_use]
    pub fn includes_local(self) -> bool {
        matches!(self, Self::All | Self::Local)
    }

    /// Whether a client may have the host listen.
    #[must_use]
    pub fn includes_remote(self) -> bool {
        matches!(self, Self::All | Self::Remote)
    }

    /// Whether a client may offer its agent.
    #[must_use]
    pub fn includes_agent(self) -> bool {
        matches!(self, Self::All | Self::Agent)
    }
}

impl Rights {
    /// Whether a client may have a socket connected to `target`. A list of what may be reached
    /// names no Unix socket.
    #[must_use]
    pub fn permit_connecting(&self, target: &Endpoint) -> bool {
        self.forwarding.includes_local() && is_listed(&self.permit_open, target)
    }

    /// Whether a client may have the host listen `at` an endpoint. A list of where it may names no
    /// Unix socket.
    #[must_use]
    pub fn permit_listening(&self, at: &Endpoint) -> bool {
        self.forwarding.includes_remote() && is_listed(&self.permit_listen, at)
    }
}

fn is_listed(list: &[String], endpoint: &Endpoint) -> bool {
    if list.is_empty() {
        return true;
    }
    match endpoint {
        Endpoint::Tcp { host, port } => list.iter().any(|entry| names(entry, host, *port)),
        Endpoint::Unix { .. } => false,
    }
}

/// Whether an entry `HOST:PORT` of a rule names this host and port. Nothing is looked up: a name
/// and its address are different hosts here, as in sshd's PermitOpen.
fn names(entry: &str, host: &str, port: u16) -> bool {
    let Some((pattern, ports)) = entry.rsplit_once(':') else {
        return false;
    };
    if ports != "*" && ports.parse() != Ok(port) {
        return false;
    }
    let bare = pattern.strip_prefix('[').and_then(|p| p.strip_suffix(']'));
    let pattern = bare.unwrap_or(pattern);
    match (pattern.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        (Ok(named), Ok(asked)) => named == asked,
        _ => matches(pattern.as_bytes(), host.as_bytes()),
    }
}

/// Whether `pattern`, in which `*` stands for any text, fits; upper and lower case are alike.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star is, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(expected), _) if expected.eq_ignore_ascii_case(byte) => {
                p += 1;
                t += 1;
            }
            (_, Some((at, taken))) => {
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    fn unix(path: &str) -> Endpoint {
        Endpoint::Unix { path: path.into() }
    }

    fn rights(forwarding: Forwarding, open: &[&str]) -> Rights {
        Rights {
            forwarding,
            permit_open: open.iter().map(|entry| (*entry).to_owned()).collect(),
            ..Rights::default()
        }
    }

    #[test]
    fn each_word_permits_its_kind_alone() {
        let kinds = |forwarding: Forwarding| {
            [
                forwarding.includes_local(),
                forwarding.includes_remote(),
                forwarding.includes_agent(),
            ]
        };
        assert_eq!(kinds(Forwarding::All), [true, true, true]);
        assert_eq!(kinds(Forwarding::None), [false, false, false]);
        assert_eq!(kinds(Forwarding::Local), [true, false, false]);
        assert_eq!(kinds(Forwarding::Remote), [false, true, false]);
        assert_eq!(kinds(Forwarding::Agent), [false, false, true]);
    }

    #[test]
    fn a_list_permits_what_it_names() {
        let listed = rights(
            Forwarding::All,
            &["db1:5432", "[fd00::1]:*", "*.lan:80", "127.0.0.1:22"],
        );
        for (host, port) in [
            ("db1", 5432),
            ("DB1", 5432),
            ("fd00:0::1", 9),
            ("a.b.lan", 80),
            ("127.0.0.1", 22),
        ] {
            assert!(listed.permit_connecting(&tcp(host, port)), "{host}:{port}");
        }
        for (host, port) in [
            ("db1", 5433),
            ("db10", 5432),
            ("xdb1", 5432),
            ("db1.", 5432),
            ("fd00::2", 9),
            ("lan", 80),
            ("a.lan.x", 80),
            ("localhost", 22),
            ("", 5432),
        ] {
            assert!(!listed.permit_connecting(&tcp(host, port)), "{host}:{port}");
        }
        assert!(!listed.permit_connecting(&unix("/run/db1:5432")));
    }

    #[test]
    fn no_list_permits_every_endpoint_of_its_kind() {
        let any = rights(Forwarding::Local, &[]);
        assert!(any.permit_connecting(&tcp("db1", 1)));
        assert!(any.permit_connecting(&unix("/run/x")));
        assert!(!any.permit_listening(&tcp("db1", 1)));
    }

    #[test]
    fn an_endpoint_is_shown_in_one_line() {
        assert_eq!(tcp("db1", 5432).to_string(), "db1:5432");
        assert_eq!(tcp("fd00::1", 22).to_string(), "[fd00::1]:22");
        assert_eq!(tcp("a\nb", 1).to_string(), "a?b:1");
        assert_eq!(unix("/run/a b\u{1b}").to_string(), "/run/a b?");
    }

    #[test]
    fn bounds_are_those_of_names_and_paths() {
        assert!(tcp(&"x".repeat(MAX_HOST_BYTES), 1).is_in_bounds());
        assert!(!tcp(&"x".repeat(MAX_HOST_BYTES + 1), 1).is_in_bounds());
        assert!(!tcp("a\0b", 1).is_in_bounds());
        assert!(unix(&"x".repeat(MAX_PATH_BYTES)).is_in_bounds());
        assert!(!unix(&"x".repeat(MAX_PATH_BYTES + 1)).is_in_bounds());
        assert!(!unix("").is_in_bounds());
        assert!(!unix("a\0b").is_in_bounds());
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_without_stars_names_itself_alone(pattern in "[a-z.]{0,6}", text in "[a-z.]{0,6}") {
            proptest::prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), pattern == text);
        }

        #[test]
        fn a_star_stands_for_any_text(a in "[a-b]{0,3}", b in "[a-b]{0,3}", any in "[a-b]{0,5}") {
            let text = format!("{a}{any}{b}");
            let pattern = format!("{a}*{b}");
            proptest::prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
