//! Who a node is and whom it belongs to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A node's number: given once by control and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A node's name, unique in the mesh: a lower-case DNS label (RFC 1123, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// Why a text is no node name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no node name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or \
     digit at both ends, and not digits only"
)]
pub struct NodeNameError(String);

impl NodeName {
    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let legal = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.bytes().all(|b| b.is_ascii_digit());
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(NodeNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is a lower-case DNS domain without the final dot (RFC 1123, section 2.1), with room
/// for a node's name in front.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    text.len() <= 180 && text.split('.').all(is_label)
}

/// Whom a node belongs to: a user, or nobody when it carries tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The login (an e-mail address) of its user.
    User(String),
    /// Its tags, each with the prefix `tag:`, at least one, sorted.
    Tags(Vec<String>),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(login) => f.write_str(login),
            Self::Tags(tags) => f.write_str(&tags.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_labels() {
        for name in ["web1", "a", "db-2"] {
            assert!(name.parse::<NodeName>().is_ok(), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "Web",
            "a.b",
            "10",
            "a_b",
            "a\n",
            &"a".repeat(64),
        ] {
            assert!(name.parse::<NodeName>().is_err(), "{name}");
        }
    }

    #[test]
    fn domains_are_labels_and_dots() {
        for domain in ["mesh.internal", "1.example", "mesh"] {
            assert!(is_domain(domain), "{domain}");
        }
        for domain in [
            "",
            ".",
            "a..b",
            "a.",
            "-a",
            "a b",
            "a/b",
            "A.b",
            "a\n* b",
            "*.b",
            "a,b",
            &"a.".repeat(90),
        ] {
            assert!(!is_domain(domain), "{domain:?}");
        }
    }
}
