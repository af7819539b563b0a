//! The keys that control has had.

use meshd_contract::keyring::KeyRotation;
use meshd_contract::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, from_sql, to_sql};
use crate::audit::{Actor, Entry, action};

/// How many are read, the newest: a node that has missed more must join again.
const MOST: u32 = 500;

/// A rotation, and the text that nodes verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedRotation {
    /// What it says.
    pub(crate) rotation: KeyRotation,
    /// As the old key has signed it.
    pub(crate) signed: String,
}

impl Store {
    /// The rotations, the oldest first.
    pub(crate) async fn key_rotations(&self) -> Result<Vec<SignedRotation>, StoreError> {
        let rows = sqlx::query("SELECT * FROM key_rotations ORDER BY number DESC LIMIT ?")
            .bind(MOST)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().rev().map(signed_rotation).collect()
    }

    /// Stores a new one: from then on the old key is nobody's any more.
    pub(crate) async fn save_key_rotation(
        &self,
        new: &SignedRotation,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let rotation = &new.rotation;
        let mut change = self.write().await?;
        sqlx::query(
            "INSERT INTO key_rotations (old_key, new_key, issued_at, old_ends_at, signed) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(rotation.old_key.to_string())
        .bind(rotation.new_key.to_string())
        .bind(to_sql(rotation.issued_at.0))
        .bind(to_sql(rotation.old_ends_at.0))
        .bind(&new.signed)
        .execute(&mut *change)
        .await?;
        let target = rotation.new_key.fingerprint();
        let entry = Entry::new(rotation.issued_at, by, action::KEY_ROTATE, target)
            .with("old", rotation.old_key.fingerprint())
            .with("old_ends_at", rotation.old_ends_at.0);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }
}

fn signed_rotation(row: &SqliteRow) -> Result<SignedRotation, StoreError> {
    let key = |name: &str| {
        let text: &str = row.try_get(name)?;
        text.parse()
            .map_err(|_| StoreError::Content(format!("{text:?} as a key of control")))
    };
    Ok(SignedRotation {
        rotation: KeyRotation {
            old_key: key("old_key")?,
            new_key: key("new_key")?,
            issued_at: Timestamp(from_sql(row.try_get("issued_at")?)),
            old_ends_at: Timestamp(from_sql(row.try_get("old_ends_at")?)),
        },
        signed: row.try_get("signed")?,
    })
}
