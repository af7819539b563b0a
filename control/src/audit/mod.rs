//! The log of who changed what, who signed in, and what nodes have told of logins.
//!
//! Whatever the store changes, it notes in the same transaction ([`Store::note`]); what is no
//! change of the store is noted by itself ([`Store::note_alone`]).
//!
//! [`Store::note`]: crate::store::Store::note
//! [`Store::note_alone`]: crate::store::Store::note_alone

pub(crate) mod action;
mod moment;

use std::fmt;

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use moment::{Moment, written};

/// Who has done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Control by itself, such as by the clock.
    Control,
    /// This Unix user, over the admin socket.
    Unix(u32),
    /// A user of the mesh who has signed in.
    User(String),
    /// Whoever holds the API key of this number.
    ApiKey(u64),
    /// A node, by a request that it has signed.
    Node(NodeId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Unix(id) => write!(f, "unix:{id}"),
            Self::User(login) => write!(f, "user:{login}"),
            Self::ApiKey(id) => write!(f, "api-key:{id}"),
            Self::Node(id) => write!(f, "node:{id}"),
        }
    }
}

/// An entry to be noted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// When, by control's clock.
    pub(crate) at: Timestamp,
    /// Who.
    pub(crate) actor: Actor,
    /// What: one of [`action`].
    pub(crate) action: &'static str,
    /// To whom or what: a login, a node's name, a number.
    pub(crate) target: String,
    /// A node says so, and control has not seen it.
    pub(crate) reported: bool,
    /// More about it, by name; never a secret.
    pub(crate) details: Map<String, Value>,
}

impl Entry {
    /// An entry without details, of what control has seen itself.
    pub(crate) fn new(
        at: Timestamp,
        actor: &Actor,
        action: &'static str,
        target: impl fmt::Display,
    ) -> Self {
        Self {
            at,
            actor: actor.clone(),
            action,
            target: target.to_string(),
            reported: false,
            details: Map::new(),
        }
    }

    /// With one more detail.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// As a node has told it.
    pub(crate) fn reported(mut self) -> Self {
        self.reported = true;
        self
    }
}

/// An entry as it is stored; one line of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AuditRow {
    /// Grows with each entry.
    pub(crate) id: u64,
    /// When, by control's clock, in seconds since 1970.
    pub(crate) at: Timestamp,
    /// `control`, `unix:ID`, `user:LOGIN`, `api-key:ID` or `node:ID`.
    pub(crate) actor: String,
    /// A dotted name such as `policy.set`.
    pub(crate) action: String,
    /// To whom or what: a login, a node's name, a number.
    pub(crate) target: String,
    /// A node says so, and control has not seen it.
    pub(crate) reported: bool,
    /// More about it, by name.
    pub(crate) details: Map<String, Value>,
}

/// Which entries to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditQuery {
    /// Those with a greater number.
    pub(crate) after: Option<u64>,
    /// Those with a smaller number.
    pub(crate) before: Option<u64>,
    /// Those from this second on.
    pub(crate) since: Option<Timestamp>,
    /// Those before this second.
    pub(crate) until: Option<Timestamp>,
    /// Those of this action, or whose action begins with it and a dot.
    pub(crate) action: Option<String>,
    /// The newest first, not the oldest.
    pub(crate) newest_first: bool,
    /// At most so many; never more than [`MAX_PAGE`].
    pub(crate) limit: u32,
}

/// The most entries that are read at a time.
pub(crate) const MAX_PAGE: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_told_apart() {
        let actors = [
            (Actor::Control, "control"),
            (Actor::Unix(0), "unix:0"),
            (Actor::User("a@b".to_owned()), "user:a@b"),
            (Actor::ApiKey(3), "api-key:3"),
            (Actor::Node(NodeId(7)), "node:7"),
        ];
        for (actor, text) in actors {
            assert_eq!(actor.to_string(), text);
        }
    }
}
