//! The policy file, with every version that was saved.

use meshd_contract::time::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{Refusal, Store, StoreError, from_sql, to_sql};
use crate::audit::{Actor, Entry, action};

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
    /// its number.
    pub(crate) async fn save_policy(
        &self,
        text: &str,
        over: Option<u64>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<u64, StoreError> {
        let mut change = self.write().await?;
        let result = sqlx::query(
            "INSERT INTO policies (text, saved_at, saved_by) \
             SELECT ?, ?, ? WHERE (SELECT MAX(id) FROM policies) IS ?",
        )
        .bind(text)
        .bind(to_sql(now.0))
        .bind(match by {
            Actor::Unix(id) => Some(*id),
            Actor::Control | Actor::User(_) | Actor::ApiKey(_) | Actor::Node(_) => None,
        })
        .bind(over.map(to_sql))
        .execute(&mut *change)
        .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::PolicyChanged.into());
        }
        let id = from_sql(result.last_insert_rowid());
        let entry = Entry::new(now, by, action::POLICY_SET, id).with("over", over);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(id)
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
