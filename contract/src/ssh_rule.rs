//! The SSH rules of one node, and which of them decides a login.
//!
//! A field that is not known makes the whole document unusable: it may restrict what an older
//! program would permit without it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::login::Login;

/// One rule as control compiled it for one node: these peers may become these accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshRule {
    /// Where it stands in the policy, such as `ssh[2]`; for records and explanations.
    pub origin: String,
    /// What happens when it decides.
    pub action: Action,
    /// The peers that it names.
    pub principals: BTreeSet<NodeId>,
    /// The accounts that it names.
    pub logins: Logins,
    /// Patterns of client variables that reach the session; `*` and `?` match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_env: Vec<String>,
    /// What the session may do beyond a shell.
    #[serde(default, skip_serializing_if = "Rights::is_default")]
    pub rights: Rights,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Lets the login in.
    Accept,
    /// Lets it in after a recent sign-in by the person who owns the peer.
    Check(CheckPeriod),
}

/// How recent the sign-in must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckPeriod {
    /// Not said in the rule: 12 hours, and one sign-in opens every such rule.
    Default,
    /// Asked at each connection.
    Always,
    /// This many seconds, for this destination alone.
    Seconds(u64),
}

/// The accounts of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logins {
    /// The rule names root.
    #[serde(default)]
    pub root: bool,
    /// The rule names `autogroup:nonroot`: every account whose user id is not 0.
    #[serde(default)]
    pub nonroot: bool,
    /// The other names that it lists.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub named: BTreeSet<Login>,
}

/// What a session under a rule may do, beyond a shell or a command of the client's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// Which kinds of forwarding.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// `host:port` patterns that `-L` and `-W` may reach; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permit_open: Vec<String>,
    /// `host:port` patterns that `-R` may listen on; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permit_listen: Vec<String>,
    /// The command that runs whatever the client asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The longest that a connection may last, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_seconds: Option<u64>,
    /// Where sessions are recorded, as selectors of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorders: Vec<String>,
    /// Without a recorder there is no session.
    #[serde(default)]
    pub enforce_recorder: bool,
}

impl Rights {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which kinds of forwarding a rule permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// Every kind.
    #[default]
    All,
    /// No kind.
    None,
    /// From client to host (`-L`, `-D`, `-W`).
    Local,
    /// From host to client (`-R`).
    Remote,
    /// The client's agent.
    Agent,
}

/// An account as the user database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name that the database returned.
    pub login: Login,
    /// The numeric user id.
    pub uid: u32,
}

/// What the rules say of one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The first rule that names both the peer and the account lets it in.
    Accept(&'a SshRule),
    /// It lets it in after a recent sign-in.
    Check(&'a SshRule, CheckPeriod),
    /// No rule names this peer.
    DenyNode,
    /// Rules name this peer, but none names it together with this account.
    DenyLogin,
}

/// Decides whether `peer` may become `account`; none stands for a name that no account has.
///
/// The first rule that names both decides. Rules come compiled, with every check rule before the
/// first accept rule.
#[must_use]
pub fn decide<'a>(rules: &'a [SshRule], peer: NodeId, account: Option<&Account>) -> Decision<'a> {
    let mut of_peer = rules
        .iter()
        .filter(|rule| rule.principals.contains(&peer))
        .peekable();
    if of_peer.peek().is_none() {
        return Decision::DenyNode;
    }
    let Some(account) = account else {
        return Decision::DenyLogin;
    };
    match of_peer.find(|rule| rule.logins.include(account)) {
        Some(rule) => match rule.action {
            Action::Accept => Decision::Accept(rule),
            Action::Check(period) => Decision::Check(rule, period),
        },
        None => Decision::DenyLogin,
    }
}

impl Logins {
    /// Whether the rule names this account.
    ///
    /// An account with user id 0, whatever it is called, needs a rule that names root, and its
    /// own name too.
    #[must_use]
    pub fn include(&self, account: &Account) -> bool {
        let is_root = account.login.as_str() == "root";
        let listed = if is_root {
            self.root
        } else {
            self.named.contains(&account.login)
        };
        if account.uid == 0 {
            return self.root && listed;
        }
        listed || (self.nonroot && !is_root)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(name: &str, uid: u32) -> Account {
        Account {
            login: name.parse().expect("a login"),
            uid,
        }
    }

    fn rule(principals: &[u64], root: bool, nonroot: bool, named: &[&str]) -> SshRule {
        SshRule {
            origin: "ssh[0]".to_owned(),
            action: Action::Accept,
            principals: principals.iter().copied().map(NodeId).collect(),
            logins: Logins {
                root,
                nonroot,
                named: named
                    .iter()
                    .map(|name| name.parse().expect("a login"))
                    .collect(),
            },
            accept_env: Vec::new(),
            rights: Rights::default(),
        }
    }

    #[test]
    fn a_restriction_that_is_not_known_is_not_passed_over() {
        let written = serde_json::to_value(rule(&[1], false, true, &[])).expect("writes");
        let read = |rule: &serde_json::Value| serde_json::from_value::<SshRule>(rule.clone());
        assert!(read(&written).is_ok());
        for (place, field) in [("", "only_on_mondays"), ("/rights", "no_forwards_to")] {
            let mut newer = written.clone();
            newer["rights"] = serde_json::json!({});
            newer.pointer_mut(place).expect("an object")[field] = true.into();
            let error = read(&newer).expect_err("a newer rule").to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn the_first_rule_with_peer_and_account_decides() {
        let rules = [
            rule(&[1], false, false, &["bob"]),
            rule(&[1, 2], false, true, &[]),
        ];
        let decided = decide(&rules, NodeId(1), Some(&account("alice", 1000)));
        assert_eq!(decided, Decision::Accept(&rules[1]));
        let decided = decide(&rules, NodeId(1), Some(&account("bob", 1001)));
        assert_eq!(decided, Decision::Accept(&rules[0]));
    }

    #[test]
    fn denials_tell_the_peer_from_the_login() {
        let rules = [rule(&[1], false, false, &["bob"])];
        assert_eq!(
            decide(&rules, NodeId(2), Some(&account("bob", 1001))),
            Decision::DenyNode
        );
        assert_eq!(
            decide(&rules, NodeId(1), Some(&account("eve", 1002))),
            Decision::DenyLogin
        );
        assert_eq!(decide(&rules, NodeId(1), None), Decision::DenyLogin);
        assert_eq!(decide(&rules, NodeId(2), None), Decision::DenyNode);
    }

    #[test]
    fn nonroot_means_a_user_id_other_than_0() {
        let logins = rule(&[1], false, true, &[]).logins;
        assert!(logins.include(&account("alice", 1000)));
        assert!(!logins.include(&account("root", 0)));
        assert!(!logins.include(&account("toor", 0)));
        assert!(!logins.include(&account("root", 1000)));
    }

    #[test]
    fn a_second_name_for_root_needs_root_and_its_own_name() {
        let toor = account("toor", 0);
        assert!(!rule(&[1], false, false, &["toor"]).logins.include(&toor));
        assert!(!rule(&[1], true, true, &[]).logins.include(&toor));
        assert!(rule(&[1], true, false, &["toor"]).logins.include(&toor));
    }

    proptest! {
        #[test]
        fn user_id_0_is_never_reached_without_root(
            nonroot: bool,
            named in proptest::collection::vec("[a-z]{1,4}", 0..4),
            name in "[a-z]{1,4}",
        ) {
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            let rules = [rule(&[1], false, nonroot, &named)];
            let decided = decide(&rules, NodeId(1), Some(&account(&name, 0)));
            prop_assert_eq!(decided, Decision::DenyLogin);
        }
    }
}
