//! The one task that makes documents.
//!
//! Only nodes with a stream get theirs, when something has changed that concerns them, or when
//! they open the stream. A deleted node gets its last ones whether or not it listens, so that it
//! can still fetch them: the peer document at once, the network document a moment later.

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
use crate::farewell::Leaving;
use crate::hub::{Hub, News, Versions};
use crate::issue::{Draft, Occasion, PeerDigests, Terms, issue, renewal};
use crate::store::{Issued, Kind, NodeRow, Sealed, Store, StoreError, StoredPolicy};

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
    /// Members, and the deleted nodes that are in the network for a moment longer.
    nodes: Nodes,
    leaving: Leaving,
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
        let now = now();
        let mesh = self.read_mesh(now).await?;
        let mut issued = match self.issued.take() {
            Some(issued) => issued,
            None => {
                self.store.forget_expired(now).await?;
                self.store.issued().await?
            }
        };
        let settings = &self.settings;
        let sealed = tokio::task::block_in_place(|| compose(&mesh, &issued, settings, now))?;
        let farewells = mesh.leaving.farewells();
        if !sealed.is_empty() || !farewells.is_empty() {
            self.store.save_documents(&sealed, &farewells).await?;
            tracing::debug!(documents = sealed.len(), "issued documents");
        }
        for document in sealed {
            issued.insert((document.node, document.kind), document.issued);
        }
        self.tell(&mesh, &issued);
        let pause = until_next(&mesh, &issued, now);
        self.issued = Some(issued);
        Ok(pause)
    }

    async fn read_mesh(&mut self, now: Timestamp) -> Result<Mesh, RoundError> {
        let listening = self.hub.listening();
        let snapshot = self.store.snapshot().await?;
        self.take_policy(snapshot.policy)?;
        let users = &snapshot.users;
        let domains = &self.settings.login_domains;
        let members = snapshot.members.into_iter();
        let members: Nodes = members.map(|node| (node.id, node)).collect();
        let ssh = topology(users, members.values(), domains);
        let leaving = Leaving::at(snapshot.leaving, &members, now);
        let mut nodes = members;
        nodes.extend(leaving.staying.clone());
        let network = topology(users, nodes.values(), domains);
        let network = (!leaving.staying.is_empty()).then_some(&network);

        let ids = listening.iter().map(|(node, _)| *node);
        let ids: Vec<NodeId> = ids.filter(|node| nodes.contains_key(node)).collect();
        let policy = self.policy.as_mut().map(|(_, policy)| policy);
        let views =
            tokio::task::block_in_place(|| policy.map(|policy| policy.views(&ids, ssh, network)));
        Ok(Mesh {
            nodes,
            leaving,
            views: views.unwrap_or_default(),
            listening,
        })
    }

    /// Reads the policy if it is another one than in the last round.
    fn take_policy(&mut self, stored: Option<StoredPolicy>) -> Result<(), RoundError> {
        let stored = stored.ok_or_else(|| StoreError::Content("no policy".to_owned()))?;
        if self.policy.as_ref().is_none_or(|(id, _)| *id != stored.id) {
            self.policy = Some((stored.id, Engine::parse(&stored.text)?));
        }
        Ok(())
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
            batch.add(node, view, *seen)?;
        }
    }
    batch.say_farewell()?;
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
    /// What has changed for a node that listens.
    fn add(
        &mut self,
        node: &NodeRow,
        view: &View,
        seen: Versions,
    ) -> Result<(), serde_json::Error> {
        if !self.mesh.leaving.unheard.contains(&node.id) {
            let peers = peer_document(node, view, &self.mesh.nodes);
            self.issue(peers, seen.peers, Occasion::Change)?;
        }
        let network = network_document(node, view, &self.mesh.nodes, self.domain);
        self.issue(network, seen.network, Occasion::Change)
    }

    /// The last documents of deleted nodes, whether or not they listen.
    fn say_farewell(&mut self) -> Result<(), serde_json::Error> {
        let (mesh, nothing) = (self.mesh, View::default());
        let leaving = &mesh.leaving;
        for id in &leaving.unheard {
            let node = leaving.staying.get(id).or_else(|| leaving.ending.get(id));
            if let Some(node) = node {
                let peers = peer_document(node, &nothing, &mesh.nodes);
                self.issue(peers, self.seen(*id).peers, Occasion::Deletion)?;
            }
        }
        for node in leaving.ending.values() {
            let network = network_document(node, &nothing, &mesh.nodes, self.domain);
            self.issue(network, self.seen(node.id).network, Occasion::Deletion)?;
        }
        Ok(())
    }

    fn seen(&self, node: NodeId) -> Versions {
        let listening = self.mesh.listening.iter().find(|(id, _)| *id == node);
        listening.map_or(Versions::NONE, |(_, seen)| *seen)
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

/// How long until a deleted node's time is over, or the first document of a listening node is due.
fn until_next(mesh: &Mesh, issued: &HashMap<(NodeId, Kind), Issued>, now: Timestamp) -> Duration {
    let due = mesh
        .views
        .keys()
        .flat_map(|node| [(*node, Kind::Peers), (*node, Kind::Network)])
        .filter_map(|key| issued.get(&key).map(renewal));
    let first = due.chain(mesh.leaving.next_end).min();
    let seconds = first.map_or(LONGEST_SLEEP, |due| due.0.saturating_sub(now.0));
    Duration::from_secs(seconds.clamp(1, LONGEST_SLEEP))
}
