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
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::now;
use crate::hub::{News, Subscription, Versions};
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
    let follower = Follower {
        store: server.store.clone(),
        stop: server.stop.clone(),
        subscription,
        node,
        seen,
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
    let events = newer(&server.store, node, &mut seen).await?;
    if events.is_empty() {
        return Err(ApiError::Gone);
    }
    let events = events.into_iter().map(Ok::<_, Infallible>);
    Ok(Sse::new(stream::iter(events)).into_response())
}

struct Follower {
    store: Store,
    stop: watch::Receiver<bool>,
    subscription: Subscription,
    node: NodeId,
    seen: Versions,
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
            let news = tokio::select! {
                news = self.subscription.next() => news?,
                _ = self.stop.wait_for(|stop| *stop) => return None,
            };
            self.ended = matches!(news, News::Gone(_));
            match newer(&self.store, self.node, &mut self.seen).await {
                Ok(events) => self.ready = events,
                Err(error) => {
                    tracing::error!(node = %self.node, %error, "a stream ended");
                    return None;
                }
            }
        }
    }
}

impl Drop for Follower {
    /// The node was heard of up to now.
    fn drop(&mut self) {
        let (store, node) = (self.store.clone(), self.node);
        // A runtime that is ending has no more use for it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.touch_node(node, now()).await {
                    tracing::debug!(%node, %error, "cannot note when a node was last seen");
                }
            });
        }
    }
}

/// The stored documents that are newer than `seen`, which follows. Peers come first: what they
/// take away must end before anything else is done.
async fn newer(
    store: &Store,
    node: NodeId,
    seen: &mut Versions,
) -> Result<VecDeque<Event>, StoreError> {
    let mut events = VecDeque::new();
    for kind in [Kind::Peers, Kind::Network] {
        let than = match kind {
            Kind::Peers => &mut seen.peers,
            Kind::Network => &mut seen.network,
        };
        let Some((version, text)) = store.newer_document(node, kind, *than, now()).await? else {
            continue;
        };
        *than = version;
        let id = format!("{}.{}", seen.peers, seen.network);
        events.push_back(Event::default().event(kind.name()).id(id).data(text));
    }
    Ok(events)
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
