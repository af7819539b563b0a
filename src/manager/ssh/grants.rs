//! Check grants that are still fresh: with them a login needs no control.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshd_contract::check::{CheckGrant, CheckNeed};
use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::keyring::Keyring;
use meshd_contract::signed::{self, Expected};
use meshd_contract::ssh_rule::CheckPeriod;
use meshd_contract::time::Timestamp;

use crate::manager::atomic;

/// The file in the manager's directory: a JSON array of signed texts.
const FILE: &str = "check-grants.json";

/// The most that are kept; the oldest go first.
const MOST: usize = 1024;

/// The grants of this node. What is kept here is only looked up: root's worker believes control's
/// signature, and nobody's memory.
#[derive(Debug)]
pub(super) struct Grants {
    path: PathBuf,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    grant: CheckGrant,
    text: String,
}

/// Who signs them, and for whom.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    pub(super) control: Keyring,
    pub(super) node: NodeId,
}

impl Signer {
    fn open(&self, text: &str, now: Timestamp) -> Option<CheckGrant> {
        let expected = Expected {
            node: self.node,
            now,
            at_least: Version(0),
        };
        signed::open(text.as_bytes(), self.control.at(now), &expected).ok()
    }
}

impl Grants {
    /// Those in a directory; none until [`Self::load`].
    pub(super) fn in_directory(directory: PathBuf) -> Self {
        Self {
            path: directory.join(FILE),
            kept: Mutex::default(),
        }
    }

    /// Reads what an earlier process has kept, as far as it still counts.
    pub(super) fn load(&self, signer: &Signer, now: Timestamp) {
        let texts = fs::read(&self.path).unwrap_or_default();
        let texts: Vec<String> = serde_json::from_slice(&texts).unwrap_or_default();
        let opened = |text: String| {
            let grant = signer.open(&text, now)?;
            Some(Kept { grant, text })
        };
        *self.kept() = texts.into_iter().filter_map(opened).take(MOST).collect();
    }

    /// Keeps one that serves more than one connection.
    pub(super) fn keep(&self, text: &str, signer: &Signer, now: Timestamp) {
        let Some(grant) = signer.open(text, now) else {
            return;
        };
        if grant.connection.is_some() {
            return;
        }
        let mut kept = self.kept();
        kept.retain(|old| now < old.grant.header.expires_at && !is_alike(&old.grant, &grant));
        let excess = (kept.len() + 1).saturating_sub(MOST);
        kept.drain(..excess);
        kept.push(Kept {
            grant,
            text: text.to_owned(),
        });
        self.write(&kept);
    }

    /// The one that may do for this login.
    pub(super) fn find(&self, need: &CheckNeed, now: Timestamp) -> Option<String> {
        if need.period == CheckPeriod::Always {
            return None;
        }
        let kept = self.kept();
        let found = kept.iter().rev().find(|kept| {
            let grant = &kept.grant;
            let is_for = (grant.source, grant.class) == (need.source, need.class);
            is_for && grant.rule == need.rule && now < grant.header.expires_at
        });
        found.map(|kept| kept.text.clone())
    }

    fn write(&self, kept: &[Kept]) {
        let texts: Vec<&str> = kept.iter().map(|kept| kept.text.as_str()).collect();
        let written =
            serde_json::to_vec(&texts).map(|json| atomic::write(&self.path, &json, 0o600));
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "check grants are forgotten at the next restart");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_alike(one: &CheckGrant, other: &CheckGrant) -> bool {
    let what = |grant: &CheckGrant| (grant.source, grant.class, grant.rule.clone());
    what(one) == what(other)
}

#[cfg(test)]
mod tests {
    use meshd_contract::check::LoginClass;
    use meshd_contract::document::Header;
    use meshd_contract::key::{PrivateKey, WireGuardKey};

    use super::*;

    fn control() -> PrivateKey {
        PrivateKey::from_seed(&[1; 32])
    }

    fn signer() -> Signer {
        Signer {
            control: control().public().into(),
            node: NodeId(1),
        }
    }

    fn grant(rule: &str, connection: Option<&str>) -> String {
        let grant = CheckGrant {
            header: Header {
                node: NodeId(1),
                version: Version(1),
                issued_at: Timestamp(1),
                expires_at: Timestamp(100),
            },
            source: NodeId(2),
            wireguard_key: WireGuardKey([2; 32]),
            owner: "alice@example.com".to_owned(),
            class: LoginClass::Nonroot,
            rule: rule.to_owned(),
            approved_at: Timestamp(1),
            connection: connection.map(str::to_owned),
        };
        signed::seal(&grant, &control()).expect("seals")
    }

    fn need(rule: &str, class: LoginClass) -> CheckNeed {
        CheckNeed {
            source: NodeId(2),
            login: "alice".parse().expect("a login"),
            class,
            rule: rule.to_owned(),
            period: CheckPeriod::Default,
            connection: "a".to_owned(),
        }
    }

    #[test]
    fn a_grant_is_found_again_after_a_restart_and_until_it_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let grants = Grants::in_directory(directory.path().to_owned());
        let text = grant("ssh[0]", None);
        grants.keep(&text, &signer(), Timestamp(2));
        let grants = Grants::in_directory(directory.path().to_owned());
        grants.load(&signer(), Timestamp(2));
        let fits = need("ssh[0]", LoginClass::Nonroot);
        assert_eq!(grants.find(&fits, Timestamp(99)), Some(text));
        assert_eq!(grants.find(&fits, Timestamp(100)), None);
        let other_class = need("ssh[0]", LoginClass::Root);
        assert_eq!(grants.find(&other_class, Timestamp(2)), None);
        let other_rule = need("ssh[1]", LoginClass::Nonroot);
        assert_eq!(grants.find(&other_rule, Timestamp(2)), None);
        let always = CheckNeed {
            period: CheckPeriod::Always,
            ..fits
        };
        assert_eq!(grants.find(&always, Timestamp(2)), None);
    }

    #[test]
    fn what_serves_one_connection_or_has_another_signer_is_not_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let grants = Grants::in_directory(directory.path().to_owned());
        grants.keep(&grant("ssh[0]", Some("a")), &signer(), Timestamp(2));
        let other = Signer {
            control: PrivateKey::from_seed(&[9; 32]).public().into(),
            ..signer()
        };
        grants.keep(&grant("ssh[0]", None), &other, Timestamp(2));
        let fits = need("ssh[0]", LoginClass::Nonroot);
        assert_eq!(grants.find(&fits, Timestamp(2)), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let grants = Grants::in_directory(directory.path().to_owned());
        for number in 0..MOST + 1 {
            let rule = format!("ssh[{number}]");
            grants.kept().push(Kept {
                grant: signer()
                    .open(&grant(&rule, None), Timestamp(2))
                    .expect("opens"),
                text: rule,
            });
        }
        grants.keep(&grant("ssh[0]", None), &signer(), Timestamp(2));
        assert_eq!(grants.kept().len(), MOST);
        let newest = need("ssh[0]", LoginClass::Nonroot);
        assert!(grants.find(&newest, Timestamp(2)).is_some());
    }
}
