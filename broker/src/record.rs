//! What is worth remembering of a connection, as records of the journal with fields, or as lines
//! on standard error where no journal listens. A command is never part of it.

use std::os::unix::net::UnixDatagram;

use meshd_contract::time::Timestamp;

use crate::log;

/// Where the journal listens (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The facility `authpriv` (syslog(3)).
const FACILITY: &str = "10";

/// What happened; each kind has an entry in the message catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A peer has connected.
    Started,
    /// Its login waits for a check.
    Held,
    /// It may become the account that it asked for.
    Accepted,
    /// It may not.
    Denied,
    /// A program was started on a channel.
    ChannelOpened,
    /// It has ended.
    ChannelEnded,
    /// The right to be here has ended.
    Revoked,
    /// The connection is over.
    Ended,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Started,
        Self::Held,
        Self::Accepted,
        Self::Denied,
        Self::ChannelOpened,
        Self::ChannelEnded,
        Self::Revoked,
        Self::Ended,
    ];

    /// The number by which the catalogue explains it.
    #[must_use]
    pub fn message_id(self) -> &'static str {
        match self {
            Self::Started => "40339558d2fc4a8f91979c7ac20f35e4",
            Self::Held => "8c1c4e7a5d0f4b6f9a3e2b7f6d1a9c54",
            Self::Accepted => "14d1c42f37964352a5f60e743d753678",
            Self::Denied => "bf4059aceefc4ac59a071dd31301cd37",
            Self::ChannelOpened => "593335a61c474803b823141a2df39a13",
            Self::ChannelEnded => "607ade65e7a74e12883fdecd141c612c",
            Self::Revoked => "64aaac695663497a988c5842c87e4138",
            Self::Ended => "baf16f2714b943ab848c4e313f980d20",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Held => "waits for a check",
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::ChannelOpened => "channel opened",
            Self::ChannelEnded => "channel ended",
            Self::Revoked => "access revoked",
            Self::Ended => "ended",
        }
    }

    /// Notice for what an administrator looks for, else information (syslog(3)).
    fn priority(self) -> &'static str {
        match self {
            Self::Denied | Self::Revoked => "5",
            Self::Started
            | Self::Held
            | Self::Accepted
            | Self::ChannelOpened
            | Self::ChannelEnded
            | Self::Ended => "6",
        }
    }
}

/// One fact of a record: its name in small letters, and its value.
pub type Fact = (&'static str, String);

/// The records of one connection.
#[derive(Debug, Clone)]
pub struct Records {
    connection: String,
    facts: Vec<Fact>,
}

impl Records {
    /// Records that all name the connection and tell these facts.
    #[must_use]
    pub fn new(connection: &str, facts: Vec<Fact>) -> Self {
        Self {
            connection: connection.to_owned(),
            facts,
        }
    }

    /// The connection's name.
    #[must_use]
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// One more fact for every record that follows.
    pub fn know(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// Writes a record with some facts of its own.
    pub fn write(&self, event: Event, facts: &[Fact]) {
        let facts: Vec<&Fact> = self.facts.iter().chain(facts).collect();
        let text = self.text(event, &facts);
        if !to_journal(&self.entry(event, &facts, &text)) {
            log::line(&text);
        }
    }

    /// A line without a number of its own.
    pub fn note(&self, text: &str) {
        log::connection(&self.connection, text);
    }

    fn text(&self, event: Event, facts: &[&Fact]) -> String {
        let verb = event.verb();
        let mut text = format!("connection={} {verb}", self.connection);
        for (name, value) in facts {
            text.push_str(&format!(" {name}={}", quoted(value)));
        }
        text
    }

    fn entry(&self, event: Event, facts: &[&Fact], text: &str) -> Vec<u8> {
        let mut entry = Vec::new();
        let mut field = |name: &str, value: &str| {
            let clean: String = value.chars().map(visible).collect();
            entry.extend_from_slice(format!("{name}={clean}\n").as_bytes());
        };
        field("MESSAGE", text);
        field("MESSAGE_ID", event.message_id());
        field("PRIORITY", event.priority());
        field("SYSLOG_FACILITY", FACILITY);
        field("SYSLOG_IDENTIFIER", "meshd-ssh");
        field("MESHD_CONNECTION", &self.connection);
        for (name, value) in facts {
            field(&format!("MESHD_{}", name.to_ascii_uppercase()), value);
        }
        entry
    }
}

/// Since when, until now, in seconds.
#[must_use]
pub fn seconds(since: Timestamp, now: Timestamp) -> String {
    now.0.saturating_sub(since.0).to_string()
}

fn visible(c: char) -> char {
    if c.is_control() { '?' } else { c }
}

/// In quotes where blanks or quotes would make the line ambiguous.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Never waits: a journal that does not take the entry gets none, and the line goes elsewhere.
fn to_journal(entry: &[u8]) -> bool {
    let Ok(socket) = UnixDatagram::unbound() else {
        return false;
    };
    socket.set_nonblocking(true).is_ok() && socket.send_to(entry, JOURNAL).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Records {
        Records::new("c1", vec![("peer", "laptop".to_owned())])
    }

    #[test]
    fn a_line_and_an_entry_tell_the_same() {
        let reason = ("reason", "not \"permitted\"\nMESHD_LOGIN=root".to_owned());
        let facts = [&reason];
        let text = records().text(Event::Denied, &facts);
        assert!(
            text.starts_with("connection=c1 denied reason=\"not"),
            "{text}"
        );
        let entry = records().entry(Event::Denied, &facts, &text);
        let entry = String::from_utf8(entry).expect("text");
        let fields: Vec<&str> = entry.lines().collect();
        assert!(fields.contains(&"MESHD_REASON=not \"permitted\"?MESHD_LOGIN=root"));
        assert!(!fields.contains(&"MESHD_LOGIN=root"), "a forged field");
        assert!(fields.contains(&"MESHD_CONNECTION=c1"));
        assert!(fields.contains(&"PRIORITY=5"));
    }

    #[test]
    fn every_event_is_in_the_catalogue_once() {
        let catalogue = include_str!("../../packaging/journal/meshd.catalog");
        for event in Event::ALL {
            let head = format!("-- {}", event.message_id());
            let count = catalogue.lines().filter(|line| *line == head).count();
            assert_eq!(count, 1, "{event:?}");
        }
    }
}
