//! What the commands about control's own key do.

use meshd_contract::key::PublicKey;
use meshd_contract::time::Timestamp;

use super::failure::Failure;
use super::operations::Admin;
use super::protocol::{Done, KeyEntry};
use crate::audit::Actor;
use crate::clock::now;

impl Admin {
    /// Puts a new key in the place of the present one.
    pub(super) async fn rotate_key(
        &self,
        overlap_seconds: Option<u64>,
        by: &Actor,
    ) -> Result<Done, Failure> {
        // No document of the present key counts for longer than this.
        let overlap = overlap_seconds.unwrap_or(self.document_lifetime);
        let rotated = self.signer.rotate(&self.store, overlap, now(), by).await;
        let rotation = rotated.map_err(|error| Failure::Broken(error.to_string()))?;
        let (old, new) = (rotation.old_key, rotation.new_key);
        tracing::info!(
            old = old.fingerprint(),
            new = new.fingerprint(),
            "control signs with a new key"
        );
        let message = format!(
            "the key of control is {new} now ({}); the one before it counts for {overlap} s more",
            new.fingerprint()
        );
        let backup = "backups from before hold the old key, which hosts will not believe: make a \
                      new one with `meshd-control backup`";
        Ok(self.published(message, vec![backup.to_owned()]).await)
    }

    /// The keys that control has and had, the oldest first.
    pub(super) fn keys(&self) -> Vec<KeyEntry> {
        let signing = self.signer.current();
        let mut since = None;
        let mut keys = Vec::new();
        for (number, rotation) in signing.rotations.iter().enumerate() {
            let rotation = &rotation.rotation;
            // Of the keys that were replaced only the last one counts.
            let next = signing.rotations.get(number + 1);
            let ends_at = next.map_or(rotation.old_ends_at, |next| {
                next.rotation.issued_at.min(rotation.old_ends_at)
            });
            keys.push(entry(&rotation.old_key, since, Some(ends_at)));
            since = Some(rotation.issued_at);
        }
        keys.push(entry(&signing.key.public(), since, None));
        keys
    }
}

fn entry(key: &PublicKey, since: Option<Timestamp>, ends_at: Option<Timestamp>) -> KeyEntry {
    KeyEntry {
        key: key.to_string(),
        fingerprint: key.fingerprint(),
        since,
        ends_at,
    }
}
