//! May this peer become this account: the policy's answer, narrowed by root's own configuration.

use meshd_contract::broker::Denial;
use meshd_contract::check::{CheckGrant, CheckRefusal, LoginClass};
use meshd_contract::login::Login;
use meshd_contract::peer_document::{Peer, PeerDocument};
use meshd_contract::ssh_rule::{Account, CheckPeriod, Decision, SshRule, decide};
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
    check: Option<CheckGrant>,
}

/// What shows that the owner of the peer has signed in.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// Nothing.
    None,
    /// Control's word, for the login of the connection of this name.
    Grant(&'a CheckGrant, &'a str),
    /// Control's word, by which this connection's login was permitted before: unless it was taken
    /// back, it need not be recent any more, nor of the rule that decides now.
    Passed(&'a CheckGrant),
}

/// Why a login is not authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not permitted.
    Denied(Denial),
    /// It needs a check first.
    Check {
        /// Where the rule stands that asks for it.
        rule: String,
        /// How recent the sign-in must be.
        period: CheckPeriod,
        /// Which accounts the check is to open.
        class: LoginClass,
    },
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Refusal {
    /// The denial, where nothing is asked for any more.
    #[must_use]
    pub fn finally(self) -> Denial {
        match self {
            Self::Denied(denial) => denial,
            Self::Check { .. } => Denial::Account(CheckRefusal::NotAsked.to_string()),
        }
    }
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

    /// Control's word that the owner of the peer has signed in, where it was needed.
    #[must_use]
    pub fn check(&self) -> Option<&CheckGrant> {
        self.check.as_ref()
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
            self.check.as_ref().map_or(Proof::None, Proof::Passed),
            now,
        )
        .map_err(|refusal| match (refusal, &self.check) {
            (Refusal::Check { .. }, Some(_)) => Denial::Account(
                "the check that let this connection in does not count any more".to_owned(),
            ),
            (refusal, _) => refusal.finally(),
        })
    }
}

/// Decides whether the caller may become the account that `login` names; `passwd` is what the
/// user database said of that name.
///
/// # Errors
/// The [`Refusal`]: alike for an account that is forbidden and one that does not exist.
pub fn authorize(
    bound: &Bound,
    document: &PeerDocument,
    login: &Login,
    passwd: Option<&Passwd>,
    config: &Config,
    proof: Proof<'_>,
    now: Timestamp,
) -> Result<Authorized, Refusal> {
    let peer = current_peer(bound, document, now).ok_or(Denial::Node)?;
    let passwd = passwd.filter(|passwd| passwd.account.login == *login);
    let denied = || Denial::Login {
        name: login.to_string(),
    };
    let (rule, check) = match decide(
        &document.rules,
        peer.node,
        passwd.map(|passwd| &passwd.account),
    ) {
        Decision::Accept(rule) => (rule, None),
        Decision::Check(rule, period) => (rule, Some(period)),
        Decision::DenyNode => return Err(Denial::Node.into()),
        Decision::DenyLogin => return Err(denied().into()),
    };
    let passwd = passwd.ok_or_else(denied)?;
    if !permitted_here(&passwd.account, config) {
        return Err(denied().into());
    }
    if rule.rights.enforce_recorder {
        let text = "policy asks for a recorder, and this version of meshd has none";
        return Err(Denial::Account(text.to_owned()).into());
    }
    let grant = proof.of(peer, &passwd.account);
    if let Some(period) = check
        && !grant.is_some_and(|grant| proof.suffices(grant, rule, period, now))
    {
        return Err(Refusal::Check {
            rule: rule.origin.clone(),
            period,
            class: LoginClass::of(&passwd.account),
        });
    }
    Ok(Authorized {
        peer: peer.clone(),
        passwd: passwd.clone(),
        rule: rule.clone(),
        check: grant.cloned(),
    })
}

impl<'a> Proof<'a> {
    /// The grant, if it speaks of this peer and such accounts.
    fn of(self, peer: &Peer, account: &Account) -> Option<&'a CheckGrant> {
        let grant = match self {
            Self::None => return None,
            Self::Grant(grant, _) | Self::Passed(grant) => grant,
        };
        grant.concerns(peer, account).then_some(grant)
    }

    fn suffices(
        self,
        grant: &CheckGrant,
        rule: &SshRule,
        period: CheckPeriod,
        now: Timestamp,
    ) -> bool {
        match self {
            Self::None => false,
            Self::Grant(_, connection) => grant.is_recent(rule, period, connection, now),
            Self::Passed(_) => true,
        }
    }
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

fn permitted_here(account: &Account, config: &Config) -> bool {
    let root = account.uid == 0;
    (config.permit_root || !root)
        && (root || account.uid >= config.minimum_uid)
        && !config.deny_logins.contains(&account.login)
}

#[cfg(test)]
pub(crate) mod tests {
    use meshd_contract::document::{Header, Version};
    use meshd_contract::identity::{NodeId, Owner};
    use meshd_contract::ssh_rule::{Action, Logins, Rights};

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
            Proof::None,
            Timestamp(1),
        )
        .map(|_| ())
        .map_err(Refusal::finally)
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
                Proof::None,
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
            Proof::None,
            Timestamp(1),
        );
        let denied = Denial::Login {
            name: "bob".to_owned(),
        };
        assert_eq!(asked, Err(denied.into()));
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
    fn a_recorder_that_cannot_be_had_lets_nobody_in() {
        let alice = passwd("alice", 1000);
        let mut recorded = document_for_alice();
        recorded.rules[0].rights.enforce_recorder = true;
        assert!(matches!(
            ask(&recorded, &alice, &Config::default()),
            Err(Denial::Account(_))
        ));
    }

    /// The same document, where the rule wants a check of this period.
    fn checked(period: CheckPeriod) -> PeerDocument {
        let mut document = document_for_alice();
        document.rules[0].action = Action::Check(period);
        document
    }

    /// Control's word for the peer of [`bound`].
    fn grant() -> CheckGrant {
        let peer = &document().peers[0];
        let Owner::User(owner) = &peer.owner else {
            panic!("a user's peer");
        };
        CheckGrant {
            header: Header {
                node: NodeId(1),
                version: Version(1),
                issued_at: Timestamp(1),
                expires_at: Timestamp(100),
            },
            source: peer.node,
            wireguard_key: peer.wireguard_key,
            owner: owner.clone(),
            class: LoginClass::Nonroot,
            rule: "ssh[0]".to_owned(),
            approved_at: Timestamp(1),
            connection: None,
        }
    }

    fn with(document: &PeerDocument, proof: Proof<'_>) -> Result<Authorized, Refusal> {
        let (alice, config) = (passwd("alice", 1000), Config::default());
        let login = &alice.account.login;
        let account = Some(&alice);
        authorize(
            &bound(),
            document,
            login,
            account,
            &config,
            proof,
            Timestamp(2),
        )
    }

    #[test]
    fn a_check_rule_lets_in_with_a_recent_grant_only() {
        let document = checked(CheckPeriod::Seconds(50));
        let need = Err(Refusal::Check {
            rule: "ssh[0]".to_owned(),
            period: CheckPeriod::Seconds(50),
            class: LoginClass::Nonroot,
        });
        assert_eq!(with(&document, Proof::None), need);
        let grant = grant();
        assert!(with(&document, Proof::Grant(&grant, "a")).is_ok());
        for spoil in [
            |grant: &mut CheckGrant| grant.class = LoginClass::Root,
            |grant: &mut CheckGrant| grant.owner = "bob@example.com".to_owned(),
            |grant: &mut CheckGrant| grant.source = NodeId(9),
            |grant: &mut CheckGrant| grant.wireguard_key.0[0] ^= 1,
            |grant: &mut CheckGrant| grant.rule = "ssh[1]".to_owned(),
            |grant: &mut CheckGrant| grant.header.expires_at = Timestamp(2),
            |grant: &mut CheckGrant| grant.approved_at = Timestamp(u64::MAX),
            |grant: &mut CheckGrant| grant.connection = Some("b".to_owned()),
        ] {
            let mut spoiled = grant.clone();
            spoil(&mut spoiled);
            let asked = with(&document, Proof::Grant(&spoiled, "a"));
            assert_eq!(asked, need, "{spoiled:?}");
        }
    }

    #[test]
    fn a_check_is_asked_of_nobody_whom_the_host_does_not_let_in() {
        let document = checked(CheckPeriod::Default);
        let alice = passwd("alice", 1000);
        let listed = Config {
            deny_logins: vec![alice.account.login.clone()],
            ..Config::default()
        };
        let denied = Err(Denial::Login {
            name: "alice".to_owned(),
        });
        assert_eq!(ask(&document, &alice, &listed), denied);
    }

    #[test]
    fn a_check_that_was_passed_stays_passed_in_its_connection() {
        let first = checked(CheckPeriod::Seconds(50));
        let grant = grant();
        let authorized = with(&first, Proof::Grant(&grant, "a")).expect("lets in");
        assert_eq!(authorized.check(), Some(&grant));
        let again = |authorized: &Authorized, document: &PeerDocument| {
            authorized.again(&bound(), document, &Config::default(), Timestamp(400))
        };
        assert!(again(&authorized, &first).is_ok(), "the period has ended");
        let mut moved = checked(CheckPeriod::Always);
        moved.rules[0].origin = "ssh[7]".to_owned();
        assert!(again(&authorized, &moved).is_ok());
        let mut given_away = first.clone();
        given_away.peers[0].owner = Owner::User("bob@example.com".to_owned());
        assert!(again(&authorized, &given_away).is_err());
        let mut taken_back = first.clone();
        taken_back.peers[0].checks_after = grant.header.version;
        assert!(again(&authorized, &taken_back).is_err());
        assert!(with(&taken_back, Proof::Grant(&grant, "a")).is_err());
        taken_back.rules[0].action = Action::Accept;
        assert!(again(&authorized, &taken_back).is_ok(), "none is needed");
        let never = with(&document_for_alice(), Proof::None).expect("lets in");
        assert!(
            again(&never, &first).is_err(),
            "no check was passed, and one is needed now"
        );
    }

    #[test]
    fn the_right_ends_with_rule_peer_key_and_document() {
        let alice = passwd("alice", 1000);
        let (bound, config) = (bound(), Config::default());
        let login = &alice.account.login;
        let first = document_for_alice();
        let (account, none) = (Some(&alice), Proof::None);
        let authorized = authorize(&bound, &first, login, account, &config, none, Timestamp(1))
            .expect("lets in");
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
