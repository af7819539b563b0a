//! What every signed document carries.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::time::Timestamp;

/// A number that only grows; counted per node and kind of document.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// For whom a document is, which one it is, and how long it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The node that it was made for.
    pub node: NodeId,
    /// Greater than that of every earlier document of this kind for this node.
    pub version: Version,
    /// When control made it.
    pub issued_at: Timestamp,
    /// From this second on it counts no more.
    pub expires_at: Timestamp,
}

/// A document that control signs for one node.
pub trait Document: Serialize + DeserializeOwned {
    /// Stands in the signed text, so that no document passes for one of another kind.
    const KIND: &'static str;

    /// The part that every document has.
    fn header(&self) -> &Header;
}
