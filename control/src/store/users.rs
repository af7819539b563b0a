//! The people who own nodes.

use meshd_contract::identity::NodeId;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Refusal, Store, StoreError, from_sql, to_sql};
use crate::audit::{Actor, Entry, action};
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
    pub(crate) async fn create_user(&self, user: &UserRow, by: &Actor) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let result = sqlx::query(
            "INSERT INTO users (login, role, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&user.login)
        .bind(role::name(user.role))
        .bind(to_sql(user.created_at.0))
        .execute(&mut *change)
        .await?;
        if result.rows_affected() == 0 {
            return Err(Refusal::UserExists(user.login.clone()).into());
        }
        let entry = Entry::new(user.created_at, by, action::USER_CREATE, &user.login)
            .with("role", role::name(user.role));
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// All users, by login.
    pub(crate) async fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        let mut reading = self.reader.acquire().await?;
        all(&mut reading).await
    }

    /// Gives a user another role; the one before. The last administrator stays one.
    pub(crate) async fn set_role(
        &self,
        login: &str,
        new: Role,
        now: Timestamp,
        by: &Actor,
    ) -> Result<Role, StoreError> {
        let mut change = self.write().await?;
        let row = sqlx::query("SELECT role FROM users WHERE login = ?")
            .bind(login)
            .fetch_optional(&mut *change)
            .await?
            .ok_or_else(|| Refusal::NoUser(login.to_owned()))?;
        let old = role::parse(row.try_get("role")?).map_err(StoreError::Content)?;
        if old == new {
            return Ok(old);
        }
        if !role::administers(new) {
            refuse_last_admin(&mut change, login).await?;
        }
        sqlx::query("UPDATE users SET role = ? WHERE login = ?")
            .bind(role::name(new))
            .bind(login)
            .execute(&mut *change)
            .await?;
        let entry = Entry::new(now, by, action::USER_ROLE, login)
            .with("old", role::name(old))
            .with("new", role::name(new));
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(old)
    }

    /// Removes a user together with the user's nodes and auth keys; the nodes' numbers. The last
    /// administrator stays.
    pub(crate) async fn delete_user(
        &self,
        login: &str,
        now: Timestamp,
        by: &Actor,
    ) -> Result<Vec<NodeId>, StoreError> {
        let mut change = self.write().await?;
        refuse_last_admin(&mut change, login).await?;
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
        let number = |row: &SqliteRow| Ok(NodeId(from_sql(row.try_get("id")?)));
        let nodes: Vec<NodeId> = nodes
            .iter()
            .map(number)
            .collect::<Result<_, StoreError>>()?;
        let numbers: Vec<u64> = nodes.iter().map(|node| node.0).collect();
        let entry = Entry::new(now, by, action::USER_DELETE, login).with("nodes", numbers);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(nodes)
    }
}

/// Refuses when this user, and nobody else, administers the mesh.
async fn refuse_last_admin(change: &mut SqliteConnection, login: &str) -> Result<(), StoreError> {
    let users = all(change).await?;
    let mut admins = users.iter().filter(|user| role::administers(user.role));
    match (admins.next(), admins.next()) {
        (Some(only), None) if only.login == login => {
            Err(Refusal::LastAdmin(login.to_owned()).into())
        }
        _ => Ok(()),
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
