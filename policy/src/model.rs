//! A policy as read: every word checked, nothing looked up in a mesh yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use meshd_contract::address::AddressRange;
use meshd_contract::filter::PortRange;
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Action, Rights};

use crate::selector::Selector;

/// The whole file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Document {
    /// `group:NAME` to the logins of its users.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// `tag:NAME` to who may give it.
    pub(crate) tag_owners: BTreeMap<String, Vec<Selector>>,
    pub(crate) hosts: BTreeMap<String, AddressRange>,
    /// `ipset:NAME` to its addresses, everything in it looked up.
    pub(crate) ipsets: BTreeMap<String, Vec<AddressRange>>,
    /// Grants, then acls, which is the order in which they compile.
    pub(crate) network: Vec<NetworkRule>,
    pub(crate) ssh: Vec<SshSection>,
    pub(crate) tests: Vec<NetworkTest>,
    pub(crate) ssh_tests: Vec<SshTest>,
    pub(crate) approvers: Approvers,
    pub(crate) domain_uses: Vec<DomainUse>,
    pub(crate) user_uses: Vec<UserUse>,
    /// What has no effect, as problems yet without a position.
    pub(crate) remarks: Vec<Remark>,
}

/// A section and an index in it, such as `ssh[2]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    pub(crate) section: &'static str,
    /// None for the rule that an absent section stands for.
    pub(crate) index: Option<usize>,
    /// The byte at which it starts.
    pub(crate) at: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}[{index}]", self.section),
            None => f.write_str(self.section),
        }
    }
}

/// One entry of `grants` or `acls`.
#[derive(Debug, Clone)]
pub(crate) struct NetworkRule {
    pub(crate) origin: Origin,
    pub(crate) sources: Vec<Selector>,
    pub(crate) permits: Vec<Permit>,
    /// Destinations of `app`, which permits no packet but makes nodes see one another.
    pub(crate) app_destinations: Vec<Selector>,
    pub(crate) app: BTreeMap<String, serde_json::Value>,
}

/// One destination with what may reach it.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    pub(crate) destination: Selector,
    /// Empty for TCP, UDP, ICMP and ICMPv6.
    pub(crate) protocols: Vec<u8>,
    pub(crate) ports: Vec<PortRange>,
}

/// One entry of `ssh`.
#[derive(Debug, Clone)]
pub(crate) struct SshSection {
    pub(crate) origin: Origin,
    pub(crate) action: Action,
    pub(crate) sources: Vec<Selector>,
    pub(crate) destinations: Vec<Selector>,
    pub(crate) users: LoginWords,
    pub(crate) accept_env: Vec<String>,
    pub(crate) rights: Rights,
}

/// `users` of an SSH rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LoginWords {
    pub(crate) root: bool,
    pub(crate) nonroot: bool,
    pub(crate) named: BTreeSet<Login>,
    /// The domains of `localpart:*@DOMAIN`.
    pub(crate) localpart_domains: BTreeSet<String>,
}

/// One entry of `tests`, its words not read yet: a bad one fails the test, not the file.
#[derive(Debug, Clone)]
pub(crate) struct NetworkTest {
    pub(crate) origin: Origin,
    pub(crate) source: String,
    pub(crate) protocol: String,
    pub(crate) accept: Vec<Word>,
    pub(crate) deny: Vec<Word>,
}

/// One entry of `sshTests`.
#[derive(Debug, Clone)]
pub(crate) struct SshTest {
    pub(crate) origin: Origin,
    pub(crate) source: String,
    pub(crate) destinations: Vec<Word>,
    pub(crate) accept: Vec<Word>,
    pub(crate) check: Vec<Word>,
    pub(crate) deny: Vec<Word>,
}

/// A word and the byte at which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// `autoApprovers`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Approvers {
    pub(crate) routes: Vec<(IpNet, Vec<Selector>)>,
    pub(crate) exit_node: Vec<Selector>,
}

/// A place that names a domain, which only the mesh can confirm.
#[derive(Debug, Clone)]
pub(crate) struct DomainUse {
    pub(crate) domain: String,
    pub(crate) at: usize,
    pub(crate) path: String,
}

/// A place that names a user.
#[derive(Debug, Clone)]
pub(crate) struct UserUse {
    pub(crate) login: String,
    pub(crate) at: usize,
    pub(crate) path: String,
}

/// Something that has no effect.
#[derive(Debug, Clone)]
pub(crate) struct Remark {
    pub(crate) at: usize,
    pub(crate) path: String,
    pub(crate) message: String,
}
