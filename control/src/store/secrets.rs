//! Random keys of control's own, which outlive it.

use super::{Store, StoreError};

impl Store {
    /// The key of this name, 32 bytes, made where there is none.
    ///
    /// # Errors
    /// [`StoreError`], also when the system gives no random bytes.
    pub(crate) async fn secret(&self, name: &str) -> Result<[u8; 32], StoreError> {
        let mut new = [0; 32];
        getrandom::fill(&mut new).map_err(|error| StoreError::Content(error.to_string()))?;
        sqlx::query("INSERT INTO secrets (name, secret) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(new.as_slice())
            .execute(&self.writer)
            .await?;
        let secret: Vec<u8> = sqlx::query_scalar("SELECT secret FROM secrets WHERE name = ?")
            .bind(name)
            .fetch_one(&self.writer)
            .await?;
        let wrong = |_| StoreError::Content(format!("a secret {name:?} of another length"));
        secret.try_into().map_err(wrong)
    }
}
