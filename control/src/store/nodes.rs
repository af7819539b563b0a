//! The hosts of the mesh.

use std::collections::HashMap;
use std::net::SocketAddr;

use meshd_contract::document::Version;
use meshd_contract::identity::{NodeId, NodeName, Owner};
use meshd_contract::key::{PublicKey, WireGuardKey};
use meshd_contract::time::Timestamp;
use meshd_policy::Node;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::auth_keys::owner_of;
use super::{Refusal, Store, StoreError, from_json, from_sql, from_text, to_json, to_sql};
use crate::address_pool::Slot;
use crate::audit::{Actor, Entry, action};

/// The query for whole rows of nodes, with this condition.
macro_rules! node_columns {
    ($condition:literal) => {
        concat!(
            "SELECT id, name, node_key, wireguard_key, address, user, tags, ephemeral, endpoints, \
             ssh_host_keys, release, created_at, last_seen, key_expires_at, approved, \
             checks_after, deleted_at, farewell FROM nodes ",
            $condition
        )
    };
}
pub(super) use node_columns as NODE_COLUMNS;

/// A node of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRow {
    /// Its number.
    pub(crate) id: NodeId,
    /// Its name.
    pub(crate) name: NodeName,
    /// The key that signs its requests.
    pub(crate) node_key: PublicKey,
    /// Its WireGuard key.
    pub(crate) wireguard_key: WireGuardKey,
    /// Its addresses.
    pub(crate) slot: Slot,
    /// Whom it belongs to.
    pub(crate) owner: Owner,
    /// It is removed when it is gone.
    pub(crate) ephemeral: bool,
    /// Where its WireGuard may be reached.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// Its SSH host keys.
    pub(crate) ssh_host_keys: Vec<String>,
    /// The version of meshd that it reported.
    pub(crate) release: String,
    /// When it joined.
    pub(crate) created_at: Timestamp,
    /// When it was last heard of.
    pub(crate) last_seen: Option<Timestamp>,
    /// From this second on it is nobody's peer; none means never.
    pub(crate) key_expires_at: Option<Timestamp>,
    /// It may be somebody's peer.
    pub(crate) approved: bool,
    /// No approval up to this number counts for logins from it.
    pub(crate) checks_after: Version,
}

/// What a request's number refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// A node of the mesh, whose requests this key signs.
    Member(PublicKey),
    /// It was one, and there are documents that it has yet to get.
    Leaving(PublicKey),
    /// It was one.
    Deleted(PublicKey),
}

impl Store {
    /// Every node of the mesh, by number.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let rows = sqlx::query(NODE_COLUMNS!("WHERE deleted_at IS NULL ORDER BY id"))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(node).collect()
    }

    /// The approved nodes of the mesh, as a policy sees them: of thousands, reading keys and
    /// endpoints would take most of the time.
    pub(crate) async fn policy_nodes(&self) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, address, user, tags FROM nodes \
             WHERE deleted_at IS NULL AND approved ORDER BY id",
        )
        .fetch_all(&self.reader)
        .await?;
        let node = |row: &SqliteRow| {
            Ok(Node {
                id: NodeId(from_sql(row.try_get("id")?)),
                name: from_text(row.try_get("name")?)?,
                addresses: Slot(row.try_get("address")?).addresses(),
                owner: owner_of(row)?,
                approved_routes: Vec::new(),
            })
        };
        rows.iter().map(node).collect()
    }

    /// What `id` refers to; none for a number that was never given.
    pub(crate) async fn node_state(&self, id: NodeId) -> Result<Option<NodeState>, StoreError> {
        let row = sqlx::query("SELECT node_key, deleted_at, farewell FROM nodes WHERE id = ?")
            .bind(to_sql(id.0))
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let key = from_text(row.try_get("node_key")?)?;
        let deleted_at: Option<i64> = row.try_get("deleted_at")?;
        let farewell: i64 = row.try_get("farewell")?;
        Ok(Some(match (deleted_at, farewell) {
            (None, _) => NodeState::Member(key),
            (Some(_), ..2) => NodeState::Leaving(key),
            (Some(_), _) => NodeState::Deleted(key),
        }))
    }

    /// The node with this number or name.
    pub(crate) async fn find_node(&self, text: &str) -> Result<NodeRow, StoreError> {
        let row = sqlx::query(NODE_COLUMNS!(
            "WHERE deleted_at IS NULL AND (name = ? OR CAST(id AS TEXT) = ?)"
        ))
        .bind(text)
        .bind(text)
        .fetch_optional(&self.reader)
        .await?
        .ok_or_else(|| Refusal::NoNode(text.to_owned()))?;
        node(&row)
    }

    /// The node of the mesh with this number.
    pub(crate) async fn node(&self, id: NodeId) -> Result<Option<NodeRow>, StoreError> {
        let row = sqlx::query(NODE_COLUMNS!("WHERE deleted_at IS NULL AND id = ?"))
            .bind(to_sql(id.0))
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(node).transpose()
    }

    /// Removes a node from the mesh; `why` is one of the actions that say so.
    pub(crate) async fn delete_node(
        &self,
        id: NodeId,
        now: Timestamp,
        by: &Actor,
        why: &'static str,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let name = sqlx::query(
            "UPDATE nodes SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL RETURNING name",
        )
        .bind(to_sql(now.0))
        .bind(to_sql(id.0))
        .fetch_optional(&mut *change)
        .await?;
        let entry = about(name, id, now, by, why)?;
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Sets when a node's key expires; none for never.
    pub(crate) async fn set_key_expiry(
        &self,
        id: NodeId,
        expires_at: Option<Timestamp>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let name = sqlx::query(
            "UPDATE nodes SET key_expires_at = ? WHERE id = ? AND deleted_at IS NULL \
             RETURNING name",
        )
        .bind(expires_at.map(|at| to_sql(at.0)))
        .bind(to_sql(id.0))
        .fetch_optional(&mut *change)
        .await?;
        let entry = about(name, id, now, by, action::NODE_EXPIRY)?
            .with("expires_at", expires_at.map(|at| at.0));
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Lets a node be somebody's peer.
    pub(crate) async fn approve_node(
        &self,
        id: NodeId,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let name = sqlx::query(
            "UPDATE nodes SET approved = 1 WHERE id = ? AND deleted_at IS NULL RETURNING name",
        )
        .bind(to_sql(id.0))
        .fetch_optional(&mut *change)
        .await?;
        let entry = about(name, id, now, by, action::NODE_APPROVE)?;
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Gives a node another name.
    pub(crate) async fn rename_node(
        &self,
        id: NodeId,
        name: &NodeName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let taken =
            sqlx::query("SELECT 1 FROM nodes WHERE name = ? AND id <> ? AND deleted_at IS NULL")
                .bind(name.as_str())
                .bind(to_sql(id.0))
                .fetch_optional(&mut *change)
                .await?;
        if taken.is_some() {
            return Err(Refusal::RenameTaken(name.to_string()).into());
        }
        let old = sqlx::query("SELECT name FROM nodes WHERE id = ? AND deleted_at IS NULL")
            .bind(to_sql(id.0))
            .fetch_optional(&mut *change)
            .await?;
        let entry = about(old, id, now, by, action::NODE_RENAME)?.with("new", name.as_str());
        sqlx::query("UPDATE nodes SET name = ? WHERE id = ?")
            .bind(name.as_str())
            .bind(to_sql(id.0))
            .execute(&mut *change)
            .await?;
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Takes note of what a node told of itself; whether its peers must hear of it.
    pub(crate) async fn save_report(
        &self,
        id: NodeId,
        endpoints: &[SocketAddr],
        ssh_host_keys: &[String],
        release: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut change = self.write().await?;
        let changed = sqlx::query(
            "UPDATE nodes SET endpoints = ?1, ssh_host_keys = ?2 \
             WHERE id = ?3 AND deleted_at IS NULL AND (endpoints <> ?1 OR ssh_host_keys <> ?2)",
        )
        .bind(to_json(&endpoints)?)
        .bind(to_json(&ssh_host_keys)?)
        .bind(to_sql(id.0))
        .execute(&mut *change)
        .await?;
        sqlx::query(
            "UPDATE nodes SET release = ?1, last_seen = ?2 WHERE id = ?3 AND deleted_at IS NULL \
             AND (release <> ?1 OR last_seen IS NOT ?2)",
        )
        .bind(release)
        .bind(to_sql(now.0))
        .bind(to_sql(id.0))
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(changed.rows_affected() > 0)
    }

    /// Takes note of when nodes were heard of.
    pub(crate) async fn touch_nodes(
        &self,
        nodes: &HashMap<NodeId, Timestamp>,
    ) -> Result<(), StoreError> {
        let seen = nodes.iter().map(|(id, at)| (id.0, at.0));
        let seen: Vec<(u64, u64)> = seen.collect();
        // Writing the same time again would count as another change.
        sqlx::query(
            "UPDATE nodes SET last_seen = seen.at \
             FROM (SELECT value ->> 0 AS node, value ->> 1 AS at FROM json_each(?)) AS seen \
             WHERE nodes.id = seen.node AND deleted_at IS NULL AND last_seen IS NOT seen.at",
        )
        .bind(to_json(&seen)?)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

/// An entry about the node whose name this row has; without a row there is no such node.
fn about(
    row: Option<SqliteRow>,
    id: NodeId,
    now: Timestamp,
    by: &Actor,
    action: &'static str,
) -> Result<Entry, StoreError> {
    let row = row.ok_or_else(|| Refusal::NoNode(id.to_string()))?;
    let name: String = row.try_get("name")?;
    Ok(Entry::new(now, by, action, name).with("node", id.0))
}

pub(super) fn node(row: &SqliteRow) -> Result<NodeRow, StoreError> {
    Ok(NodeRow {
        id: NodeId(from_sql(row.try_get("id")?)),
        name: from_text(row.try_get("name")?)?,
        node_key: from_text(row.try_get("node_key")?)?,
        wireguard_key: from_text(row.try_get("wireguard_key")?)?,
        slot: Slot(row.try_get("address")?),
        owner: owner_of(row)?,
        ephemeral: row.try_get("ephemeral")?,
        endpoints: from_json(row.try_get("endpoints")?)?,
        ssh_host_keys: from_json(row.try_get("ssh_host_keys")?)?,
        release: row.try_get("release")?,
        created_at: Timestamp(from_sql(row.try_get("created_at")?)),
        last_seen: time(row, "last_seen")?,
        key_expires_at: time(row, "key_expires_at")?,
        approved: row.try_get("approved")?,
        checks_after: Version(from_sql(row.try_get("checks_after")?)),
    })
}

fn time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    let seconds: Option<i64> = row.try_get(column)?;
    Ok(seconds.map(|at| Timestamp(from_sql(at))))
}
