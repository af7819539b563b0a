//! Hosts that wait for a person to let them in.

use std::net::IpAddr;

use meshd_contract::identity::{NodeId, NodeName};
use meshd_contract::key::{PublicKey, WireGuardKey};
use meshd_contract::node_api::RegisterResponse;
use meshd_contract::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::registration::{admit, known, refuse_taken, renew};
use super::{Admission, Host, Refusal, Store, StoreError, from_json, from_sql, from_text};
use super::{to_json, to_sql};
use crate::audit::{Actor, Entry, action};
use crate::auth_key::SecretHash;

/// More do not wait at a time.
const MAX_WAITING: i64 = 1_000;
/// Nor from one address.
const MAX_FROM_ONE: i64 = 50;

/// A request to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewJoin {
    /// Of the page's address.
    pub(crate) secret: SecretHash,
    /// The host.
    pub(crate) host: Host,
    /// The node that it is, where it only has new keys.
    pub(crate) renews: Option<NodeId>,
    /// The wished tags.
    pub(crate) tags: Vec<String>,
    /// The version of meshd that it runs.
    pub(crate) release: String,
    /// From where it asks.
    pub(crate) source: IpAddr,
    /// From this second on nobody can let it in.
    pub(crate) expires_at: Timestamp,
}

/// A request that a person may decide about.
#[derive(Debug, Clone)]
pub(crate) struct JoinRow {
    /// The host.
    pub(crate) host: Host,
    /// The node that it is, where it only has new keys.
    pub(crate) renews: Option<NodeId>,
    /// The wished tags.
    pub(crate) tags: Vec<String>,
    /// The version of meshd that it runs.
    pub(crate) release: String,
    /// From where it asks.
    pub(crate) source: IpAddr,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Nobody has decided yet.
    Waiting,
    /// The host is a node.
    Joined(RegisterResponse),
}

impl Store {
    /// Keeps a request in place of the host's earlier one; or says what a host was told that is a
    /// node already.
    pub(crate) async fn ask_to_join(
        &self,
        join: &NewJoin,
        now: Timestamp,
    ) -> Result<Joining, StoreError> {
        let mut change = self.write().await?;
        if let Some(response) = known(&mut change, &join.host).await? {
            return Ok(Joining::Joined(response));
        }
        refuse_taken(&mut change, &join.host, join.renews).await?;
        sqlx::query("DELETE FROM joins WHERE expires_at <= ? OR node_key = ?")
            .bind(to_sql(now.0))
            .bind(join.host.node_key.to_string())
            .execute(&mut *change)
            .await?;
        let source = join.source.to_string();
        let counts = sqlx::query("SELECT count(*), count(*) FILTER (WHERE source = ?) FROM joins")
            .bind(&source)
            .fetch_one(&mut *change)
            .await?;
        let (all, own): (i64, i64) = (counts.try_get(0)?, counts.try_get(1)?);
        if all >= MAX_WAITING || own >= MAX_FROM_ONE {
            return Err(Refusal::TooManyJoins.into());
        }
        sqlx::query(
            "INSERT INTO joins (node_key, secret_hash, wireguard_key, name, tags, release, source, \
             expires_at, renews) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(join.host.node_key.to_string())
        .bind(join.secret.as_bytes())
        .bind(join.host.wireguard_key.to_string())
        .bind(join.host.name.as_str())
        .bind(to_json(&join.tags)?)
        .bind(&join.release)
        .bind(&source)
        .bind(to_sql(join.expires_at.0))
        .bind(join.renews.map(|node| to_sql(node.0)))
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(Joining::Waiting)
    }

    /// How far the request of this key is; refused where it has come to nothing.
    pub(crate) async fn joining(
        &self,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<Joining, StoreError> {
        let mut reading = self.reader.begin().await?;
        let row = sqlx::query("SELECT * FROM joins WHERE node_key = ?")
            .bind(key.to_string())
            .fetch_optional(&mut *reading)
            .await?;
        let found = sqlx::query(
            "SELECT wireguard_key, name FROM nodes WHERE node_key = ? AND deleted_at IS NULL",
        )
        .bind(key.to_string())
        .fetch_optional(&mut *reading)
        .await?;
        if let Some(node) = found {
            let host = host(&node, *key)?;
            if let Some(response) = known(&mut reading, &host).await? {
                return Ok(Joining::Joined(response));
            }
        }
        row.map_or(Err(Refusal::JoinOver.into()), |row| {
            open(&row, now).map(|_| Joining::Waiting)
        })
    }

    /// The request whose page has this secret; refused where nobody can decide about it any more.
    pub(crate) async fn join(
        &self,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<JoinRow, StoreError> {
        let mut reading = self.reader.acquire().await?;
        find(&mut reading, secret, now).await
    }

    /// Makes the host a node.
    pub(crate) async fn let_in(
        &self,
        secret: &SecretHash,
        admission: &Admission,
        now: Timestamp,
    ) -> Result<RegisterResponse, StoreError> {
        let mut change = self.write().await?;
        let join = find(&mut change, secret, now).await?;
        let response = match join.renews {
            Some(node) => renew(&mut change, node, &join.host, admission, now).await?,
            None => admit(&mut change, &join.host, admission, now).await?,
        };
        end(&mut change, secret, "joined").await?;
        change.commit().await?;
        Ok(response)
    }

    /// Refuses the host.
    pub(crate) async fn turn_away(
        &self,
        secret: &SecretHash,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let join = find(&mut change, secret, now).await?;
        end(&mut change, secret, "refused").await?;
        let entry = Entry::new(now, by, action::JOIN_REFUSE, &join.host.name)
            .with("address", join.source.to_string());
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Takes note that the host does not wait any more.
    pub(crate) async fn leave_join(&self, key: &PublicKey) -> Result<(), StoreError> {
        sqlx::query("UPDATE joins SET ended = 'left' WHERE node_key = ? AND ended IS NULL")
            .bind(key.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

async fn end(
    change: &mut SqliteConnection,
    secret: &SecretHash,
    how: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE joins SET ended = ? WHERE secret_hash = ?")
        .bind(how)
        .bind(secret.as_bytes())
        .execute(change)
        .await?;
    Ok(())
}

async fn find(
    connection: &mut SqliteConnection,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<JoinRow, StoreError> {
    let row = sqlx::query("SELECT * FROM joins WHERE secret_hash = ?")
        .bind(secret.as_bytes())
        .fetch_optional(connection)
        .await?
        .ok_or(Refusal::JoinOver)?;
    open(&row, now)
}

/// A request that is still to be decided about.
fn open(row: &SqliteRow, now: Timestamp) -> Result<JoinRow, StoreError> {
    let ended: Option<String> = row.try_get("ended")?;
    match ended.as_deref() {
        Some("joined") => return Err(Refusal::JoinDone.into()),
        Some("refused") => return Err(Refusal::JoinRefused.into()),
        Some(_) => return Err(Refusal::JoinLeft.into()),
        None => {}
    }
    if from_sql(row.try_get("expires_at")?) <= now.0 {
        return Err(Refusal::JoinOver.into());
    }
    let renews: Option<i64> = row.try_get("renews")?;
    Ok(JoinRow {
        renews: renews.map(|node| NodeId(from_sql(node))),
        host: host(row, from_text(row.try_get("node_key")?)?)?,
        tags: from_json(row.try_get("tags")?)?,
        release: row.try_get("release")?,
        source: from_text(row.try_get("source")?)?,
    })
}

fn host(row: &SqliteRow, node_key: PublicKey) -> Result<Host, StoreError> {
    Ok(Host {
        node_key,
        wireguard_key: from_text::<WireGuardKey>(row.try_get("wireguard_key")?)?,
        name: from_text::<NodeName>(row.try_get("name")?)?,
    })
}
