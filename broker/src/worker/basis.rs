//! What the decisions of one connection rest on: root's configuration, the newest peer document,
//! and whose socket it is.

use meshd_contract::broker::Denial;
use meshd_contract::check::CheckGrant;
use meshd_contract::document::Version;
use meshd_contract::login::Login;
use meshd_contract::paths;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;

use super::{Refusal, now};
use crate::account::{self, check_shell};
use crate::authorize::{Authorized, Proof, Refusal as NotAuthorized, authorize};
use crate::config::Config;
use crate::evidence::{self, Bound, Caller};
use crate::pam::{AccountChecked, Pam};
use crate::record::{Event, Fact, Records};
use crate::state_file::{self, Stamp};
use crate::trust::{Files, TrustError};

pub(super) struct Basis {
    pub(super) records: Records,
    pub(super) began: Timestamp,
    pub(super) config: Config,
    pub(super) bound: Bound,
    files: Files,
    document: PeerDocument,
    /// Of the file that was looked at last.
    stamp: Option<Stamp>,
    /// A newer document is there and could not be read yet.
    unread: bool,
}

impl Basis {
    /// Gathers everything for a socket that the manager has handed over.
    pub(super) fn of(id: &str, tcp: &std::os::fd::OwnedFd) -> Result<Self, Refusal> {
        let config = Config::load(paths::SSH_CONFIG.as_ref())?;
        let files = Files::default();
        // Looked at before it is read, so that no newer one is missed.
        let stamp = state_file::stamp(&files.peer_document).ok();
        let document = files.peer_document(now())?;
        let bound = evidence::bind(&evidence::gather(tcp)?, &document, &config, now())?;
        let began = now();
        let records = Records::new(id, facts(&bound));
        let version = document.header.version.to_string();
        records.write(Event::Started, &[("document", version)]);
        Ok(Self {
            records,
            began,
            config,
            bound,
            files,
            document,
            stamp,
            unread: false,
        })
    }

    /// Takes the newer document, if there is one. To look costs one system call, and nothing that a
    /// host has few of: inotify(7) has 128 instances for all of root's programs.
    pub(super) fn refresh(&mut self) {
        let stamp = state_file::stamp(&self.files.peer_document).ok();
        // One that is gone is no newer one.
        let is_replaced = stamp.is_some() && stamp != self.stamp;
        if !is_replaced && !self.unread {
            return;
        }
        self.stamp = stamp.or(self.stamp);
        let newer = self
            .files
            .newer_document(self.document.header.version, now());
        self.unread = matches!(&newer, Err(error) if !matches!(error, TrustError::Refused(_)));
        match newer {
            Ok((document, forgotten)) => {
                self.document = document;
                if let Some(error) = forgotten {
                    self.records.note(&error.to_string());
                }
            }
            // What is in force stays in force until it expires: to take a document away is no
            // way to end a session, and to bring a bad one is none to keep it.
            Err(error) => self
                .records
                .note(&format!("newer document ignored: {error}")),
        }
    }

    /// Which document is in force.
    pub(super) fn version(&self) -> Version {
        self.document.header.version
    }

    /// From this second on nothing is permitted by this document.
    pub(super) fn expires_at(&self) -> Timestamp {
        self.document.header.expires_at
    }

    /// Whether [`Self::refresh`] is to be tried again soon.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Decides a login that was permitted again.
    pub(super) fn still_permits(&self, checked: &AccountChecked) -> Result<(), Denial> {
        self.in_force(checked).map(drop)
    }

    /// What permits a login now: the rule may be another one than at the start.
    pub(super) fn in_force(&self, checked: &AccountChecked) -> Result<Authorized, Denial> {
        let authorized = checked.authorized();
        authorized.again(&self.bound, &self.document, &self.config, now())
    }

    /// Policy, account, shell, PAM: in this order, so that only what policy permits is told from
    /// what does not exist.
    pub(super) fn decide(
        &self,
        name: &[u8],
        grant: Option<&CheckGrant>,
    ) -> Result<(AccountChecked, Pam), NotAuthorized> {
        let authorized = self.authorize(name, grant)?;
        check_shell(authorized.passwd()).map_err(|error| Denial::Account(error.to_string()))?;
        let mut pam = Pam::start(&self.bound, &authorized).map_err(|error| {
            self.records.note(&error.to_string());
            Denial::Account("this host could not start PAM; its log says why".to_owned())
        })?;
        let expired_password = self.config.expired_password;
        let checked = pam.check_account(authorized, expired_password);
        let checked = checked.map_err(|(denial, error)| {
            self.records.note(&error.to_string());
            denial
        })?;
        Ok((checked, pam))
    }

    fn authorize(
        &self,
        name: &[u8],
        grant: Option<&CheckGrant>,
    ) -> Result<Authorized, NotAuthorized> {
        let (bound, document, config) = (&self.bound, &self.document, &self.config);
        let Ok(login) = Login::from_bytes(name) else {
            return Err(self.no_login(name).into());
        };
        let passwd = account::find(&login).map_err(|error| {
            self.records.note(&error.to_string());
            Denial::Account(error.to_string())
        })?;
        let connection = self.records.connection();
        let proof = grant.map_or(Proof::None, |grant| Proof::Grant(grant, connection));
        let passwd = passwd.as_ref();
        authorize(bound, document, &login, passwd, config, proof, now())
    }

    /// Control's word that a check was passed, if it can be believed.
    pub(super) fn check_grant(&self, text: &str) -> Result<CheckGrant, TrustError> {
        self.files.check_grant(text, now())
    }

    /// The denial of something that is no login name: as for a name that no account has.
    fn no_login(&self, name: &[u8]) -> Denial {
        let shown: String = String::from_utf8_lossy(name).chars().take(64).collect();
        let name = shown
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let nobody = Login::from_bytes(b"_").map(|nobody| {
            authorize(
                &self.bound,
                &self.document,
                &nobody,
                None,
                &self.config,
                Proof::None,
                now(),
            )
        });
        match nobody {
            Ok(Err(NotAuthorized::Denied(Denial::Node))) => Denial::Node,
            _ => Denial::Login { name },
        }
    }
}

/// What every record of the connection tells.
fn facts(bound: &Bound) -> Vec<Fact> {
    let mut facts = vec![("from", bound.remote().ip().to_string())];
    if let Caller::Peer(peer) = bound.caller() {
        facts.push(("peer", peer.name.to_string()));
        facts.push(("user", peer.owner.to_string()));
    }
    facts
}
