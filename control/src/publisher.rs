//! The one task that makes documents.
//!
//! Only nodes with a stream get theirs, when something has changed that concerns them, or when
//! they open the stream. A deleted node gets its last ones whether or not it listens, so that it
//! can still fetch them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::key::PrivateKey;
use meshd_contract::time::Timestamp;
use thiserror::Error;
use tokio::sync::watch;

use crate::clock::now;
use crate::compose::{Nodes, Outline, View, network_document, peer_document};
use crate::engine::{Engine, PolicyError, topology};
use crate::hub::{Hub, News, Versions};
use crate::issue::{Draft, Occasion, PeerDigests, Terms, issue, renewal};
use crate::store::{Issued, Kind, NodeRow, Sealed, Store, StoreError};

/// After a failed round.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that the wall clock goes unobserved, since it may be set.
const LONGEST_SLEEP: u64 = 60;

/// What the documents depend on beside the mesh itself.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Signs them.
    pub(crate) key: PrivateKey,
    /// The domain of node names.
    pub(crate) domain: String,
    /// The e-mail domains that belong to this mesh.
    pub(crate) login_domains: Vec<String>,
    /// How long a document counts, in seconds.
    pub(crate) lifetime: u64,
}

/// Makes documents and tells the streams.
pub(crate) struct Publisher {
    store: Store,
    hub: Arc<Hub>,
    settings: Settings,
    /// As in the store; empty means that it must be read again.
    issued: Option<HashMap<(NodeId, Kind), Issued>>,
    policy: Option<(u64, Engine)>,
}

/// Why a round failed.
#[derive(Debug, Error)]
enum RoundError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stored policy cannot be read by this release; save it anew: {0}")]
    Policy(#[from] PolicyError),
    #[error("a document cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What a round is about.
struct Mesh {
    nodes: Nodes,
    deleted: Vec<NodeRow>,
    views: BTreeMap<NodeId, View>,
    listening: Vec<(NodeId, Versions)>,
}

impl Publisher {
    /// A publisher for the streams of `hub`.
    pub(crate) fn new(store: Store, hub: Arc<Hub>, settings: Settings) -> Self {
        Self {
            store,
            hub,
            settings,
            issued: None,
            policy: None,
        }
    }

    /// Works until `stop` says so.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut requests = self.hub.requests();
        loop {
            let request = *requests.borrow_and_update();
            let pause = match self.round().await {
                Ok(pause) => {
                    self.hub.finish(request);
                    pause
                }
                Err(error) => {
                    tracing::error!(%error, "no documents could be made; trying again");
                    // What was stored is uncertain now, and a version must never go back.
                    self.issued = None;
                    tokio::time::sleep(RETRY).await;
                    Duration::ZERO
                }
            };
            tokio::select! {
                _ = requests.changed() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Brings every listening node up to date; how long to sleep if nothing changes.
    async fn round(&mut self) -> Result<Duration, RoundError> {
        let mesh = self.read_mesh().await?;
        let mut issued = match self.issued.take() {
            Some(issued) => issued,
            None => {
                self.store.forget_expired(now()).await?;
                self.store.issued().await?
            }
        };
        let now = now();
        let settings = &self.settings;
        let sealed = tokio::task::block_in_place(|| compose(&mesh, &issued, settings, now))?;
        let finished: Vec<NodeId> = mesh.deleted.iter().map(|node| node.id).collect();
        if !sealed.is_empty() || !finished.is_empty() {
            self.store.save_documents(&sealed, &finished).await?;
            tracing::debug!(documents = sealed.len(), "issued documents");
        }
        for document in sealed {
            issued.insert((document.node, document.kind), document.issued);
        }
        self.tell(&mesh, &issued);
        let pause = until_renewal(&mesh, &issued, now);
        self.issued = Some(issued);
        Ok(pause)
    }

    async fn read_mesh(&mut self) -> Result<Mesh, RoundError> {
        let listening = self.hub.listening();
        let deleted = self.store.unfinished_nodes().await?;
        let nodes = self.store.nodes().await?;
        let users = self.store.users().await?;
        let topology = topology(&users, &nodes, &self.settings.login_domains);
        let nodes: Nodes = nodes.into_iter().map(|node| (node.id, node)).collect();
        let ids = listening.iter().map(|(node, _)| *node);
        let ids: Vec<NodeId> = ids.filter(|node| nodes.contains_key(node)).collect();
        let policy = self.policy().await?;
        let views = tokio::task::block_in_place(|| policy.views(&topology, &ids));
        Ok(Mesh {
            nodes,
            deleted,
            views,
            listening,
        })
    }

    async fn policy(&mut self) -> Result<&Engine, RoundError> {
        let stored = self.store.policy().await?;
        let stored = stored.ok_or_else(|| StoreError::Content("no policy".to_owned()))?;
        let current = match self.policy.take() {
            Some((id, engine)) if id == stored.id => (id, engine),
            _ => (stored.id, Engine::parse(&stored.text)?),
        };
        Ok(&self.policy.insert(current).1)
    }

    fn tell(&self, mesh: &Mesh, issued: &HashMap<(NodeId, Kind), Issued>) {
        for (node, _) in &mesh.listening {
            let version = |kind| issued.get(&(*node, kind)).map(|issued| issued.version);
            let versions = Versions {
                peers: version(Kind::Peers).unwrap_or(Versions::NONE.peers),
                network: version(Kind::Network).unwrap_or(Versions::NONE.network),
            };
            let news = match mesh.nodes.contains_key(node) {
                true => News::Newest(versions),
                false => News::Gone(versions),
            };
            self.hub.tell(*node, news);
        }
    }
}

/// The documents that differ from the newest ones, signed.
fn compose(
    mesh: &Mesh,
    issued: &HashMap<(NodeId, Kind), Issued>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Vec<Sealed>, serde_json::Error> {
    let terms = Terms {
        key: &settings.key,
        now,
        lifetime: settings.lifetime,
        digests: &PeerDigests::of(&mesh.nodes)?,
    };
    let mut batch = Batch {
        mesh,
        issued,
        terms,
        domain: &settings.domain,
        sealed: Vec::new(),
    };
    for (id, seen) in &mesh.listening {
        if let (Some(node), Some(view)) = (mesh.nodes.get(id), mesh.views.get(id)) {
            batch.add(node, view, *seen, Occasion::Change)?;
        }
    }
    for node in &mesh.deleted {
        let seen = mesh.listening.iter().find(|(id, _)| *id == node.id);
        let seen = seen.map_or(Versions::NONE, |(_, seen)| *seen);
        batch.add(node, &View::default(), seen, Occasion::Deletion)?;
    }
    Ok(batch.sealed)
}

struct Batch<'a> {
    mesh: &'a Mesh,
    issued: &'a HashMap<(NodeId, Kind), Issued>,
    terms: Terms<'a>,
    domain: &'a str,
    sealed: Vec<Sealed>,
}

impl Batch<'_> {
    fn add(
        &mut self,
        node: &NodeRow,
        view: &View,
        seen: Versions,
        occasion: Occasion,
    ) -> Result<(), serde_json::Error> {
        let peers = peer_document(node, view, &self.mesh.nodes);
        self.issue(peers, seen.peers, occasion)?;
        let network = network_document(node, view, &self.mesh.nodes, self.domain);
        self.issue(network, seen.network, occasion)
    }

    fn issue<D: Draft>(
        &mut self,
        outline: Outline<'_, D>,
        seen: Version,
        occasion: Occasion,
    ) -> Result<(), serde_json::Error> {
        let key = (outline.document.header().node, D::DOCUMENT_KIND);
        let newest = self.issued.get(&key);
        let sealed = issue(outline, newest, seen, occasion, &self.terms)?;
        self.sealed.extend(sealed);
        Ok(())
    }
}

/// How long until the first document of a listening node is due.
fn until_renewal(
    mesh: &Mesh,
    issued: &HashMap<(NodeId, Kind), Issued>,
    now: Timestamp,
) -> Duration {
    let first = mesh
        .views
        .keys()
        .flat_map(|node| [(*node, Kind::Peers), (*node, Kind::Network)])
        .filter_map(|key| issued.get(&key).map(renewal))
        .min();
    let seconds = first.map_or(LONGEST_SLEEP, |due| due.0.saturating_sub(now.0));
    Duration::from_secs(seconds.clamp(1, LONGEST_SLEEP))
}
