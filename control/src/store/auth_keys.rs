//! The keys with which hosts join. Only the hash of the secret is stored.

use meshd_contract::identity::Owner;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Refusal, Store, StoreError, from_json, from_sql, to_json, to_sql};
use crate::audit::{Actor, Entry, action};
use crate::auth_key::SecretHash;

/// An auth key to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewAuthKey {
    /// Of the secret.
    pub(crate) hash: SecretHash,
    /// Whose the joining nodes are.
    pub(crate) owner: Owner,
    /// Good for more than one node.
    pub(crate) reusable: bool,
    /// Its nodes are removed when they are gone.
    pub(crate) ephemeral: bool,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// From this second on it counts no more.
    pub(crate) expires_at: Timestamp,
}

/// An auth key as it is stored, without its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthKeyRow {
    /// Its number.
    pub(crate) id: u64,
    /// Whose the joining nodes are.
    pub(crate) owner: Owner,
    /// Good for more than one node.
    pub(crate) reusable: bool,
    /// Its nodes are removed when they are gone.
    pub(crate) ephemeral: bool,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// From this second on it counts no more.
    pub(crate) expires_at: Timestamp,
    /// When a node joined with it last.
    pub(crate) used_at: Option<Timestamp>,
}

impl AuthKeyRow {
    /// Whether a node may join with it at `now`.
    fn permit(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.expires_at <= now {
            return Err(Refusal::AuthKeyExpired);
        }
        if self.used_at.is_some() && !self.reusable {
            return Err(Refusal::AuthKeyUsed);
        }
        Ok(())
    }
}

impl Store {
    /// Stores a new auth key; its number.
    pub(crate) async fn create_auth_key(
        &self,
        key: &NewAuthKey,
        by: &Actor,
    ) -> Result<u64, StoreError> {
        let (user, tags) = owner_columns(&key.owner)?;
        let mut change = self.write().await?;
        if let Some(login) = &user {
            let known = sqlx::query("SELECT 1 FROM users WHERE login = ?")
                .bind(login)
                .fetch_optional(&mut *change)
                .await?;
            if known.is_none() {
                return Err(Refusal::NoUser(login.clone()).into());
            }
        }
        let result = sqlx::query(
            "INSERT INTO auth_keys \
             (secret_hash, user, tags, reusable, ephemeral, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.hash.as_bytes())
        .bind(user)
        .bind(tags)
        .bind(key.reusable)
        .bind(key.ephemeral)
        .bind(to_sql(key.created_at.0))
        .bind(to_sql(key.expires_at.0))
        .execute(&mut *change)
        .await?;
        let id = from_sql(result.last_insert_rowid());
        let entry = Entry::new(key.created_at, by, action::AUTH_KEY_CREATE, id)
            .with("owner", key.owner.to_string())
            .with("reusable", key.reusable)
            .with("ephemeral", key.ephemeral)
            .with("expires_at", key.expires_at.0);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(id)
    }

    /// All auth keys, the oldest first.
    pub(crate) async fn auth_keys(&self) -> Result<Vec<AuthKeyRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM auth_keys ORDER BY id")
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(auth_key).collect()
    }

    /// Removes an auth key; the nodes that joined with it stay.
    pub(crate) async fn delete_auth_key(
        &self,
        id: u64,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let result = sqlx::query("DELETE FROM auth_keys WHERE id = ?")
            .bind(to_sql(id))
            .execute(&mut *change)
            .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::NoAuthKey(id).into());
        }
        let entry = Entry::new(now, by, action::AUTH_KEY_DELETE, id);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }
}

/// Marks the key with this hash as used and returns it; refused when it does not count at `now`.
pub(super) async fn consume(
    change: &mut SqliteConnection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<AuthKeyRow, StoreError> {
    let row = sqlx::query("SELECT * FROM auth_keys WHERE secret_hash = ?")
        .bind(hash.as_bytes())
        .fetch_optional(&mut *change)
        .await?
        .ok_or(Refusal::AuthKeyUnknown)?;
    let key = auth_key(&row)?;
    key.permit(now)?;
    sqlx::query("UPDATE auth_keys SET used_at = ? WHERE id = ?")
        .bind(to_sql(now.0))
        .bind(to_sql(key.id))
        .execute(&mut *change)
        .await?;
    Ok(key)
}

fn auth_key(row: &SqliteRow) -> Result<AuthKeyRow, StoreError> {
    Ok(AuthKeyRow {
        id: from_sql(row.try_get("id")?),
        owner: owner_of(row)?,
        reusable: row.try_get("reusable")?,
        ephemeral: row.try_get("ephemeral")?,
        created_at: Timestamp(from_sql(row.try_get("created_at")?)),
        expires_at: Timestamp(from_sql(row.try_get("expires_at")?)),
        used_at: row
            .try_get::<Option<i64>, _>("used_at")?
            .map(|at| Timestamp(from_sql(at))),
    })
}

/// The owner from the columns `user` and `tags`.
pub(super) fn owner_of(row: &SqliteRow) -> Result<Owner, StoreError> {
    match row.try_get::<Option<String>, _>("tags")? {
        Some(tags) => Ok(Owner::Tags(from_json(&tags)?)),
        None => Ok(Owner::User(row.try_get("user")?)),
    }
}

/// The columns `user` and `tags` for an owner.
pub(super) fn owner_columns(owner: &Owner) -> Result<(Option<String>, Option<String>), StoreError> {
    Ok(match owner {
        Owner::User(login) => (Some(login.clone()), None),
        Owner::Tags(tags) => (None, Some(to_json(tags)?)),
    })
}
