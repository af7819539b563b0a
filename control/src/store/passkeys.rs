//! Passkeys of accounts.

use meshd_contract::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use webauthn_rs::prelude::{Passkey, Uuid};

use super::{Refusal, Store, StoreError, from_json, from_sql, to_json, to_sql};
use crate::audit::{Actor, Entry, action};

/// More than anybody needs.
const MOST: i64 = 20;

/// A passkey as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct PasskeyRow {
    /// Whose.
    pub(crate) login: String,
    /// What authenticators call the user.
    pub(crate) handle: Uuid,
    /// What the user calls it.
    pub(crate) name: String,
    /// Its public key and counter.
    pub(crate) passkey: Passkey,
    /// When it was added.
    pub(crate) created_at: Timestamp,
    /// When somebody signed in with it last.
    pub(crate) used_at: Option<Timestamp>,
}

impl Store {
    /// The passkeys of a user, the oldest first.
    pub(crate) async fn passkeys(&self, login: &str) -> Result<Vec<PasskeyRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM passkeys WHERE login = ? ORDER BY created_at, name")
            .bind(login)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(passkey).collect()
    }

    /// The passkey with this ID.
    pub(crate) async fn passkey(&self, id: &[u8]) -> Result<Option<PasskeyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM passkeys WHERE credential_id = ?")
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(passkey).transpose()
    }

    /// Whether anybody has one.
    pub(crate) async fn has_passkeys(&self) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT 1 FROM passkeys LIMIT 1")
            .fetch_optional(&self.reader)
            .await?;
        Ok(found.is_some())
    }

    /// Adds a passkey to an account.
    pub(crate) async fn add_passkey(&self, new: &PasskeyRow) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM passkeys WHERE login = ?")
            .bind(&new.login)
            .fetch_one(&mut *change)
            .await?;
        if count >= MOST {
            return Err(Refusal::TooManyPasskeys.into());
        }
        let added = sqlx::query(
            "INSERT INTO passkeys (credential_id, login, handle, name, passkey, created_at) \
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(new.passkey.cred_id().as_slice())
        .bind(&new.login)
        .bind(new.handle.as_bytes().as_slice())
        .bind(&new.name)
        .bind(to_json(&new.passkey)?)
        .bind(to_sql(new.created_at.0))
        .execute(&mut *change)
        .await?;
        if added.rows_affected() == 0 {
            return Err(Refusal::PasskeyKnown.into());
        }
        let by = Actor::User(new.login.clone());
        let entry = Entry::new(new.created_at, &by, action::PASSKEY_ADD, &new.login)
            .with("name", new.name.as_str());
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Takes note that somebody has signed in with a passkey.
    pub(crate) async fn use_passkey(
        &self,
        passkey: &Passkey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE passkeys SET passkey = ?, used_at = ? WHERE credential_id = ?")
            .bind(to_json(passkey)?)
            .bind(to_sql(now.0))
            .bind(passkey.cred_id().as_slice())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Removes a passkey of this user.
    pub(crate) async fn remove_passkey(
        &self,
        login: &str,
        id: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let removed = sqlx::query(
            "DELETE FROM passkeys WHERE login = ? AND credential_id = ? RETURNING name",
        )
        .bind(login)
        .bind(id)
        .fetch_optional(&mut *change)
        .await?;
        if let Some(row) = removed {
            let name: String = row.try_get("name")?;
            let by = Actor::User(login.to_owned());
            let entry = Entry::new(now, &by, action::PASSKEY_REMOVE, login).with("name", name);
            Self::note(&mut change, &entry).await?;
        }
        change.commit().await?;
        Ok(())
    }
}

fn passkey(row: &SqliteRow) -> Result<PasskeyRow, StoreError> {
    let handle: Vec<u8> = row.try_get("handle")?;
    let used_at: Option<i64> = row.try_get("used_at")?;
    Ok(PasskeyRow {
        login: row.try_get("login")?,
        handle: Uuid::from_slice(&handle)
            .map_err(|error| StoreError::Content(error.to_string()))?,
        name: row.try_get("name")?,
        passkey: from_json(row.try_get("passkey")?)?,
        created_at: Timestamp(from_sql(row.try_get("created_at")?)),
        used_at: used_at.map(|at| Timestamp(from_sql(at))),
    })
}
