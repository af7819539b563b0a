//! What owners have approved for logins that a rule checks.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{Common, PROBLEM, Problem};
use super::input::{Key, Named};
use super::{ApiFailure, ApiServer, Area};
use crate::clock::now;
use crate::store::Approval;

/// An owner has shown to be there, for logins from a node of theirs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovedLogins {
    id: u64,
    /// The number of the node that the logins come from.
    source: u64,
    /// The user who has approved it.
    owner: String,
    /// root, or nonroot for every other account.
    class: String,
    /// The number of the only node that it is for; null for more than one.
    destination: Option<u64>,
    /// What an approval ahead was limited to: a tag or a node's name; null for every node.
    target: Option<String>,
    /// The only connection that it is for.
    connection: Option<String>,
    /// It was asked for before a login needed it.
    is_ahead: bool,
    approved_at: u64,
    /// It counts no longer than until then; a rule may want a more recent one.
    expires_at: u64,
}

/// All that count, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Approvals {
    approvals: Vec<ApprovedLogins>,
}

/// List what is approved for logins from a node.
#[utoipa::path(
    get, path = "/nodes/{node}/approvals", tag = "nodes", security(("key" = ["nodes:read"])),
    params(("node" = String, Path, description = "Its number or name")),
    responses(
        (status = 200, description = "All that count, the oldest first", body = Approvals),
        (status = 404, description = "There is no such node", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn list(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(node): Named,
) -> Result<axum::Json<Approvals>, ApiFailure> {
    key.may(Area::Nodes.read())?;
    let node = server.admin.node(&node).await?;
    let approvals = server.admin.store.approvals(node.id, now()).await?;
    Ok(axum::Json(Approvals {
        approvals: approvals.into_iter().map(ApprovedLogins::from).collect(),
    }))
}

/// List what is approved in the whole mesh.
#[utoipa::path(
    get, path = "/approvals", tag = "nodes", security(("key" = ["nodes:read"])),
    responses(
        (status = 200, description = "All that count, the oldest first", body = Approvals),
        Common
    )
)]
pub(super) async fn list_all(
    State(server): State<Arc<ApiServer>>,
    key: Key,
) -> Result<axum::Json<Approvals>, ApiFailure> {
    key.may(Area::Nodes.read())?;
    let approvals = server.admin.store.all_approvals(now()).await?;
    Ok(axum::Json(Approvals {
        approvals: approvals.into_iter().map(ApprovedLogins::from).collect(),
    }))
}

/// Take back what is approved for logins from a node; sessions that it has let in end.
#[utoipa::path(
    delete, path = "/nodes/{node}/approvals", tag = "nodes", security(("key" = ["nodes:write"])),
    params(("node" = String, Path, description = "Its number or name")),
    responses(
        (status = 204, description = "Nothing is approved any more"),
        (status = 404, description = "There is no such node", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn revoke(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(node): Named,
) -> Result<StatusCode, ApiFailure> {
    let by = key.may(Area::Nodes.write())?;
    server.admin.take_back_of_node(&node, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take back what is approved for logins from all nodes of a user.
#[utoipa::path(
    delete, path = "/users/{login}/approvals", tag = "users",
    security(("key" = ["users:write"])),
    params(("login" = String, Path, description = "An e-mail address")),
    responses(
        (status = 204, description = "Nothing is approved any more"),
        (status = 404, description = "There is no such user", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn revoke_of_user(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(login): Named,
) -> Result<StatusCode, ApiFailure> {
    let by = key.may(Area::Users.write())?;
    server.admin.take_back_of_user(&login, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Approval> for ApprovedLogins {
    fn from(approval: Approval) -> Self {
        Self {
            id: approval.id,
            source: approval.source.0,
            owner: approval.owner,
            class: approval.class.to_string(),
            destination: approval.destination.map(|node| node.0),
            target: approval.target,
            connection: approval.connection,
            is_ahead: approval.is_ahead,
            approved_at: approval.approved_at.0,
            expires_at: approval.expires_at.0,
        }
    }
}
