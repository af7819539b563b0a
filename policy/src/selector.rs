//! The words that name users, nodes and addresses in a rule.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use meshd_contract::address::AddressRange;

use crate::suggest;
use crate::topology::Role;

/// What a rule's `src` or `dst` says, before it is looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Selector {
    Any,
    DangerAll,
    User(String),
    Group(String),
    Tag(String),
    Member,
    Tagged,
    SelfDevices,
    Internet,
    Shared,
    Role(Role),
    /// `user:*@DOMAIN`
    Domain(String),
    Host(String),
    Ipset(String),
    Range(AddressRange),
}

/// Why a word is no selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectorError {
    pub(crate) message: String,
    pub(crate) help: String,
}

pub(crate) const AUTOGROUPS: [&str; 13] = [
    "autogroup:member",
    "autogroup:members",
    "autogroup:tagged",
    "autogroup:self",
    "autogroup:internet",
    "autogroup:danger-all",
    "autogroup:shared",
    "autogroup:owner",
    "autogroup:admin",
    "autogroup:network-admin",
    "autogroup:it-admin",
    "autogroup:billing-admin",
    "autogroup:auditor",
];

impl Selector {
    /// Reads a word; whether what it names exists is another question.
    pub(crate) fn parse(word: &str) -> Result<Self, SelectorError> {
        if word == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = word.strip_prefix("autogroup:") {
            return Self::autogroup(word, name);
        }
        if let Some(domain) = word.strip_prefix("user:*@") {
            return Ok(Self::Domain(domain.to_owned()));
        }
        if word.starts_with("group:") {
            return Ok(Self::Group(word.to_owned()));
        }
        if word.starts_with("tag:") {
            return Ok(Self::Tag(word.to_owned()));
        }
        if word.starts_with("ipset:") {
            return Ok(Self::Ipset(word.to_owned()));
        }
        if word.starts_with("svc:") {
            return Err(error(
                format!("{word:?}: meshd has no services"),
                "name the nodes that serve it, by tag",
            ));
        }
        if let Some(range) = address_range(word) {
            return Ok(Self::Range(range));
        }
        if word.contains('@') {
            return Ok(Self::User(word.to_owned()));
        }
        if word.is_empty() || word.contains(char::is_whitespace) || word.contains('*') {
            return Err(error(
                format!("{word:?} names nothing"),
                "write a user (alice@example.com), group:NAME, tag:NAME, autogroup:NAME, a host, \
                 an address, a CIDR prefix or *",
            ));
        }
        Ok(Self::Host(word.to_owned()))
    }

    fn autogroup(word: &str, name: &str) -> Result<Self, SelectorError> {
        match name {
            "member" | "members" => return Ok(Self::Member),
            "tagged" => return Ok(Self::Tagged),
            "self" => return Ok(Self::SelfDevices),
            "internet" => return Ok(Self::Internet),
            "danger-all" => return Ok(Self::DangerAll),
            "shared" => return Ok(Self::Shared),
            _ => {}
        }
        Role::NAMED
            .into_iter()
            .find(|role| role.autogroup() == Some(name))
            .map(Self::Role)
            .ok_or_else(|| {
                error(
                    format!("autogroup not found: {word:?}"),
                    &suggest::did_you_mean(word, AUTOGROUPS),
                )
            })
    }

    /// Whether it names nodes, rather than addresses.
    pub(crate) fn is_of_nodes(&self) -> bool {
        match self {
            Self::User(_)
            | Self::Group(_)
            | Self::Tag(_)
            | Self::Member
            | Self::Tagged
            | Self::SelfDevices
            | Self::Shared
            | Self::Role(_)
            | Self::Domain(_) => true,
            Self::Any
            | Self::DangerAll
            | Self::Internet
            | Self::Host(_)
            | Self::Ipset(_)
            | Self::Range(_) => false,
        }
    }

    /// Whether it names nodes by their user.
    pub(crate) fn is_of_users(&self) -> bool {
        matches!(
            self,
            Self::User(_) | Self::Group(_) | Self::Member | Self::Role(_) | Self::Domain(_)
        )
    }
}

/// An address or a prefix; host bits of a prefix count for nothing.
pub(crate) fn address_range(word: &str) -> Option<AddressRange> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    word.parse::<IpNet>().ok().map(AddressRange::from)
}

fn error(message: String, help: &str) -> SelectorError {
    SelectorError {
        message,
        help: help.to_owned(),
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::DangerAll => f.write_str("autogroup:danger-all"),
            Self::User(word)
            | Self::Group(word)
            | Self::Tag(word)
            | Self::Host(word)
            | Self::Ipset(word) => f.write_str(word),
            Self::Member => f.write_str("autogroup:member"),
            Self::Tagged => f.write_str("autogroup:tagged"),
            Self::SelfDevices => f.write_str("autogroup:self"),
            Self::Internet => f.write_str("autogroup:internet"),
            Self::Shared => f.write_str("autogroup:shared"),
            Self::Role(role) => write!(f, "autogroup:{}", role.autogroup().unwrap_or("member")),
            Self::Domain(domain) => write!(f, "user:*@{domain}"),
            Self::Range(range) => range.fmt(f),
        }
    }
}
