//! The keys of programs. Only the hash of the secret is stored.

use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Refusal, Store, StoreError, from_json, from_sql, to_json, to_sql};
use crate::api::Scope;
use crate::audit::{Actor, Entry, action};
use crate::auth_key::SecretHash;

/// How exact it is known when a key was used last, in seconds: not every request is a change.
const USE_GRAIN: u64 = 60;

/// An API key as it is stored, without its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiKeyRow {
    /// Its number.
    pub(crate) id: u64,
    /// What it may do.
    pub(crate) scopes: Vec<Scope>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// Who has made it, as the audit log names actors.
    pub(crate) created_by: String,
    /// From this second on it counts no more.
    pub(crate) expires_at: Timestamp,
    /// When it was used last, to the minute.
    pub(crate) used_at: Option<Timestamp>,
}

impl Store {
    /// Stores a new API key; its number.
    pub(crate) async fn create_api_key(
        &self,
        hash: &SecretHash,
        scopes: &[Scope],
        expires_at: Timestamp,
        now: Timestamp,
        by: &Actor,
    ) -> Result<u64, StoreError> {
        let mut change = self.write().await?;
        let result = sqlx::query(
            "INSERT INTO api_keys (secret_hash, scopes, created_at, created_by, expires_at) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(hash.as_bytes())
        .bind(to_json(&scopes)?)
        .bind(to_sql(now.0))
        .bind(by.to_string())
        .bind(to_sql(expires_at.0))
        .execute(&mut *change)
        .await?;
        let id = from_sql(result.last_insert_rowid());
        let names: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        let entry = Entry::new(now, by, action::API_KEY_CREATE, id)
            .with("scopes", names)
            .with("expires_at", expires_at.0);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(id)
    }

    /// All API keys, the oldest first.
    pub(crate) async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM api_keys ORDER BY id")
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(api_key).collect()
    }

    /// Removes an API key.
    pub(crate) async fn delete_api_key(
        &self,
        id: u64,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let result = sqlx::query("DELETE FROM api_keys WHERE id = ?")
            .bind(to_sql(id))
            .execute(&mut *change)
            .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::NoApiKey(id).into());
        }
        let entry = Entry::new(now, by, action::API_KEY_DELETE, id);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// The key with this hash, if it counts at `now`, of which it is noted that it was used.
    pub(crate) async fn use_api_key(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM api_keys WHERE secret_hash = ? AND expires_at > ?")
            .bind(hash.as_bytes())
            .bind(to_sql(now.0))
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let key = api_key(&row)?;
        if key
            .used_at
            .is_none_or(|used_at| used_at.plus(USE_GRAIN) <= now)
        {
            sqlx::query("UPDATE api_keys SET used_at = ? WHERE id = ?")
                .bind(to_sql(now.0))
                .bind(to_sql(key.id))
                .execute(&self.writer)
                .await?;
        }
        Ok(Some(key))
    }
}

fn api_key(row: &SqliteRow) -> Result<ApiKeyRow, StoreError> {
    let used_at: Option<i64> = row.try_get("used_at")?;
    Ok(ApiKeyRow {
        id: from_sql(row.try_get("id")?),
        scopes: from_json(row.try_get("scopes")?)?,
        created_at: Timestamp(from_sql(row.try_get("created_at")?)),
        created_by: row.try_get("created_by")?,
        expires_at: Timestamp(from_sql(row.try_get("expires_at")?)),
        used_at: used_at.map(|at| Timestamp(from_sql(at))),
    })
}
