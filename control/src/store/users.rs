//! The people who own nodes.

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Refusal, Store, StoreError, from_sql, to_sql};
use crate::role::{self, Role};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    /// An e-mail address.
    pub(crate) login: String,
    /// What the user is in the mesh.
    pub(crate) role: Role,
    /// When the user was created.
    pub(crate) created_at: Timestamp,
}

impl Store {
    /// Adds a user.
    pub(crate) async fn create_user(&self, user: &UserRow) -> Result<(), StoreError> {
        let result = sqlx::query(
            "INSERT INTO users (login, role, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&user.login)
        .bind(role::name(user.role))
        .bind(to_sql(user.created_at.0))
        .execute(&self.writer)
        .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::UserExists(user.login.clone()).into());
        }
        Ok(())
    }

    /// All users, by login.
    pub(crate) async fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        let mut reading = self.reader.acquire().await?;
        all(&mut reading).await
    }

    /// Removes a user together with the user's nodes and auth keys; the nodes' numbers.
    pub(crate) async fn delete_user(
        &self,
        login: &str,
        now: Timestamp,
    ) -> Result<Vec<NodeId>, StoreError> {
        let mut change = self.write().await?;
        let nodes = sqlx::query(
            "UPDATE nodes SET deleted_at = ? WHERE user = ? AND deleted_at IS NULL RETURNING id",
        )
        .bind(to_sql(now.0))
        .bind(login)
        .fetch_all(&mut *change)
        .await?;
        let result = sqlx::query("DELETE FROM users WHERE login = ?")
            .bind(login)
            .execute(&mut *change)
            .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::NoUser(login.to_owned()).into());
        }
        change.commit().await?;
        nodes
            .iter()
            .map(|row| Ok(NodeId(from_sql(row.try_get("id")?))))
            .collect()
    }
}

pub(super) async fn all(reading: &mut SqliteConnection) -> Result<Vec<UserRow>, StoreError> {
    let rows = sqlx::query("SELECT login, role, created_at FROM users ORDER BY login")
        .fetch_all(reading)
        .await?;
    rows.iter().map(user).collect()
}

fn user(row: &SqliteRow) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        login: row.try_get("login")?,
        role: role::parse(row.try_get("role")?).map_err(StoreError::Content)?,
        created_at: Timestamp(from_sql(row.try_get("created_at")?)),
    })
}
