//! Who listens for documents, and when there is something new.
//!
//! Whoever changes the mesh calls [`Hub::request`]; the publisher works once for all requests
//! that came by then, and tells the streams. Nothing queues up: a stream that is slow finds the
//! newest state when it looks again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use tokio::sync::watch;

/// The versions of the two documents that a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Of the peer document.
    pub(crate) peers: Version,
    /// Of the network document.
    pub(crate) network: Version,
}

impl Versions {
    /// Of a node that has no document: the first version is 1.
    pub(crate) const NONE: Self = Self {
        peers: Version(0),
        network: Version(0),
    };
}

/// What a stream is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The publisher has not yet looked at this node.
    Nothing,
    /// These are in the store.
    Newest(Newest),
    /// The node was deleted; these are its last.
    Gone(Newest),
}

/// The newest documents of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    /// Which ones.
    pub(crate) versions: Versions,
    /// The texts of the peer document and the network document, where the publisher has just made
    /// them and they are short: each connected node keeps its last ones here.
    pub(crate) texts: [Option<Arc<str>>; 2],
}

impl Newest {
    /// Whatever is in the store.
    pub(crate) const UNKNOWN: Self = Self {
        versions: Versions {
            peers: Version(u64::MAX),
            network: Version(u64::MAX),
        },
        texts: [None, None],
    };
}

/// The meeting point of changes, publisher and streams.
#[derive(Debug)]
pub(crate) struct Hub {
    listeners: Mutex<Listeners>,
    requested: watch::Sender<u64>,
    finished: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Listeners {
    next: u64,
    by_node: HashMap<NodeId, Listener>,
    /// Those that the publisher has not heard of.
    new: Vec<NodeId>,
}

#[derive(Debug)]
struct Listener {
    number: u64,
    seen: Versions,
    news: watch::Sender<News>,
}

/// A place in the hub; given up when dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    node: NodeId,
    number: u64,
    news: watch::Receiver<News>,
}

impl News {
    fn is_as_new_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::Newest(own), Self::Newest(other)) | (Self::Gone(own), Self::Gone(other)) => {
                own.versions == other.versions
            }
            _ => false,
        }
    }
}

impl Hub {
    /// A hub that nobody listens to.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            listeners: Mutex::default(),
            requested: watch::Sender::new(0),
            finished: watch::Sender::new(0),
        })
    }

    /// Listens for `node`, which has `seen` these versions. An earlier stream of the same node
    /// ends: the node has opened a new one because it no longer reads that.
    pub(crate) fn subscribe(self: &Arc<Self>, node: NodeId, seen: Versions) -> Subscription {
        let (news, receiver) = watch::channel(News::Nothing);
        let number = {
            let mut listeners = self.listeners();
            listeners.next += 1;
            let number = listeners.next;
            listeners
                .by_node
                .insert(node, Listener { number, seen, news });
            listeners.new.push(node);
            number
        };
        self.request();
        Subscription {
            hub: Arc::clone(self),
            node,
            number,
            news: receiver,
        }
    }

    /// Every node with a stream, and what it has seen.
    pub(crate) fn listening(&self) -> Vec<(NodeId, Versions)> {
        let listeners = self.listeners();
        let each = listeners.by_node.iter();
        each.map(|(node, listener)| (*node, listener.seen))
            .collect()
    }

    /// The same of these nodes only.
    pub(crate) fn listening_among(&self, nodes: &BTreeSet<NodeId>) -> Vec<(NodeId, Versions)> {
        let listeners = self.listeners();
        let seen = |node: &NodeId| Some((*node, listeners.by_node.get(node)?.seen));
        nodes.iter().filter_map(seen).collect()
    }

    /// The publisher's end: the nodes that have opened a stream since this was last asked.
    pub(crate) fn take_new(&self) -> Vec<NodeId> {
        std::mem::take(&mut self.listeners().new)
    }

    /// Whether `node` has a stream.
    pub(crate) fn is_listening(&self, node: NodeId) -> bool {
        self.listeners().by_node.contains_key(&node)
    }

    /// Tells the stream of `node`, if there is one.
    pub(crate) fn tell(&self, node: NodeId, news: News) {
        if let Some(listener) = self.listeners().by_node.get(&node) {
            listener.news.send_if_modified(|old| {
                let is_new = !old.is_as_new_as(&news);
                if is_new {
                    *old = news;
                }
                is_new
            });
        }
    }

    /// Asks for a round of the publisher; the number to wait for.
    pub(crate) fn request(&self) -> u64 {
        let mut number = 0;
        self.requested.send_modify(|requested| {
            *requested += 1;
            number = *requested;
        });
        number
    }

    /// Waits until a round that began after request `number` has ended; false after `patience`.
    pub(crate) async fn finished(&self, number: u64, patience: Duration) -> bool {
        let mut finished = self.finished.subscribe();
        let reached = finished.wait_for(|finished| *finished >= number);
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }

    /// The publisher's end: the newest request.
    pub(crate) fn requests(&self) -> watch::Receiver<u64> {
        self.requested.subscribe()
    }

    /// The publisher's end: all requests up to `number` are dealt with.
    pub(crate) fn finish(&self, number: u64) {
        self.finished.send_replace(number);
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The newest news, once there are some that were not returned before; none when another
    /// stream of the node has taken this one's place.
    pub(crate) async fn next(&mut self) -> Option<News> {
        self.news.changed().await.ok()?;
        Some(self.news.borrow_and_update().clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut listeners = self.hub.listeners();
        let is_own = |listener: &Listener| listener.number == self.number;
        if listeners.by_node.get(&self.node).is_some_and(is_own) {
            listeners.by_node.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn newest(version: u64) -> News {
        News::Newest(Newest {
            versions: Versions {
                peers: Version(version),
                network: Version(version),
            },
            texts: [None, None],
        })
    }

    #[tokio::test]
    async fn a_slow_stream_finds_the_newest_state_only() {
        let hub = Hub::new();
        let mut subscription = hub.subscribe(NODE, Versions::NONE);
        hub.tell(NODE, newest(1));
        hub.tell(NODE, newest(2));
        assert_eq!(subscription.next().await, Some(newest(2)));
        hub.tell(NODE, newest(2));
        let more = tokio::time::timeout(Duration::ZERO, subscription.next()).await;
        assert!(more.is_err(), "nothing new is no news");
    }

    #[tokio::test]
    async fn a_new_stream_takes_the_place_of_the_old_one() {
        let hub = Hub::new();
        let mut old = hub.subscribe(NODE, Versions::NONE);
        let new = hub.subscribe(NODE, Versions::NONE);
        assert_eq!(old.next().await, None);
        drop(old);
        assert!(hub.is_listening(NODE));
        drop(new);
        assert!(!hub.is_listening(NODE));
    }

    #[tokio::test]
    async fn a_request_is_finished_by_a_round_that_began_after_it() {
        let hub = Hub::new();
        let number = hub.request();
        hub.finish(number - 1);
        assert!(!hub.finished(number, Duration::ZERO).await);
        hub.finish(number);
        assert!(hub.finished(number, Duration::from_secs(5)).await);
    }
}
