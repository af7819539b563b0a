//! When nodes were last heard of.
//!
//! Streams open and end all the time, and after a restart all at once. What they leave behind is
//! written many at a time, and nobody waits for it: a kill loses the last moments of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;
use tokio::sync::{Notify, watch};

use crate::clock::now;
use crate::store::Store;

/// Takes note of nodes that were heard of.
#[derive(Debug, Default)]
pub(crate) struct LastSeen {
    unwritten: Mutex<HashMap<NodeId, Timestamp>>,
    more: Notify,
}

impl LastSeen {
    /// With nothing to write.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A node is heard of now.
    pub(crate) fn note(&self, node: NodeId) {
        let mut unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unwritten.insert(node, now());
        self.more.notify_one();
    }

    /// Writes until `stop` says so.
    pub(crate) async fn run(self: Arc<Self>, store: Store, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.more.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            self.write(&store).await;
        }
    }

    /// Writes what is left.
    pub(crate) async fn write(&self, store: &Store) {
        let nodes = std::mem::take(
            &mut *self
                .unwritten
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if let Err(error) = store.touch_nodes(&nodes).await {
            tracing::warn!(%error, "cannot note when nodes were last seen");
        }
    }
}
