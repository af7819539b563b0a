//! May this peer become this account: the policy's answer, narrowed by root's own configuration.

use meshd_contract::broker::Denial;
use meshd_contract::login::Login;
use meshd_contract::peer_document::{Peer, PeerDocument};
use meshd_contract::ssh_rule::{Account, Decision, SshRule, decide};
use meshd_contract::time::Timestamp;

use crate::account::Passwd;
use crate::config::Config;
use crate::evidence::{Bound, Caller};

/// The peer may become the account, by a rule.
///
/// Made by [`authorize`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    peer: Peer,
    passwd: Passwd,
    rule: SshRule,
}

impl Authorized {
    /// The peer that calls.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The account that it becomes.
    #[must_use]
    pub fn passwd(&self) -> &Passwd {
        &self.passwd
    }

    /// The rule that lets it in.
    #[must_use]
    pub fn rule(&self) -> &SshRule {
        &self.rule
    }

    /// Decides again, by a newer document or at a later time.
    ///
    /// # Errors
    /// The [`Denial`] when the right has ended.
    pub fn again(
        &self,
        bound: &Bound,
        document: &PeerDocument,
        config: &Config,
        now: Timestamp,
    ) -> Result<Self, Denial> {
        authorize(
            bound,
            document,
            &self.passwd.account.login,
            Some(&self.passwd),
            config,
            now,
        )
    }
}

/// Decides whether the caller may become the account that `login` names; `passwd` is what the
/// user database said of that name.
///
/// # Errors
/// The [`Denial`]: alike for an account that is forbidden and one that does not exist.
pub fn authorize(
    bound: &Bound,
    document: &PeerDocument,
    login: &Login,
    passwd: Option<&Passwd>,
    config: &Config,
    now: Timestamp,
) -> Result<Authorized, Denial> {
    let peer = current_peer(bound, document, now).ok_or(Denial::Node)?;
    let passwd = passwd.filter(|passwd| passwd.account.login == *login);
    let denied = || Denial::Login {
        name: login.to_string(),
    };
    let rule = match decide(
        &document.rules,
        peer.node,
        passwd.map(|passwd| &passwd.account),
    ) {
        Decision::Accept(rule) => rule,
        Decision::Check(rule, _) => return Err(no_check(rule)),
        Decision::DenyNode => return Err(Denial::Node),
        Decision::DenyLogin => return Err(denied()),
    };
    let passwd = passwd.ok_or_else(denied)?;
    if !permitted_here(&passwd.account, config) {
        return Err(denied());
    }
    if rule.rights.enforce_recorder {
        let text = "policy asks for a recorder, and this version of meshd has none";
        return Err(Denial::Account(text.to_owned()));
    }
    Ok(Authorized {
        peer: peer.clone(),
        passwd: passwd.clone(),
        rule: rule.clone(),
    })
}

/// The peer as the document has it now: the one that the socket was bound to, with the same
/// addresses and key, and not expired.
fn current_peer<'a>(bound: &Bound, document: &'a PeerDocument, now: Timestamp) -> Option<&'a Peer> {
    let Caller::Peer(bound_peer) = bound.caller() else {
        return None;
    };
    if document.header.expires_at <= now {
        return None;
    }
    let peer = document.peer_at(bound.remote().ip())?;
    let same = peer.node == bound_peer.node && peer.wireguard_key == bound_peer.wireguard_key;
    (same && peer.is_current(now)).then_some(peer)
}

fn no_check(rule: &SshRule) -> Denial {
    Denial::Account(format!(
        "policy ({}) asks for an additional check, and this version of meshd has none",
        rule.origin
    ))
}

fn permitted_here(account: &Account, config: &Config) -> bool {
    let root = account.uid == 0;
    (config.permit_root || !root)
        && (root || account.uid >= config.minimum_uid)
        && !config.deny_logins.contains(&account.login)
}

#[cfg(test)]
pub(crate) mod tests {
    use meshd_contract::identity::NodeId;
    use meshd_contract::ssh_rule::{Action, CheckPeriod, Logins, Rights};

    use super::*;
    use crate::evidence::tests::{bound, document};

    pub(crate) fn passwd(name: &str, uid: u32) -> Passwd {
        Passwd {
            account: Account {
                login: name.parse().expect("a login"),
                uid,
            },
            gid: uid,
            home: "/".into(),
            shell: "/bin/sh".into(),
        }
    }

    /// laptop may become alice.
    pub(crate) fn document_for_alice() -> PeerDocument {
        let rule = SshRule {
            origin: "ssh[0]".to_owned(),
            action: Action::Accept,
            principals: [NodeId(2)].into(),
            logins: Logins {
                named: ["alice".parse().expect("a login")].into(),
                ..Logins::default()
            },
            accept_env: Vec::new(),
            rights: Rights::default(),
        };
        PeerDocument {
            rules: vec![rule],
            ..document()
        }
    }

    fn ask(document: &PeerDocument, account: &Passwd, config: &Config) -> Result<(), Denial> {
        let login = &account.account.login;
        authorize(
            &bound(),
            document,
            login,
            Some(account),
            config,
            Timestamp(1),
        )
        .map(|_| ())
    }

    #[test]
    fn a_rule_lets_in_whom_it_names() {
        let config = Config::default();
        assert_eq!(
            ask(&document_for_alice(), &passwd("alice", 1000), &config),
            Ok(())
        );
        let denied = Err(Denial::Login {
            name: "bob".to_owned(),
        });
        assert_eq!(
            ask(&document_for_alice(), &passwd("bob", 1001), &config),
            denied
        );
    }

    #[test]
    fn an_account_that_does_not_exist_is_denied_like_one_that_is_forbidden() {
        let login: Login = "bob".parse().expect("a login");
        let ask = |passwd: Option<&Passwd>| {
            let document = document_for_alice();
            authorize(
                &bound(),
                &document,
                &login,
                passwd,
                &Config::default(),
                Timestamp(1),
            )
        };
        assert_eq!(ask(None), ask(Some(&passwd("bob", 1001))));
    }

    #[test]
    fn an_account_of_another_name_is_never_become() {
        let login: Login = "bob".parse().expect("a login");
        let alice = passwd("alice", 1000);
        let document = document_for_alice();
        let asked = authorize(
            &bound(),
            &document,
            &login,
            Some(&alice),
            &Config::default(),
            Timestamp(1),
        );
        assert_eq!(
            asked,
            Err(Denial::Login {
                name: "bob".to_owned()
            })
        );
    }

    #[test]
    fn root_of_the_host_can_only_restrict() {
        let alice = passwd("alice", 1000);
        let document = document_for_alice();
        let denied = Err(Denial::Login {
            name: "alice".to_owned(),
        });
        let listed = Config {
            deny_logins: vec![alice.account.login.clone()],
            ..Config::default()
        };
        assert_eq!(ask(&document, &alice, &listed), denied);
        let high = Config {
            minimum_uid: 1001,
            ..Config::default()
        };
        assert_eq!(ask(&document, &alice, &high), denied);
        let mut for_root = document_for_alice();
        for_root.rules[0].logins.root = true;
        assert_eq!(ask(&for_root, &passwd("root", 0), &high), Ok(()));
        let no_root = Config {
            permit_root: false,
            ..Config::default()
        };
        assert!(ask(&for_root, &passwd("root", 0), &no_root).is_err());
    }

    #[test]
    fn a_check_or_a_recorder_that_cannot_be_had_lets_nobody_in() {
        let alice = passwd("alice", 1000);
        let mut checked = document_for_alice();
        checked.rules[0].action = Action::Check(CheckPeriod::Default);
        assert!(matches!(
            ask(&checked, &alice, &Config::default()),
            Err(Denial::Account(_))
        ));
        let mut recorded = document_for_alice();
        recorded.rules[0].rights.enforce_recorder = true;
        assert!(matches!(
            ask(&recorded, &alice, &Config::default()),
            Err(Denial::Account(_))
        ));
    }

    #[test]
    fn the_right_ends_with_rule_peer_key_and_document() {
        let alice = passwd("alice", 1000);
        let (bound, config) = (bound(), Config::default());
        let login = &alice.account.login;
        let first = document_for_alice();
        let authorized =
            authorize(&bound, &first, login, Some(&alice), &config, Timestamp(1)).expect("lets in");
        let again = |document: &PeerDocument, now| authorized.again(&bound, document, &config, now);
        assert_eq!(again(&first, Timestamp(2)).as_ref(), Ok(&authorized));
        assert!(
            again(
                &PeerDocument {
                    rules: Vec::new(),
                    ..first.clone()
                },
                Timestamp(2)
            )
            .is_err()
        );
        assert!(
            again(
                &PeerDocument {
                    peers: Vec::new(),
                    ..first.clone()
                },
                Timestamp(2)
            )
            .is_err()
        );
        assert!(
            again(&first, Timestamp(500)).is_err(),
            "the peer's key has expired"
        );
        let mut forever = first.clone();
        forever.peers[0].key_expires_at = None;
        assert!(again(&forever, Timestamp(999)).is_ok());
        assert!(
            again(&forever, Timestamp(1000)).is_err(),
            "the document has expired"
        );
        let mut rekeyed = first;
        rekeyed.peers[0].wireguard_key.0[0] ^= 1;
        assert!(
            again(&rekeyed, Timestamp(2)).is_err(),
            "the address has another key now"
        );
    }
}
