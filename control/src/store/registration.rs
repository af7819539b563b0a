//! How a host becomes a node: one transaction from the auth key to the node.

use meshd_contract::identity::{NodeId, NodeName, Owner};
use meshd_contract::key::{PublicKey, WireGuardKey};
use meshd_contract::node_api::RegisterResponse;
use meshd_contract::time::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::auth_keys::{consume, owner_columns};
use super::nodes::{NODE_COLUMNS, node};
use super::{NodeRow, Refusal, Store, StoreError, from_sql, to_sql};
use crate::address_pool::{Slot, candidates};
use crate::audit::{Actor, Entry, action};
use crate::auth_key::SecretHash;

/// A host that wants to become a node.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Its own key, whose signature was checked.
    pub(crate) node_key: PublicKey,
    /// Its WireGuard key.
    pub(crate) wireguard_key: WireGuardKey,
    /// The wished name.
    pub(crate) name: NodeName,
}

/// What a host with an auth key brings along.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    /// Of the auth key's secret.
    pub(crate) hash: SecretHash,
    /// The host.
    pub(crate) host: Host,
    /// When its key expires, if it is a user's; that of tagged nodes never does.
    pub(crate) key_expires_at: Timestamp,
}

/// As what a host is let in.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// It is removed when it is gone.
    pub(crate) ephemeral: bool,
    /// It may be somebody's peer.
    pub(crate) approved: bool,
    /// When its key expires, if it is a user's.
    pub(crate) key_expires_at: Timestamp,
    /// Who has let it in.
    pub(crate) by: Admitter,
}

/// Who lets a host in.
#[derive(Debug, Clone)]
pub(crate) enum Admitter {
    /// Whoever has made this auth key, which the host had.
    AuthKey(u64),
    /// A user of this login, on the page for it.
    User(String),
}

impl Store {
    /// The answer that this host has already got, if it is a node.
    ///
    /// The auth key is not looked at: a host whose first answer was lost has used it up.
    pub(crate) async fn repeated_registration(
        &self,
        request: &Registration,
    ) -> Result<Option<RegisterResponse>, StoreError> {
        let mut reader = self.reader.acquire().await?;
        known(&mut reader, &request.host).await
    }

    /// Makes the host a node and uses up its auth key, or does neither.
    pub(crate) async fn register(
        &self,
        request: &Registration,
        now: Timestamp,
    ) -> Result<RegisterResponse, StoreError> {
        let mut change = self.write().await?;
        if let Some(response) = known(&mut change, &request.host).await? {
            return Ok(response);
        }
        let key = consume(&mut change, &request.hash, now).await?;
        let admission = Admission {
            owner: key.owner,
            ephemeral: key.ephemeral,
            approved: true,
            key_expires_at: request.key_expires_at,
            by: Admitter::AuthKey(key.id),
        };
        let response = admit(&mut change, &request.host, &admission, now).await?;
        change.commit().await?;
        Ok(response)
    }
}

/// Makes a host that is no node yet a node.
pub(super) async fn admit(
    change: &mut SqliteConnection,
    host: &Host,
    admission: &Admission,
    now: Timestamp,
) -> Result<RegisterResponse, StoreError> {
    refuse_taken(change, host, None).await?;
    let slot = take_slot(change).await?;
    let node = insert(change, host, admission, slot, now).await?;
    let actor = match &admission.by {
        Admitter::AuthKey(_) => Actor::Node(node),
        Admitter::User(login) => Actor::User(login.clone()),
    };
    let mut entry = Entry::new(now, &actor, action::NODE_JOIN, &host.name)
        .with("node", node.0)
        .with("owner", admission.owner.to_string())
        .with("approved", admission.approved);
    if let Admitter::AuthKey(id) = admission.by {
        entry = entry.with("auth_key", id);
    }
    Store::note(change, &entry).await?;
    Ok(RegisterResponse {
        node,
        name: host.name.clone(),
        addresses: slot.addresses(),
        needs_approval: !admission.approved,
    })
}

/// What a host was told that is a node already.
pub(super) async fn known(
    connection: &mut SqliteConnection,
    request: &Host,
) -> Result<Option<RegisterResponse>, StoreError> {
    let found = sqlx::query(NODE_COLUMNS!("WHERE node_key = ? AND deleted_at IS NULL"))
        .bind(request.node_key.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let node: NodeRow = node(&row)?;
    if node.wireguard_key != request.wireguard_key {
        return Err(Refusal::WireGuardKeyChanged(node.name.to_string()).into());
    }
    Ok(Some(RegisterResponse {
        node: node.id,
        name: node.name,
        addresses: node.slot.addresses(),
        needs_approval: !node.approved,
    }))
}

/// Gives a node new keys, in the name of its owner.
pub(super) async fn renew(
    change: &mut SqliteConnection,
    id: NodeId,
    host: &Host,
    admission: &Admission,
    now: Timestamp,
) -> Result<RegisterResponse, StoreError> {
    refuse_taken(change, host, Some(id)).await?;
    // Only the keys of users' nodes expire.
    let renewed = sqlx::query(
        "UPDATE nodes SET node_key = ?, wireguard_key = ?, \
         key_expires_at = CASE WHEN user IS NULL THEN key_expires_at ELSE ? END \
         WHERE id = ? AND deleted_at IS NULL",
    )
    .bind(host.node_key.to_string())
    .bind(host.wireguard_key.to_string())
    .bind(to_sql(admission.key_expires_at.0))
    .bind(to_sql(id.0))
    .execute(&mut *change)
    .await?;
    if renewed.rows_affected() == 0 {
        return Err(Refusal::NoNode(id.to_string()).into());
    }
    if let Admitter::User(login) = &admission.by {
        let actor = Actor::User(login.clone());
        let entry = Entry::new(now, &actor, action::NODE_RENEW, &host.name).with("node", id.0);
        Store::note(change, &entry).await?;
    }
    let response = known(change, host).await?;
    response.ok_or_else(|| Refusal::NoNode(id.to_string()).into())
}

/// Refuses a name or key that another node has than the one that is renewed.
pub(super) async fn refuse_taken(
    change: &mut SqliteConnection,
    request: &Host,
    renewed: Option<NodeId>,
) -> Result<(), StoreError> {
    let own = renewed.map(|node| to_sql(node.0));
    let taken =
        sqlx::query("SELECT 1 FROM nodes WHERE name = ? AND deleted_at IS NULL AND id IS NOT ?")
            .bind(request.name.as_str())
            .bind(own)
            .fetch_optional(&mut *change)
            .await?;
    // A host that was never given a name calls itself localhost, which every other host is too.
    if taken.is_some() || request.name.as_str() == "localhost" {
        return Err(Refusal::NameTaken(request.name.to_string()).into());
    }
    let taken = sqlx::query("SELECT 1 FROM nodes WHERE wireguard_key = ? AND deleted_at IS NULL")
        .bind(request.wireguard_key.to_string())
        .fetch_optional(&mut *change)
        .await?;
    if taken.is_some() {
        return Err(Refusal::WireGuardKeyTaken.into());
    }
    Ok(())
}

async fn take_slot(change: &mut SqliteConnection) -> Result<Slot, StoreError> {
    let next = sqlx::query("SELECT next FROM address_pool")
        .fetch_one(&mut *change)
        .await?
        .try_get("next")?;
    let slot = first_free(change, Slot(next)).await?;
    sqlx::query("UPDATE address_pool SET next = ?")
        .bind(slot.next().0)
        .execute(&mut *change)
        .await?;
    Ok(slot)
}

async fn first_free(change: &mut SqliteConnection, start: Slot) -> Result<Slot, StoreError> {
    for slot in candidates(start) {
        let taken = sqlx::query("SELECT 1 FROM nodes WHERE address = ? AND deleted_at IS NULL")
            .bind(slot.0)
            .fetch_optional(&mut *change)
            .await?;
        if taken.is_none() {
            return Ok(slot);
        }
    }
    Err(Refusal::NoAddress.into())
}

async fn insert(
    change: &mut SqliteConnection,
    host: &Host,
    admission: &Admission,
    slot: Slot,
    now: Timestamp,
) -> Result<NodeId, StoreError> {
    let (user, tags) = owner_columns(&admission.owner)?;
    let key_expires_at = match &admission.owner {
        Owner::User(_) => Some(to_sql(admission.key_expires_at.0)),
        Owner::Tags(_) => None,
    };
    let result = sqlx::query(
        "INSERT INTO nodes \
         (name, node_key, wireguard_key, address, user, tags, ephemeral, created_at, key_expires_at, \
         approved) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(host.name.as_str())
    .bind(host.node_key.to_string())
    .bind(host.wireguard_key.to_string())
    .bind(slot.0)
    .bind(user)
    .bind(tags)
    .bind(admission.ephemeral)
    .bind(to_sql(now.0))
    .bind(key_expires_at)
    .bind(admission.approved)
    .execute(change)
    .await?;
    Ok(NodeId(from_sql(result.last_insert_rowid())))
}
