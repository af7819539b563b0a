//! The one task that makes documents.
//!
//! Only nodes with a stream get theirs, when something has changed that concerns them, or when
//! they open the stream. A deleted node gets its last ones whether or not it listens, so that it
//! can still fetch them: the peer document at once, the network document a moment later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;
use tokio::sync::watch;
use tokio::task::block_in_place;

use crate::agenda::Agenda;
use crate::clock::now;
use crate::compose::{Outline, View, network_document, peer_document};
use crate::hub::{Hub, Newest, News, Versions};
use crate::issue::{Draft, Occasion, Terms, issue, renewal};
use crate::mesh::{Affected, Mesh, MeshError};
use crate::signer::{Signer, Signing};
use crate::store::{Issued, Kind, NodeRow, Sealed, Store};

/// After a failed round.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that the wall clock goes unobserved, since it may be set.
const LONGEST_SLEEP: u64 = 60;
/// For how many nodes documents are made before they are stored and the nodes hear of them.
const AT_ONCE: usize = 256;
/// Up to this length, in bytes, a text is handed to the stream; others wait in the store.
const SHORT: usize = 4_096;

/// What the documents depend on beside the mesh itself.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Signs them.
    pub(crate) signer: Arc<Signer>,
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
    /// Empty means that it must be read again.
    state: Option<State>,
}

/// Texts of documents that were just made.
type Texts = HashMap<(NodeId, Kind), Arc<str>>;

/// What is known from round to round.
struct State {
    /// The key of the newest documents.
    signing: Arc<Signing>,
    mesh: Mesh,
    /// As in the store.
    issued: HashMap<(NodeId, Kind), Issued>,
    /// Of the nodes that have listened.
    agenda: Agenda,
}

impl Publisher {
    /// A publisher for the streams of `hub`.
    pub(crate) fn new(store: Store, hub: Arc<Hub>, settings: Settings) -> Self {
        Self {
            store,
            hub,
            settings,
            state: None,
        }
    }

    /// Works until `stop` says so.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut requests = self.hub.requests();
        loop {
            let request = *requests.borrow_and_update();
            // A round that fails leaves no state: what was stored is uncertain then, and a version
            // must never go back.
            let pause = match self.round().await {
                Ok(pause) => {
                    self.hub.finish(request);
                    pause
                }
                Err(error) => {
                    tracing::error!(%error, "no documents could be made; trying again");
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
    async fn round(&mut self) -> Result<Duration, MeshError> {
        let now = now();
        let new = self.hub.take_new();
        let signing = self.settings.signer.current();
        let (mut state, affected) = match self.state.take() {
            Some(mut state) => {
                let affected = state.mesh.update(&self.store, now).await?;
                let is_same_key = Arc::ptr_eq(&state.signing, &signing);
                state.signing = signing;
                match is_same_key {
                    true => (state, affected),
                    false => (state, Affected::Everybody),
                }
            }
            None => (self.read(signing, now).await?, Affected::Everybody),
        };
        let due = state.agenda.take_due(now);
        let concerned = match affected {
            Affected::Everybody => self.hub.listening(),
            Affected::Nodes(mut nodes) => {
                nodes.extend(new.into_iter().chain(due));
                self.hub.listening_among(&nodes)
            }
        };
        self.say_farewell(&mut state, now).await?;
        for some in concerned.chunks(AT_ONCE) {
            let mut batch = Batch::new(&state, &self.settings, now);
            block_in_place(|| some.iter().try_for_each(|(id, seen)| batch.add(*id, *seen)))?;
            let sealed = batch.sealed;
            if !sealed.is_empty() {
                self.store.save_documents(&sealed, &[]).await?;
                tracing::debug!(documents = sealed.len(), "issued documents");
            }
            let texts = short_texts(&sealed);
            state.note(sealed);
            self.tell(&mut state, some, &texts);
        }
        let pause = state.until_next(now);
        self.state = Some(state);
        Ok(pause)
    }

    async fn read(&self, signing: Arc<Signing>, now: Timestamp) -> Result<State, MeshError> {
        self.store.forget_expired(now).await?;
        let domains = self.settings.login_domains.clone();
        Ok(State {
            signing,
            mesh: Mesh::read(&self.store, domains, now).await?,
            issued: self.store.issued().await?,
            agenda: Agenda::default(),
        })
    }

    /// Makes the last documents of deleted nodes, whether or not they listen.
    async fn say_farewell(&self, state: &mut State, now: Timestamp) -> Result<(), MeshError> {
        let leaving = &state.mesh.leaving;
        let farewells = leaving.farewells();
        if farewells.is_empty() {
            return Ok(());
        }
        let nodes: BTreeSet<NodeId> = farewells.iter().map(|(node, _)| *node).collect();
        let seen: HashMap<NodeId, Versions> =
            self.hub.listening_among(&nodes).into_iter().collect();
        let seen = |node: NodeId| seen.get(&node).copied().unwrap_or(Versions::NONE);
        let mut batch = Batch::new(state, &self.settings, now);
        for id in &leaving.unheard {
            let node = leaving.staying.get(id).or_else(|| leaving.ending.get(id));
            if let Some(node) = node {
                batch.end_rights(node, seen(*id).peers)?;
            }
        }
        for node in leaving.ending.values() {
            batch.end_network(node, seen(node.id).network)?;
        }
        let sealed = batch.sealed;
        self.store.save_documents(&sealed, &farewells).await?;
        state.note(sealed);
        Ok(())
    }

    fn tell(&self, state: &mut State, concerned: &[(NodeId, Versions)], texts: &Texts) {
        for (node, _) in concerned {
            let text = |kind| texts.get(&(*node, kind)).cloned();
            let version = |kind| {
                state
                    .issued
                    .get(&(*node, kind))
                    .map(|issued| issued.version)
            };
            let versions = Versions {
                peers: version(Kind::Peers).unwrap_or(Versions::NONE.peers),
                network: version(Kind::Network).unwrap_or(Versions::NONE.network),
            };
            let newest = Newest {
                versions,
                texts: [text(Kind::Peers), text(Kind::Network)],
            };
            let news = match state.mesh.nodes.contains_key(node) {
                true => News::Newest(newest),
                false => News::Gone(newest),
            };
            self.hub.tell(*node, news);
            state.put_on_agenda(*node);
        }
    }
}

fn short_texts(sealed: &[Sealed]) -> Texts {
    let short = sealed.iter().filter(|one| one.text.len() <= SHORT);
    short
        .map(|one| ((one.node, one.kind), Arc::clone(&one.text)))
        .collect()
}

impl State {
    fn note(&mut self, sealed: Vec<Sealed>) {
        for document in sealed {
            let key = (document.node, document.kind);
            self.issued.insert(key, document.issued);
        }
    }

    fn put_on_agenda(&mut self, node: NodeId) {
        if self.mesh.nodes.contains_key(&node) {
            let both = [Kind::Peers, Kind::Network].into_iter();
            let due = both.filter_map(|kind| self.issued.get(&(node, kind)).map(renewal));
            if let Some(first) = due.min() {
                self.agenda.set(node, first);
            }
        }
    }

    /// How long until a deleted node's time is over, or the first document is due.
    fn until_next(&self, now: Timestamp) -> Duration {
        let ends = self.mesh.leaving.next_end;
        let first = self.agenda.first().into_iter().chain(ends).min();
        let seconds = first.map_or(LONGEST_SLEEP, |due| due.0.saturating_sub(now.0));
        Duration::from_secs(seconds.clamp(1, LONGEST_SLEEP))
    }
}

/// The documents that differ from the newest ones, signed.
struct Batch<'a> {
    mesh: &'a Mesh,
    issued: &'a HashMap<(NodeId, Kind), Issued>,
    terms: Terms<'a>,
    domain: &'a str,
    sealed: Vec<Sealed>,
}

impl<'a> Batch<'a> {
    fn new(state: &'a State, settings: &'a Settings, now: Timestamp) -> Self {
        Self {
            mesh: &state.mesh,
            issued: &state.issued,
            terms: Terms {
                key: &state.signing.key,
                now,
                lifetime: settings.lifetime,
                digests: &state.mesh.digests,
            },
            domain: &settings.domain,
            sealed: Vec::new(),
        }
    }

    /// What has changed for a node that listens.
    fn add(&mut self, id: NodeId, seen: Versions) -> Result<(), serde_json::Error> {
        let mesh = self.mesh;
        let Some(node) = mesh.nodes.get(&id) else {
            return Ok(());
        };
        let view = mesh.view(id);
        if !mesh.leaving.staying.contains_key(&id) {
            let peers = peer_document(node, &view, &mesh.nodes);
            self.issue(peers, seen.peers, Occasion::Change)?;
        }
        let network = network_document(node, &view, &mesh.nodes, self.domain);
        self.issue(network, seen.network, Occasion::Change)
    }

    /// The last peer document of a deleted node.
    fn end_rights(&mut self, node: &NodeRow, seen: Version) -> Result<(), serde_json::Error> {
        let peers = peer_document(node, &View::default(), &self.mesh.nodes);
        self.issue(peers, seen, Occasion::Deletion)
    }

    /// The last network document of a deleted node.
    fn end_network(&mut self, node: &NodeRow, seen: Version) -> Result<(), serde_json::Error> {
        let network = network_document(node, &View::default(), &self.mesh.nodes, self.domain);
        self.issue(network, seen, Occasion::Deletion)
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
