//! The audit log.

use std::sync::Arc;

use axum::extract::State;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::failure::Common;
use super::input::{self, Key, Query};
use super::{ApiFailure, ApiServer, Area};
use crate::audit::{AuditQuery, AuditRow, MAX_PAGE};

/// The longest name of an action.
const MAX_ACTION: usize = 64;

/// Somebody has done something.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditEntry {
    /// Grows with each entry.
    id: u64,
    /// When, by control's clock.
    at: u64,
    /// control, unix:ID, user:LOGIN, api-key:ID or node:ID.
    actor: String,
    /// A dotted name such as policy.set.
    action: String,
    /// To whom or what: a login, a node's name, a number.
    target: String,
    /// A node says so, and control has not seen it.
    reported: bool,
    /// More about it, by name.
    #[schema(value_type = Object)]
    details: Map<String, Value>,
}

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    entries: Vec<AuditEntry>,
    /// What to give as `after`, or as `before` where the newest come first, for the next page; null
    /// where there was no more.
    next: Option<u64>,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Those with a greater number.
    #[serde(deserialize_with = "input::number")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// Those with a smaller number.
    #[serde(deserialize_with = "input::number")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    before: Option<u64>,
    /// Those from this second on.
    #[serde(deserialize_with = "input::number")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    since: Option<u64>,
    /// Those before this second.
    #[serde(deserialize_with = "input::number")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    until: Option<u64>,
    /// Those of this action, or whose action begins with it and a dot.
    #[param(max_length = 64)]
    action: Option<String>,
    order: Option<Order>,
    /// At most so many; 100 if nothing is said.
    #[serde(deserialize_with = "input::number")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
}

/// Which entries come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The oldest, if nothing is said.
    OldestFirst,
    NewestFirst,
}

/// List entries.
#[utoipa::path(
    get, path = "/audit", tag = "audit", security(("key" = ["audit:read"])),
    params(Which),
    responses((status = 200, description = "A page of entries", body = AuditPage), Common)
)]
pub(super) async fn list(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Query(which): Query<Which>,
) -> Result<axum::Json<AuditPage>, ApiFailure> {
    key.may(Area::Audit.read())?;
    let is_long = |action: &String| action.chars().count() > MAX_ACTION;
    if which.action.as_ref().is_some_and(is_long) {
        let sentence = format!("an action has at most {MAX_ACTION} characters");
        return Err(ApiFailure::Malformed(sentence));
    }
    let limit = match which.limit {
        None => 100,
        limit => input::limit(limit, MAX_PAGE as usize)?,
    };
    let query = AuditQuery {
        after: which.after,
        before: which.before,
        since: which.since.map(Timestamp),
        until: which.until.map(Timestamp),
        action: which.action,
        newest_first: which.order == Some(Order::NewestFirst),
        limit: u32::try_from(limit).unwrap_or(MAX_PAGE),
    };
    let rows = server.admin.store.audit(&query).await?;
    let is_full = rows.len() == limit;
    let next = rows.last().filter(|_| is_full).map(|last| last.id);
    let entries = rows.into_iter().map(AuditEntry::from).collect();
    Ok(axum::Json(AuditPage { entries, next }))
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at.0,
            actor: row.actor,
            action: row.action,
            target: row.target,
            reported: row.reported,
            details: row.details,
        }
    }
}
