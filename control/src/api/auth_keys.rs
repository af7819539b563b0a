//! The keys with which hosts join.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::{Common, PROBLEM, Problem};
use super::input::{self, Json, Key, Named};
use super::nodes::Owner;
use super::{ApiFailure, ApiServer, Area};
use crate::admin::failure::Failure;
use crate::admin::protocol::AuthKeyWish;
use crate::store::{AuthKeyRow, Refusal, StoreError};

/// How long a key counts if nothing is said, in seconds.
const USUAL_LIFE: u64 = 3_600;
/// The longest that a key counts, in seconds: a year.
const LONGEST_LIFE: u64 = 31_622_400;

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthKey {
    id: u64,
    /// Whose the joining nodes are.
    owner: Owner,
    /// Good for more than one node.
    reusable: bool,
    /// Its nodes are removed when they are gone.
    ephemeral: bool,
    created_at: u64,
    /// From this second on it counts no more.
    expires_at: u64,
    /// When a node joined with it last.
    used_at: Option<u64>,
}

/// All keys, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthKeys {
    auth_keys: Vec<AuthKey>,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAuthKey {
    owner: Owner,
    /// Good for more than one node.
    #[serde(default)]
    reusable: bool,
    /// Its nodes are removed when they are gone.
    #[serde(default)]
    ephemeral: bool,
    /// How long it counts, in seconds; an hour if nothing is said.
    #[serde(default = "usual_life", deserialize_with = "input::whole")]
    #[schema(minimum = 1, maximum = 31_622_400)]
    expires_in: u64,
}

/// A new key; the only time that its secret is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MadeAuthKey {
    id: u64,
    /// What the host needs.
    secret: String,
}

fn usual_life() -> u64 {
    USUAL_LIFE
}

/// List the keys, without their secrets.
#[utoipa::path(
    get, path = "/auth-keys", tag = "auth keys", security(("key" = ["auth-keys:read"])),
    responses((status = 200, description = "All keys, the oldest first", body = AuthKeys), Common)
)]
pub(super) async fn list(
    State(server): State<Arc<ApiServer>>,
    key: Key,
) -> Result<axum::Json<AuthKeys>, ApiFailure> {
    key.may(Area::AuthKeys.read())?;
    let keys = server.admin.store.auth_keys().await?;
    Ok(axum::Json(AuthKeys {
        auth_keys: keys.into_iter().map(AuthKey::from).collect(),
    }))
}

/// Make a key.
#[utoipa::path(
    post, path = "/auth-keys", tag = "auth keys", security(("key" = ["auth-keys:write"])),
    request_body = NewAuthKey,
    responses(
        (status = 201, description = "The new key with its secret", body = MadeAuthKey),
        (status = 409, description = "There is no such user, or the policy has no such tag", body = Problem, content_type = PROBLEM),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn create(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Json(new): Json<NewAuthKey>,
) -> Result<(StatusCode, axum::Json<MadeAuthKey>), ApiFailure> {
    let by = key.may(Area::AuthKeys.write())?;
    if !(1..=LONGEST_LIFE).contains(&new.expires_in) {
        let sentence = format!("expires_in lies between 1 and {LONGEST_LIFE}");
        return Err(ApiFailure::Malformed(sentence));
    }
    if new.owner == Owner::Tags(Vec::new()) {
        return Err(ApiFailure::Malformed("name at least one tag".to_owned()));
    }
    let wish = AuthKeyWish {
        owner: new.owner.into(),
        reusable: new.reusable,
        ephemeral: new.ephemeral,
        expires_in_seconds: new.expires_in,
    };
    let made = server.admin.create_auth_key(wish, &by).await;
    let made = made.map_err(|failure| match failure {
        Failure::Store(StoreError::Refused(refusal @ Refusal::NoUser(_))) => {
            ApiFailure::Conflict(refusal.to_string())
        }
        failure => failure.into(),
    })?;
    let answer = MadeAuthKey {
        id: made.id,
        secret: made.secret,
    };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

/// Remove a key; the nodes that joined with it stay.
#[utoipa::path(
    delete, path = "/auth-keys/{id}", tag = "auth keys", security(("key" = ["auth-keys:write"])),
    params(("id" = u64, Path, description = "Its number")),
    responses(
        (status = 204, description = "The key has gone"),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn remove(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    id: Named,
) -> Result<StatusCode, ApiFailure> {
    let by = key.may(Area::AuthKeys.write())?;
    let id = id.number("auth key")?;
    server.admin.delete_auth_key(id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<AuthKeyRow> for AuthKey {
    fn from(row: AuthKeyRow) -> Self {
        Self {
            id: row.id,
            owner: row.owner.into(),
            reusable: row.reusable,
            ephemeral: row.ephemeral,
            created_at: row.created_at.0,
            expires_at: row.expires_at.0,
            used_at: row.used_at.map(|at| at.0),
        }
    }
}
