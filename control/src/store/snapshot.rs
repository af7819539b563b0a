//! The whole mesh at one moment.

use meshd_contract::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::nodes::{NODE_COLUMNS, node};
use super::{NodeRow, Store, StoreError, StoredPolicy, UserRow, from_sql, policies, users};

/// Everything that documents depend on, as one transaction saw it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Every user.
    pub(crate) users: Vec<UserRow>,
    /// Every node of the mesh.
    pub(crate) members: Vec<NodeRow>,
    /// Every deleted node that has not got its last documents yet.
    pub(crate) leaving: Vec<LeavingRow>,
    /// The policy that counts.
    pub(crate) policy: Option<StoredPolicy>,
}

/// A node that was deleted a moment ago.
#[derive(Debug, Clone)]
pub(crate) struct LeavingRow {
    /// As it was.
    pub(crate) node: NodeRow,
    /// When it was deleted.
    pub(crate) deleted_at: Timestamp,
    /// Its last peer document is there.
    pub(crate) has_last_peers: bool,
}

impl Store {
    /// Reads the whole mesh.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut reading = self.reader.begin().await?;
        let users = users::all(&mut reading).await?;
        let members = sqlx::query(NODE_COLUMNS!("WHERE deleted_at IS NULL ORDER BY id"))
            .fetch_all(&mut *reading)
            .await?;
        let leaving = sqlx::query(NODE_COLUMNS!(
            "WHERE deleted_at IS NOT NULL AND farewell < 2 ORDER BY id"
        ))
        .fetch_all(&mut *reading)
        .await?;
        let policy = policies::newest(&mut reading).await?;
        reading.commit().await?;
        Ok(Snapshot {
            users,
            members: members.iter().map(node).collect::<Result<_, _>>()?,
            leaving: leaving.iter().map(leaving_row).collect::<Result<_, _>>()?,
            policy,
        })
    }
}

fn leaving_row(row: &SqliteRow) -> Result<LeavingRow, StoreError> {
    Ok(LeavingRow {
        node: node(row)?,
        deleted_at: Timestamp(from_sql(row.try_get("deleted_at")?)),
        has_last_peers: row.try_get::<i64, _>("farewell")? > 0,
    })
}
