//! Checks: a rule that wants a recent sign-in, and control's word that there was one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::{Document, Header};
use crate::identity::{NodeId, Owner};
use crate::key::WireGuardKey;
use crate::login::Login;
use crate::peer_document::Peer;
use crate::ssh_rule::{Account, CheckPeriod, SshRule};
use crate::time::Timestamp;

/// How long one sign-in lasts where a rule does not say, in seconds.
pub const DEFAULT_CHECK_SECONDS: u64 = 12 * 3600;

/// How long a login waits for its check, in seconds.
pub const HOLD_SECONDS: u64 = 30 * 60;

/// How long it may take until the person can be told where to sign in, in seconds.
pub const FIRST_WORD_SECONDS: u64 = 40;

/// How far control's clock may be ahead of the node's, in seconds.
const MAX_SKEW: u64 = 300;

/// The accounts that one check opens: to have been checked as one kind is nothing for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginClass {
    /// Accounts whose user id is 0.
    Root,
    /// Every other account.
    Nonroot,
}

impl LoginClass {
    /// The class of an account.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        match account.uid {
            0 => Self::Root,
            _ => Self::Nonroot,
        }
    }
}

impl fmt::Display for LoginClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Nonroot => "nonroot",
        })
    }
}

/// What a login lacks: the owner of the peer is to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckNeed {
    /// The peer that calls.
    pub source: NodeId,
    /// The account that it asks for.
    pub login: Login,
    /// Which accounts the check is to open.
    pub class: LoginClass,
    /// The rule that asks (where it is in the policy).
    pub rule: String,
    /// How recent the sign-in must be, by that rule.
    pub period: CheckPeriod,
    /// Names the connection that waits.
    pub connection: String,
}

/// Control's word to one node that the owner of a peer has signed in.
///
/// A field that is not known makes it unusable: it may restrict what an older program would
/// permit without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckGrant {
    /// For which node (the destination), and until when a login may begin with it. Its version is
    /// the number of the approval, which later ones exceed.
    pub header: Header,
    /// The peer that may call.
    pub source: NodeId,
    /// Its key when control made this.
    pub wireguard_key: WireGuardKey,
    /// The person who owns the peer and has signed in.
    pub owner: String,
    /// Which accounts this opens.
    pub class: LoginClass,
    /// The rule that asked (where it is in the policy).
    pub rule: String,
    /// When the person approved.
    pub approved_at: Timestamp,
    /// The one connection that this is for; none for any until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

impl Document for CheckGrant {
    const KIND: &'static str = "check-grant";

    fn header(&self) -> &Header {
        &self.header
    }
}

impl CheckGrant {
    /// Whether this speaks of the peer as it is now, and of such accounts, and was not taken back.
    #[must_use]
    pub fn concerns(&self, peer: &Peer, account: &Account) -> bool {
        self.source == peer.node
            && self.wireguard_key == peer.wireguard_key
            && peer.owner == Owner::User(self.owner.clone())
            && self.class == LoginClass::of(account)
            && self.header.version > peer.checks_after
    }

    /// Whether it is recent enough for a login of this connection by this rule.
    #[must_use]
    pub fn is_recent(
        &self,
        rule: &SshRule,
        period: CheckPeriod,
        connection: &str,
        now: Timestamp,
    ) -> bool {
        let seconds = match period {
            CheckPeriod::Default => DEFAULT_CHECK_SECONDS,
            CheckPeriod::Seconds(seconds) => seconds,
            CheckPeriod::Always => HOLD_SECONDS,
        };
        let for_this = match &self.connection {
            Some(only) => only == connection,
            None => period != CheckPeriod::Always,
        };
        for_this
            && self.rule == rule.origin
            && now < self.header.expires_at
            && now < self.approved_at.plus(seconds)
            && self.approved_at <= now.plus(MAX_SKEW)
    }
}

/// What the person is to do: open a page, and choose a number there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The page at control.
    pub url: String,
    /// The number that the page asks for, so that a link alone approves nothing.
    pub number: u16,
}

impl Prompt {
    /// Whether it can be shown on a terminal as it is: an HTTPS address of printable ASCII.
    #[must_use]
    pub fn is_printable(&self) -> bool {
        self.url.starts_with("https://")
            && self.url.len() <= 512
            && self.url.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

/// Why a check has not been passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckRefusal {
    /// The person has refused.
    Refused,
    /// Another person than the peer's owner has answered.
    WrongPerson,
    /// Another number was chosen than the one that the terminal showed.
    WrongNumber,
    /// Nobody has answered in time.
    Expired,
    /// The peer belongs to nobody who could sign in.
    NoOwner,
    /// Control does not answer.
    Unreachable,
    /// Policy does not ask for a check here, or not any more.
    NotAsked,
    /// What a newer control or manager says.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for CheckRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the additional check was refused",
            Self::WrongPerson => {
                "the additional check was answered by another person than the owner of the host \
                 that you come from"
            }
            Self::WrongNumber => "the additional check failed: another number was chosen",
            Self::Expired => "nobody passed the additional check in time",
            Self::NoOwner => {
                "policy asks for an additional check, and the host that you come from belongs to \
                 nobody who could pass it"
            }
            Self::Unreachable => {
                "policy asks for an additional check, and control cannot be reached; try again \
                 later"
            }
            Self::NotAsked => "the policy has changed; try again",
            Self::Unknown => "the additional check was not passed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Version;
    use crate::peer_document::tests::document;
    use crate::ssh_rule::{Action, Logins, Rights};

    fn grant() -> CheckGrant {
        CheckGrant {
            header: Header {
                node: NodeId(1),
                version: Version(1),
                issued_at: Timestamp(1000),
                expires_at: Timestamp(2000),
            },
            source: NodeId(2),
            wireguard_key: WireGuardKey([2; 32]),
            owner: "alice@example.com".to_owned(),
            class: LoginClass::Nonroot,
            rule: "ssh[0]".to_owned(),
            approved_at: Timestamp(1000),
            connection: None,
        }
    }

    fn account(uid: u32) -> Account {
        Account {
            login: "alice".parse().expect("a login"),
            uid,
        }
    }

    fn rule(period: CheckPeriod) -> SshRule {
        SshRule {
            origin: "ssh[0]".to_owned(),
            action: Action::Check(period),
            principals: [NodeId(2)].into(),
            logins: Logins::default(),
            accept_env: Vec::new(),
            rights: Rights::default(),
        }
    }

    fn is_recent(grant: &CheckGrant, period: CheckPeriod, connection: &str, now: u64) -> bool {
        grant.is_recent(&rule(period), period, connection, Timestamp(now))
    }

    #[test]
    fn a_grant_concerns_one_peer_with_one_key_and_owner_and_one_kind_of_account() {
        let peer = document().peers.remove(0);
        assert!(grant().concerns(&peer, &account(1000)));
        assert!(!grant().concerns(&peer, &account(0)));
        let mut other = peer.clone();
        other.node = NodeId(3);
        assert!(!grant().concerns(&other, &account(1000)));
        let mut other = peer.clone();
        other.wireguard_key = WireGuardKey([3; 32]);
        assert!(!grant().concerns(&other, &account(1000)));
        let mut other = peer.clone();
        other.owner = Owner::User("bob@example.com".to_owned());
        assert!(!grant().concerns(&other, &account(1000)));
        let mut other = peer;
        other.owner = Owner::Tags(vec!["tag:a".to_owned()]);
        assert!(!grant().concerns(&other, &account(1000)));
    }

    #[test]
    fn a_grant_by_an_approval_that_was_taken_back_concerns_nobody() {
        let mut peer = document().peers.remove(0);
        let mut grant = grant();
        for (approval, taken_back, counts) in [(7, 6, true), (7, 7, false), (7, 8, false)] {
            grant.header.version = Version(approval);
            peer.checks_after = Version(taken_back);
            assert_eq!(
                grant.concerns(&peer, &account(1000)),
                counts,
                "{taken_back}"
            );
        }
    }

    #[test]
    fn a_grant_lasts_as_long_as_the_rule_says_and_it_does() {
        let period = CheckPeriod::Seconds(600);
        assert!(is_recent(&grant(), period, "a", 1599));
        assert!(!is_recent(&grant(), period, "a", 1600));
        assert!(is_recent(&grant(), CheckPeriod::Default, "a", 1999));
        assert!(!is_recent(&grant(), CheckPeriod::Default, "a", 2000));
        assert!(is_recent(&grant(), period, "a", 1000 - MAX_SKEW));
        assert!(!is_recent(&grant(), period, "a", 999 - MAX_SKEW));
    }

    #[test]
    fn a_grant_of_another_rule_does_not_do() {
        let mut other = grant();
        other.rule = "ssh[1]".to_owned();
        assert!(!is_recent(&other, CheckPeriod::Default, "a", 1001));
    }

    #[test]
    fn always_means_this_connection() {
        let mut only = grant();
        only.connection = Some("a".to_owned());
        assert!(is_recent(&only, CheckPeriod::Always, "a", 1001));
        assert!(!is_recent(&only, CheckPeriod::Always, "b", 1001));
        assert!(!is_recent(&grant(), CheckPeriod::Always, "a", 1001));
        assert!(!is_recent(&only, CheckPeriod::Default, "b", 1001));
    }

    #[test]
    fn what_would_change_a_terminal_is_not_shown() {
        let is_printable = |url: &str| {
            let url = url.to_owned();
            Prompt { url, number: 42 }.is_printable()
        };
        assert!(is_printable("https://control.example.com:8443/check/x"));
        for url in [
            "http://a/",
            "https://a/\u{1b}[2J",
            "https://a/ b",
            "https://a/\n",
        ] {
            assert!(!is_printable(url), "{url:?}");
        }
        assert!(!is_printable(&format!("https://{}", "a".repeat(512))));
    }

    #[test]
    fn a_refusal_that_is_not_known_is_one() {
        let read: CheckRefusal = serde_json::from_str("\"new_one\"").expect("reads");
        assert_eq!(read, CheckRefusal::Unknown);
    }
}
