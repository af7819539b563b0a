//! The whole mesh at one moment, or what is new in it.

use meshd_contract::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::nodes::{NODE_COLUMNS, node};
use super::{NodeRow, Store, StoreError, StoredPolicy, UserRow, from_sql, policies, to_sql, users};

/// How much of the mesh its reader knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Every change of a node up to this number.
    nodes: u64,
    /// Every change of a user up to this number.
    users: u64,
    /// The number of the policy.
    policy: u64,
}

/// What documents depend on, as far as it has changed, as one transaction saw it.
#[derive(Debug)]
pub(crate) struct Changes {
    /// What is known with these.
    pub(crate) known: Known,
    /// All users, if one has changed.
    pub(crate) users: Option<Vec<UserRow>>,
    /// The nodes that have changed.
    pub(crate) nodes: Vec<ChangedNode>,
    /// The policy that counts, if it is another one.
    pub(crate) policy: Option<StoredPolicy>,
}

/// A node as it is now.
#[derive(Debug, Clone)]
pub(crate) enum ChangedNode {
    /// It is part of the mesh.
    Member(NodeRow),
    /// It was, and has not got its last documents yet.
    Leaving(LeavingRow),
    /// It was, and has got everything.
    Gone(NodeRow),
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
    /// Reads what is new since `known`; for a reader who knows nothing, whole.
    pub(crate) async fn changes(&self, known: Known) -> Result<Changes, StoreError> {
        // Most readers come to hear that there is nothing.
        let mut reading = self.reader.acquire().await?;
        let newest = newest(&mut reading).await?;
        if newest == known {
            return Ok(Changes::none(known));
        }
        drop(reading);
        let mut reading = self.reader.begin().await?;
        let newest = self::newest(&mut reading).await?;
        let mut changes = Changes::none(newest);
        if newest.nodes != known.nodes {
            changes.nodes = changed_nodes(&mut reading, known.nodes).await?;
        }
        if newest.users != known.users {
            changes.users = Some(users::all(&mut reading).await?);
        }
        if newest.policy != known.policy {
            changes.policy = policies::newest(&mut reading).await?;
        }
        reading.commit().await?;
        Ok(changes)
    }
}

impl Changes {
    fn none(known: Known) -> Self {
        Self {
            known,
            users: None,
            nodes: Vec::new(),
            policy: None,
        }
    }
}

async fn newest(reading: &mut SqliteConnection) -> Result<Known, StoreError> {
    let row = sqlx::query("SELECT nodes, users, (SELECT MAX(id) FROM policies) FROM revisions")
        .fetch_one(reading)
        .await?;
    Ok(Known {
        nodes: from_sql(row.try_get(0)?),
        users: from_sql(row.try_get(1)?),
        policy: row.try_get::<Option<i64>, _>(2)?.map_or(0, from_sql),
    })
}

/// Whoever knows no node need not hear of those that are gone.
async fn changed_nodes(
    reading: &mut SqliteConnection,
    known: u64,
) -> Result<Vec<ChangedNode>, StoreError> {
    let rows = match known {
        0 => sqlx::query(NODE_COLUMNS!("WHERE deleted_at IS NULL OR farewell < 2")),
        _ => {
            let query = sqlx::query(NODE_COLUMNS!(
                "INDEXED BY nodes_by_revision WHERE revision > ?"
            ));
            query.bind(to_sql(known))
        }
    };
    let rows = rows.fetch_all(reading).await?;
    rows.iter().map(changed_node).collect()
}

fn changed_node(row: &SqliteRow) -> Result<ChangedNode, StoreError> {
    let node = node(row)?;
    let deleted_at: Option<i64> = row.try_get("deleted_at")?;
    let farewell: i64 = row.try_get("farewell")?;
    Ok(match (deleted_at, farewell) {
        (None, _) => ChangedNode::Member(node),
        (Some(at), ..2) => ChangedNode::Leaving(LeavingRow {
            node,
            deleted_at: Timestamp(from_sql(at)),
            has_last_peers: farewell > 0,
        }),
        (Some(_), _) => ChangedNode::Gone(node),
    })
}
