//! What root pins at join: the one control key that is believed, and which node this is.

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::key::PublicKey;

/// The content of [`crate::paths::TRUST`], written by `mesh up` as root, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Documents count only with a signature of this key.
    pub control_key: PublicKey,
    /// Documents count only when they were made for this node.
    pub node: NodeId,
}
