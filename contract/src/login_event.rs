//! What becomes of a login, as it is told on its way from the worker over the manager to control.
//!
//! Nothing rests on it: the journal of the host where it happened has the record that counts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::time::Timestamp;

/// The longest text in an event, in bytes; a longer one is cut.
pub const MAX_TEXT_BYTES: usize = 256;

/// One thing that has happened to a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginEvent {
    /// What.
    pub kind: LoginEventKind,
    /// When, by the clock of the host where it happened.
    pub at: Timestamp,
    /// Names the connection in that host's journal.
    pub connection: String,
    /// The peer's number; 0 for one that no SSH rule names.
    pub peer: NodeId,
    /// From where it came.
    pub address: IpAddr,
    /// The account; control characters of what a client has asked for are replaced.
    pub login: Option<String>,
    /// The rule that permits it (where it is in the policy).
    pub rule: Option<String>,
    /// Why, where there is a reason to tell.
    pub reason: Option<String>,
}

/// The kinds of [`LoginEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginEventKind {
    /// The peer may become the account.
    Accepted,
    /// It may not.
    Denied,
    /// The right to be here has ended.
    Revoked,
    /// The connection of an accepted login is over.
    Ended,
    /// What a newer release tells.
    #[serde(other)]
    Unknown,
}

impl LoginEvent {
    /// The same with texts that are short and hold no control characters.
    #[must_use]
    pub fn tidied(self) -> Self {
        Self {
            connection: tidy(&self.connection),
            login: self.login.as_deref().map(tidy),
            rule: self.rule.as_deref().map(tidy),
            reason: self.reason.as_deref().map(tidy),
            ..self
        }
    }
}

fn tidy(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '?' } else { c };
    let mut tidied: String = text.chars().map(visible).collect();
    let end = tidied.floor_char_boundary(MAX_TEXT_BYTES);
    tidied.truncate(end);
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_plain() {
        let event = LoginEvent {
            kind: LoginEventKind::Denied,
            at: Timestamp(1),
            connection: "c1".to_owned(),
            peer: NodeId(2),
            address: [100, 64, 0, 2].into(),
            login: Some("a\n\u{1b}[2Jb".to_owned()),
            rule: None,
            reason: Some("ä".repeat(MAX_TEXT_BYTES)),
        };
        let tidied = event.tidied();
        assert_eq!(tidied.login.as_deref(), Some("a??[2Jb"));
        let reason = tidied.reason.clone().expect("is there");
        assert_eq!(reason, "ä".repeat(MAX_TEXT_BYTES / 2));
        assert_eq!(tidied.clone().tidied(), tidied);
    }

    #[test]
    fn an_unknown_kind_is_no_error() {
        let kind: LoginEventKind = serde_json::from_str("\"suspended\"").expect("reads");
        assert_eq!(kind, LoginEventKind::Unknown);
    }
}
