//! What the commands do with the keys of programs.

use std::collections::BTreeSet;

use super::failure::Failure;
use super::operations::Admin;
use super::protocol::{ApiKeyWish, Done, NewKey};
use crate::api::Scope;
use crate::audit::Actor;
use crate::auth_key::{Secret, SecretHash};
use crate::clock::now;

impl Admin {
    /// Makes an API key.
    pub(super) async fn create_api_key(
        &self,
        wish: &ApiKeyWish,
        by: &Actor,
    ) -> Result<NewKey, Failure> {
        let scopes: BTreeSet<Scope> = wish.scopes.iter().copied().collect();
        if scopes.is_empty() {
            return Err(Failure::Unfit("give at least one --scope".to_owned()));
        }
        let scopes: Vec<Scope> = scopes.into_iter().collect();
        let secret = Secret::for_program()?;
        let hash = SecretHash::of(secret.expose());
        let now = now();
        let expires_at = now.plus(wish.expires_in_seconds);
        let id = self
            .store
            .create_api_key(&hash, &scopes, expires_at, now, by)
            .await?;
        tracing::info!(id, %by, "an API key was created");
        Ok(NewKey {
            id,
            secret: secret.expose().to_owned(),
        })
    }

    /// Removes an API key, at once.
    pub(super) async fn delete_api_key(&self, id: u64, by: &Actor) -> Result<Done, Failure> {
        self.store.delete_api_key(id, now(), by).await?;
        tracing::info!(id, %by, "an API key was deleted");
        Ok(Done {
            message: format!("deleted API key {id}"),
            warnings: Vec::new(),
            published: true,
        })
    }
}
