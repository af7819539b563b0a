//! Why a connection ends by us, and what the client reads.

use std::io::ErrorKind;

use meshd_contract::broker::{ACCESS_REVOKED, Leaving};
use russh::Disconnect;

use super::worker::{LinkEnd, Unanswered};

/// Why a connection ends by us.
#[derive(Debug)]
pub(super) enum End {
    /// The login is not permitted; the client has this sentence.
    Denied(String),
    /// The client asked for a second login.
    OtherLogin,
    /// The client took too long to log in.
    LoginGrace,
    /// The worker did not answer.
    Unanswered(Unanswered),
    /// The client opened a session after it had said that it would open no more.
    NoMoreSessions,
    /// The client sent more than a channel can take.
    Flood,
    /// The link to the worker ended.
    Link(LinkEnd),
}

impl End {
    /// The reason's code (RFC 4253, section 11.1) and the sentence.
    pub(super) fn reason(&self) -> (Disconnect, String) {
        let ours = |text: &str| format!("meshd: {text}");
        match self {
            Self::Denied(message) => (Disconnect::NoMoreAuthMethodsAvailable, message.clone()),
            Self::OtherLogin => (
                Disconnect::ProtocolError,
                ours("one connection serves one login; open another for the other"),
            ),
            Self::NoMoreSessions => (
                Disconnect::ProtocolError,
                ours("no more sessions were to come on this connection"),
            ),
            Self::LoginGrace => (
                Disconnect::ByApplication,
                ours("the time to log in has passed"),
            ),
            Self::Flood => (
                Disconnect::ProtocolError,
                ours("too many requests at a time"),
            ),
            Self::Unanswered(reason) => (Disconnect::ByApplication, ours(&reason.to_string())),
            Self::Link(LinkEnd::Revoked) => (Disconnect::ByApplication, ACCESS_REVOKED.to_owned()),
            Self::Link(LinkEnd::Broken(_) | LinkEnd::Unexpected(_)) => (
                Disconnect::ByApplication,
                ours(&Unanswered::Gone.to_string()),
            ),
        }
    }

    /// What the worker's records are to say, where the worker cannot know it.
    pub(super) fn leaving(&self) -> Option<Leaving> {
        match self {
            Self::OtherLogin | Self::NoMoreSessions | Self::Flood => Some(Leaving::Violation),
            Self::LoginGrace => Some(Leaving::Late),
            Self::Denied(_) | Self::Unanswered(_) | Self::Link(_) => None,
        }
    }
}

/// How the client ended the connection.
pub(super) fn leaving(ended: &Result<(), russh::Error>) -> Leaving {
    match ended {
        Ok(()) | Err(russh::Error::Disconnect | russh::Error::HUP) => Leaving::Left,
        Err(russh::Error::KeepaliveTimeout) => Leaving::Silent,
        Err(russh::Error::IO(error)) if error.kind() == ErrorKind::UnexpectedEof => Leaving::Left,
        Err(russh::Error::IO(_)) => Leaving::Lost,
        Err(_) => Leaving::Violation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_user_reads_the_agreed_words() {
        assert_eq!(End::Link(LinkEnd::Revoked).reason().1, ACCESS_REVOKED);
    }

    #[test]
    fn every_other_reason_says_who_speaks() {
        for end in [
            End::OtherLogin,
            End::NoMoreSessions,
            End::LoginGrace,
            End::Flood,
            End::Unanswered(Unanswered::Late),
            End::Link(LinkEnd::Unexpected("a signature")),
        ] {
            let text = end.reason().1;
            assert!(text.starts_with("meshd: "), "{text}");
        }
    }
}
