//! What the decisions of one connection rest on: root's configuration, the newest peer document,
//! and whose socket it is.

use std::path::Path;

use meshd_contract::broker::Denial;
use meshd_contract::login::Login;
use meshd_contract::paths;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{Refusal, now};
use crate::account::{self, check_shell};
use crate::authorize::{Authorized, authorize};
use crate::config::Config;
use crate::evidence::{self, Bound, Caller};
use crate::log;
use crate::pam::{AccountChecked, Pam};
use crate::trust::Files;

pub(super) struct Basis {
    /// Names the connection in every record.
    pub(super) id: String,
    pub(super) config: Config,
    pub(super) bound: Bound,
    files: Files,
    document: PeerDocument,
    changes: Inotify,
}

impl Basis {
    /// Gathers everything for a socket that the manager has handed over.
    pub(super) fn of(id: &str, tcp: &std::os::fd::OwnedFd) -> Result<Self, Refusal> {
        let config = Config::load(paths::SSH_CONFIG.as_ref())?;
        let files = Files::default();
        // Watched before it is read, so that no newer one is missed.
        let changes = watch(&files.peer_document)?;
        let document = files.peer_document(now())?;
        let bound = evidence::bind(&evidence::gather(tcp)?, &document, &config, now())?;
        let basis = Self {
            id: id.to_owned(),
            config,
            bound,
            files,
            document,
            changes,
        };
        basis.log_start();
        Ok(basis)
    }

    /// Becomes readable when the directory of the peer document changes.
    pub(super) fn changes(&self) -> &Inotify {
        &self.changes
    }

    /// Takes the newer document, if there is one.
    pub(super) fn refresh(&mut self) {
        let name = self.files.peer_document.file_name();
        let events = self.changes.read_events().unwrap_or_default();
        if !events.iter().any(|event| event.name.as_deref() == name) {
            return;
        }
        match self.files.peer_document(now()) {
            Ok(document) => self.document = document,
            // What is in force stays in force until it expires: to take a document away is no
            // way to end a session, and to bring a bad one is none to keep it.
            Err(error) => log::connection(&self.id, &format!("newer document ignored: {error}")),
        }
    }

    /// From this second on nothing is permitted by this document.
    pub(super) fn expires_at(&self) -> Timestamp {
        self.document.header.expires_at
    }

    /// Whether a login that was permitted still is.
    pub(super) fn still_permits(&self, checked: &AccountChecked) -> bool {
        let authorized = checked.authorized();
        authorized
            .again(&self.bound, &self.document, &self.config, now())
            .is_ok()
    }

    /// Policy, account, shell, PAM: in this order, so that only what policy permits is told from
    /// what does not exist.
    pub(super) fn decide(&self, name: &[u8]) -> Result<(AccountChecked, Pam), Denial> {
        let authorized = self.authorize(name)?;
        check_shell(authorized.passwd()).map_err(|error| Denial::Account(error.to_string()))?;
        let mut pam = Pam::start(&self.bound, &authorized).map_err(|error| {
            log::connection(&self.id, &error.to_string());
            Denial::Account("this host could not start PAM; its log says why".to_owned())
        })?;
        let checked = pam.check_account(authorized).map_err(|(denial, error)| {
            log::connection(&self.id, &error.to_string());
            denial
        })?;
        Ok((checked, pam))
    }

    fn authorize(&self, name: &[u8]) -> Result<Authorized, Denial> {
        let (bound, document, config) = (&self.bound, &self.document, &self.config);
        let Ok(login) = Login::from_bytes(name) else {
            return Err(self.no_login(name));
        };
        let passwd = account::find(&login).map_err(|error| {
            log::connection(&self.id, &error.to_string());
            Denial::Account(error.to_string())
        })?;
        authorize(bound, document, &login, passwd.as_ref(), config, now())
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
                now(),
            )
        });
        match nobody {
            Ok(Err(Denial::Node)) => Denial::Node,
            _ => Denial::Login { name },
        }
    }

    fn log_start(&self) {
        let caller = match self.bound.caller() {
            Caller::Peer(peer) => format!("peer={} owner={}", peer.name, peer.owner),
            Caller::Stranger => "peer=unknown".to_owned(),
        };
        let (remote, version) = (self.bound.remote(), self.document.header.version);
        log::connection(
            &self.id,
            &format!("started from={remote} {caller} document={version}"),
        );
    }
}

/// Watches the directory of a file that is replaced by rename.
fn watch(file: &Path) -> nix::Result<Inotify> {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    changes.add_watch(file.parent().unwrap_or(file), AddWatchFlags::IN_MOVED_TO)?;
    Ok(changes)
}
