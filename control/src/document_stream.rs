//! The stream of documents that a node follows: server-sent events with resumption.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::keyring::KeyRotation;

use crate::clock::now;
use crate::hub::{Newest, News, Subscription, Versions};
use crate::node_server::NodeServer;
use crate::problem::ApiError;
use crate::store::{Kind, Store, StoreError};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Versions count up by one, so that no honest node has seen a greater one (2^53, the greatest
/// that every JSON reader keeps exact).
const MAX_VERSION: u64 = 1 << 53;

/// The versions that a node says that it has, from the header of the same name.
pub(crate) struct LastEventId;

impl LastEventId {
    /// Reads `PEERS.NETWORK`; no header means that the node has seen nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Versions, ApiError> {
        let Some(value) = headers.get("last-event-id") else {
            return Ok(Versions::NONE);
        };
        let parsed = value.to_str().ok().and_then(parse);
        parsed.ok_or_else(|| {
            ApiError::Malformed("Last-Event-ID is not PEERS.NETWORK, two versions".to_owned())
        })
    }
}

fn parse(text: &str) -> Option<Versions> {
    let version = |text: &str| {
        let number: u64 = text.parse().ok()?;
        (number <= MAX_VERSION).then_some(Version(number))
    };
    let (peers, network) = text.split_once('.')?;
    Some(Versions {
        peers: version(peers)?,
        network: version(network)?,
    })
}

/// Everything that is newer than `seen`, now and from now on.
pub(crate) fn open(server: Arc<NodeServer>, node: NodeId, seen: Versions) -> Response {
    let subscription = server.hub.subscribe(node, seen);
    // The node has seen control's identity a moment ago: what it may have missed is the newest.
    let rotations = server.signer.current().rotations.len().saturating_sub(1);
    let follower = Follower {
        server,
        subscription,
        node,
        seen,
        rotations,
        ready: VecDeque::new(),
        ended: false,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    Sse::new(events(follower))
        .keep_alive(keep_alive)
        .into_response()
}

/// What a deleted node has not yet heard: its final documents, as a stream that ends; then
/// [`ApiError::Gone`].
pub(crate) async fn last_words(
    server: &NodeServer,
    node: NodeId,
    mut seen: Versions,
) -> Result<Response, ApiError> {
    let events = newer(&server.store, node, &mut seen, Newest::UNKNOWN).await?;
    if events.is_empty() {
        return Err(ApiError::Gone);
    }
    let events = events.into_iter().map(Ok::<_, Infallible>);
    Ok(Sse::new(stream::iter(events)).into_response())
}

struct Follower {
    server: Arc<NodeServer>,
    subscription: Subscription,
    node: NodeId,
    seen: Versions,
    /// How many rotations of the key it has been told of.
    rotations: usize,
    ready: VecDeque<Event>,
    ended: bool,
}

fn events(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let mut stop = self.server.stop.clone();
            let news = tokio::select! {
                news = self.subscription.next() => news?,
                _ = stop.wait_for(|stop| *stop) => return None,
            };
            let newest = match news {
                News::Nothing => continue,
                News::Newest(newest) => newest,
                News::Gone(newest) => {
                    self.ended = true;
                    newest
                }
            };
            match newer(&self.server.store, self.node, &mut self.seen, newest).await {
                Ok(events) => {
                    // The key that has signed these has taken its place before.
                    self.ready = self.new_rotations();
                    self.ready.extend(events);
                }
                Err(error) => {
                    tracing::error!(node = %self.node, %error, "a stream ended");
                    return None;
                }
            }
        }
    }

    fn new_rotations(&mut self) -> VecDeque<Event> {
        let signing = self.server.signer.current();
        let new = signing.rotations.iter().skip(self.rotations);
        self.rotations = signing.rotations.len();
        new.map(|rotation| {
            let event = Event::default().event(KeyRotation::KIND);
            event.data(&rotation.signed)
        })
        .collect()
    }
}

impl Drop for Follower {
    /// The node was heard of up to now.
    fn drop(&mut self) {
        self.server.last_seen.note(self.node);
    }
}

/// The documents that are newer than `seen`, which follows: as they were handed over, or from the
/// store. Peers come first: what they take away must end before anything else is done.
async fn newer(
    store: &Store,
    node: NodeId,
    seen: &mut Versions,
    newest: Newest,
) -> Result<VecDeque<Event>, StoreError> {
    let versions = newest.versions;
    let [peers, network] = newest.texts;
    let new = [
        (Kind::Peers, seen.peers, versions.peers, peers),
        (Kind::Network, seen.network, versions.network, network),
    ];
    let new = new.into_iter().filter(|(_, seen, newest, _)| seen < newest);
    let handed: Option<Vec<_>> = new
        .map(|(kind, _, version, text)| Some((kind, version, text?)))
        .collect();
    let documents = match handed {
        Some(documents) => documents,
        None => store.newer_documents(node, *seen, now()).await?,
    };
    let event = |(kind, version, text): (Kind, Version, Arc<str>)| {
        match kind {
            Kind::Peers => seen.peers = version,
            Kind::Network => seen.network = version,
        }
        let id = format!("{}.{}", seen.peers, seen.network);
        Event::default().event(kind.name()).id(id).data(text)
    };
    Ok(documents.into_iter().map(event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_id_is_two_versions() {
        let versions = parse("3.14").expect("two versions");
        assert_eq!(
            (versions.peers, versions.network),
            (Version(3), Version(14))
        );
        for text in ["", "3", "3.", "a.b", "1.2.3", "-1.2", "9007199254740993.1"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
