//! An owner takes back what was approved, before its time is over.
//!
//! Grants are signed, and kept at the nodes that they are for. So control forgets the approvals,
//! and says in the documents of those nodes which numbers count no more.

use std::time::Duration;

use super::Checks;
use crate::audit::Actor;
use crate::clock::now;
use crate::store::{StoreError, Whose};

/// How long whoever takes back waits until the connected nodes have been told.
const PATIENCE: Duration = Duration::from_secs(10);

impl Checks {
    /// Takes back everything that was approved for logins from these nodes.
    ///
    /// # Errors
    /// [`StoreError`]; refused where there is no such node or user.
    pub(super) async fn take_back(&self, whose: &Whose, by: &Actor) -> Result<(), StoreError> {
        let taken_back = self.store.take_back(whose, now(), by).await?;
        let approvals = taken_back.approvals;
        tracing::info!(?whose, approvals, "what was approved was taken back");
        let request = self.hub.request();
        self.hub.finished(request, PATIENCE).await;
        Ok(())
    }
}
