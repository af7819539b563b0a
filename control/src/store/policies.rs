//! The policy file, with every version that was saved.

use meshd_contract::time::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{Refusal, Store, StoreError, from_sql, to_sql};

/// The policy that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPolicy {
    /// Grows with each save.
    pub(crate) id: u64,
    /// As it was saved.
    pub(crate) text: String,
}

impl Store {
    /// The newest policy; none before the first is saved.
    pub(crate) async fn policy(&self) -> Result<Option<StoredPolicy>, StoreError> {
        let mut reading = self.reader.acquire().await?;
        newest(&mut reading).await
    }

    /// Makes `text` the policy in the place of the one with the number `over`, none for the first;
    /// `by` is the Unix user id of who saved it, none for control itself.
    pub(crate) async fn save_policy(
        &self,
        text: &str,
        over: Option<u64>,
        by: Option<u32>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let result = sqlx::query(
            "INSERT INTO policies (text, saved_at, saved_by) \
             SELECT ?, ?, ? WHERE (SELECT MAX(id) FROM policies) IS ?",
        )
        .bind(text)
        .bind(to_sql(now.0))
        .bind(by)
        .bind(over.map(to_sql))
        .execute(&self.writer)
        .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::PolicyChanged.into());
        }
        Ok(())
    }
}

pub(super) async fn newest(
    reading: &mut SqliteConnection,
) -> Result<Option<StoredPolicy>, StoreError> {
    let row = sqlx::query("SELECT id, text FROM policies ORDER BY id DESC LIMIT 1")
        .fetch_optional(reading)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(StoredPolicy {
        id: from_sql(row.try_get("id")?),
        text: row.try_get("text")?,
    }))
}
