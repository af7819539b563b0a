//! Ephemeral nodes, which are removed when they have gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::identity::NodeId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::audit::{Actor, action};
use crate::clock::now;
use crate::hub::Hub;
use crate::store::{Store, StoreError};

/// The longest between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Removes those that have been away for too long, as far as this process has seen: nobody could
/// be heard before it ran.
pub(crate) struct Ephemeral {
    store: Store,
    hub: Arc<Hub>,
    timeout: Duration,
    away: Away,
}

impl Ephemeral {
    /// Looks after the nodes of this mesh; `timeout` in seconds.
    pub(crate) fn new(store: Store, hub: Arc<Hub>, timeout: u64) -> Self {
        Self {
            store,
            hub,
            timeout: Duration::from_secs(timeout),
            away: Away::default(),
        }
    }

    /// Works until `stop` says so.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let pause = LONGEST_PAUSE.min(self.timeout / 4);
        loop {
            if let Err(error) = self.remove_gone().await {
                tracing::error!(%error, "ephemeral nodes that have gone were not removed");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn remove_gone(&mut self) -> Result<(), StoreError> {
        let mut absent = self.store.nodes().await?;
        absent.retain(|node| node.ephemeral && !self.hub.is_listening(node.id));
        let ids = absent.iter().map(|node| node.id);
        let gone = self.away.look(ids, self.timeout, Instant::now());
        for node in absent.iter().filter(|node| gone.contains(&node.id)) {
            self.store
                .delete_node(node.id, now(), &Actor::Control, action::NODE_GONE)
                .await?;
            tracing::info!(node = %node.id, name = %node.name, "an ephemeral node has gone");
            self.hub.request();
        }
        Ok(())
    }
}

/// Since when each absent node is known to be away.
#[derive(Default)]
struct Away(HashMap<NodeId, Instant>);

impl Away {
    /// Takes note of who is absent now; those that have been for this long.
    fn look(
        &mut self,
        absent: impl Iterator<Item = NodeId>,
        timeout: Duration,
        now: Instant,
    ) -> Vec<NodeId> {
        let since = |id| (id, self.0.get(&id).copied().unwrap_or(now));
        self.0 = absent.map(since).collect();
        let gone = |(id, since): (&NodeId, &Instant)| (now - *since >= timeout).then_some(*id);
        self.0.iter().filter_map(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_begins_anew() {
        let timeout = Duration::from_secs(10);
        let (begin, one) = (Instant::now(), NodeId(1));
        let mut away = Away::default();
        let mut look = |absent: &[NodeId], seconds| {
            let now = begin + Duration::from_secs(seconds);
            away.look(absent.iter().copied(), timeout, now)
        };
        assert_eq!(look(&[one], 0), []);
        assert_eq!(look(&[one], 9), []);
        assert_eq!(look(&[], 10), []);
        assert_eq!(look(&[one], 11), []);
        assert_eq!(look(&[one, NodeId(2)], 21), [one]);
    }
}
