//! What owners have approved for logins that a rule checks, and take back.

use meshd_contract::check::LoginClass;
use meshd_contract::identity::{NodeId, NodeName};
use meshd_contract::key::WireGuardKey;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::checks::{class, node, time};
use super::{Refusal, Store, StoreError, from_sql, from_text, to_sql};
use crate::audit::{Actor, Entry, action};

/// What an owner has approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approval {
    /// Its number.
    pub(crate) id: u64,
    /// From where.
    pub(crate) source: NodeId,
    /// The source's key at the time.
    pub(crate) wireguard_key: WireGuardKey,
    /// By whom.
    pub(crate) owner: String,
    /// Which accounts.
    pub(crate) class: LoginClass,
    /// At which node; none for every node.
    pub(crate) destination: Option<NodeId>,
    /// For this connection only.
    pub(crate) connection: Option<String>,
    /// Was asked for before a login needed it.
    pub(crate) is_ahead: bool,
    /// What [`Subject::Ahead`] was limited to.
    pub(crate) target: Option<String>,
    /// When.
    pub(crate) approved_at: Timestamp,
    /// From then on it is worth nothing, whatever a rule says.
    pub(crate) expires_at: Timestamp,
}

/// Whose approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whose {
    /// Those for logins from this node.
    Node(NodeId),
    /// Those for logins from every node of this user.
    User(String),
}

/// What was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenBack {
    /// How many approvals that still counted.
    pub(crate) approvals: u64,
    /// The nodes that they were for.
    pub(crate) nodes: Vec<NodeName>,
}

/// The query for approvals that count at a time: those of a node that has the key and the owner
/// that it had then.
const COUNTING: &str = "SELECT a.id, a.source, a.wireguard_key, a.owner, a.class, a.destination, \
                        a.connection, a.is_ahead, a.target, a.approved_at, a.expires_at \
                        FROM approvals a JOIN nodes n ON n.id = a.source \
                        AND n.wireguard_key = a.wireguard_key AND n.user = a.owner \
                        AND n.deleted_at IS NULL WHERE a.expires_at > ? ";

impl Store {
    /// What is approved for logins from `source` and still counts, the oldest first.
    pub(crate) async fn approvals(
        &self,
        source: NodeId,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let query = format!("{COUNTING} AND a.source = ? ORDER BY a.id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(to_sql(now.0))
            .bind(to_sql(source.0))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// What is approved in the whole mesh and still counts, the oldest first.
    pub(crate) async fn all_approvals(&self, now: Timestamp) -> Result<Vec<Approval>, StoreError> {
        let query = format!("{COUNTING} ORDER BY a.id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(to_sql(now.0))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Takes back everything that was approved until now for logins from these nodes, also what
    /// has expired: sessions may have begun by it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where there is no such node or user.
    pub(crate) async fn take_back(
        &self,
        whose: &Whose,
        now: Timestamp,
        by: &Actor,
    ) -> Result<TakenBack, StoreError> {
        let mut change = self.write().await?;
        let marked = mark(&mut change, whose).await?;
        let mut taken_back = TakenBack {
            approvals: 0,
            nodes: Vec::new(),
        };
        for row in &marked {
            let id: i64 = row.try_get("id")?;
            let name: String = row.try_get("name")?;
            let counted: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM approvals WHERE source = ? AND expires_at > ?",
            )
            .bind(id)
            .bind(to_sql(now.0))
            .fetch_one(&mut *change)
            .await?;
            sqlx::query("DELETE FROM approvals WHERE source = ?")
                .bind(id)
                .execute(&mut *change)
                .await?;
            taken_back.approvals += from_sql(counted);
            taken_back.nodes.push(from_text(&name)?);
            let entry = Entry::new(now, by, action::CHECK_REVOKE, name)
                .with("node", from_sql(id))
                .with("approvals", from_sql(counted));
            Self::note(&mut change, &entry).await?;
        }
        change.commit().await?;
        Ok(taken_back)
    }
}

/// Has the documents say that no approval until now counts: their numbers only grow.
async fn mark(change: &mut SqliteConnection, whose: &Whose) -> Result<Vec<SqliteRow>, StoreError> {
    const MARK: &str = "UPDATE nodes SET checks_after = \
                        (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'approvals') \
                        WHERE deleted_at IS NULL AND ";
    let marked = match whose {
        Whose::Node(node) => {
            let query = format!("{MARK} id = ? RETURNING id, name");
            let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(to_sql(node.0));
            query.fetch_all(&mut *change).await?
        }
        Whose::User(login) => {
            let query = format!("{MARK} user = ? RETURNING id, name");
            let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(login);
            query.fetch_all(&mut *change).await?
        }
    };
    if !marked.is_empty() {
        return Ok(marked);
    }
    match whose {
        Whose::Node(node) => Err(Refusal::NoNode(node.to_string()).into()),
        Whose::User(login) => {
            let known = sqlx::query("SELECT 1 FROM users WHERE login = ?")
                .bind(login)
                .fetch_optional(change)
                .await?;
            match known {
                Some(_) => Ok(Vec::new()),
                None => Err(Refusal::NoUser(login.clone()).into()),
            }
        }
    }
}

/// Adds an approval, with the next number.
pub(super) async fn add_approval(
    change: &mut SqliteConnection,
    approval: &Approval,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO approvals (source, wireguard_key, owner, class, destination, connection, \
         is_ahead, target, approved_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(to_sql(approval.source.0))
    .bind(approval.wireguard_key.to_string())
    .bind(&approval.owner)
    .bind(approval.class.to_string())
    .bind(approval.destination.map(|node| to_sql(node.0)))
    .bind(&approval.connection)
    .bind(approval.is_ahead)
    .bind(&approval.target)
    .bind(to_sql(approval.approved_at.0))
    .bind(to_sql(approval.expires_at.0))
    .execute(change)
    .await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Approval, StoreError> {
    let missing = || StoreError::Content("an approval without its source".to_owned());
    Ok(Approval {
        id: from_sql(row.try_get("id")?),
        source: node(row, "source")?.ok_or_else(missing)?,
        wireguard_key: from_text(row.try_get("wireguard_key")?)?,
        owner: row.try_get("owner")?,
        class: class(row.try_get("class")?)?,
        destination: node(row, "destination")?,
        connection: row.try_get("connection")?,
        is_ahead: row.try_get("is_ahead")?,
        target: row.try_get("target")?,
        approved_at: time(row, "approved_at")?,
        expires_at: time(row, "expires_at")?,
    })
}
