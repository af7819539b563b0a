//! What owners have approved for logins that a rule checks.

use std::sync::Arc;

use axum::extract::State;
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

impl From<Approval> for ApprovedLogins {
    fn from(approval: Approval) -> Self {
        Self {
            id: approval.id,
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
