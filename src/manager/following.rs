//! What control says, and what becomes of it.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::control::clock;
use super::control::stream::{self, FromControl, Versions};
use super::daemon::Daemon;
use super::documents::{Change, Documents};
use super::error::Error;
use super::state::{Membership, State};

/// The task that follows the stream of documents; ends when it is dropped.
pub(super) struct Follower {
    versions: watch::Sender<Versions>,
    _task: JoinSet<()>,
}

/// A document that was not taken. The one before it counts on.
pub(super) struct Untaken {
    /// The document, where only this host kept it from being taken.
    text: Option<String>,
    /// Why.
    pub(super) problem: String,
}

impl Untaken {
    fn new(text: &str, error: &Error) -> Self {
        let is_ours = matches!(error, Error::File { .. });
        Self {
            text: is_ours.then(|| text.to_owned()),
            problem: format!("control's newest document was not taken: {error}"),
        }
    }
}

impl Daemon {
    pub(super) fn follow(&mut self, state: &State, membership: &Membership) {
        if self.follower.is_some() {
            return;
        }
        let Ok((server, credentials)) = self.credentials(state, membership) else {
            return;
        };
        let versions = self.documents.as_ref().map(Documents::versions);
        let (versions, seen) = watch::channel(versions.unwrap_or_default());
        let mut task = JoinSet::new();
        task.spawn(stream::follow(
            server,
            credentials,
            seen,
            self.to_here.clone(),
        ));
        self.follower = Some(Follower {
            versions,
            _task: task,
        });
    }

    /// Leaves the stream; what it has brought is still taken.
    pub(super) fn stop_following(&mut self) {
        self.follower = None;
        self.connected = false;
    }

    pub(super) async fn control_says(&mut self, message: FromControl) {
        match message {
            FromControl::Connected => {
                tracing::info!("control is connected");
                self.connected = true;
                self.away = None;
                self.report_at = Instant::now();
                self.report().await;
                self.tell_logins_soon();
            }
            FromControl::Disconnected(error) => {
                let sentence = error.to_string();
                if self.away.as_ref() != Some(&sentence) {
                    tracing::warn!(error = sentence, "control is away");
                }
                self.connected = false;
                self.away = Some(sentence);
            }
            FromControl::Document { kind, text } => self.take_document(&kind, &text).await,
            FromControl::Gone(reason) => self.gone(&reason).await,
        }
    }

    async fn take_document(&mut self, kind: &str, text: &str) {
        let Some(documents) = &mut self.documents else {
            return;
        };
        let before = self.untaken.remove(kind);
        match documents.take(kind, text, clock::now()) {
            Ok(Change::None) => return,
            Ok(Change::Peers) => self.service.connections.look(),
            Ok(Change::Network) => {}
            Ok(Change::Keys) => {
                self.set_contact();
                if let Some(mesh) = &self.mesh {
                    mesh.tell_of_keys();
                }
                return;
            }
            Err(error) => {
                let untaken = Untaken::new(text, &error);
                if before.is_none_or(|before| before.problem != untaken.problem) {
                    tracing::warn!(kind, %error, "a document was not taken");
                }
                self.untaken.insert(kind.to_owned(), untaken);
                return;
            }
        }
        let versions = documents.versions();
        tracing::info!(
            kind,
            peers = versions.peers.map(|version| version.0),
            network = versions.network.map(|version| version.0),
            "a document was taken"
        );
        if let Some(follower) = &self.follower {
            follower.versions.send_replace(versions);
        }
        self.refresh().await;
    }

    /// Tries again what there was no room for: control sends a document once.
    pub(super) async fn take_untaken(&mut self) {
        let waiting = self.untaken.iter();
        let waiting: Vec<_> = waiting
            .filter_map(|(kind, untaken)| Some((kind.clone(), untaken.text.clone()?)))
            .collect();
        for (kind, text) in waiting {
            self.take_document(&kind, &text).await;
        }
    }

    /// The node was deleted: its final documents are on the disk by now, where the workers see
    /// them.
    async fn gone(&mut self, reason: &str) {
        tracing::error!(reason, "this host is no node any more: mesh up joins again");
        if let Err(error) = self.forget().await {
            tracing::error!(%error, "what is left of the mesh was not removed");
        }
        self.problem = Some(format!("control has removed this node: {reason}"));
    }
}
