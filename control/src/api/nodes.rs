//! Nodes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use meshd_contract::identity::NodeName;
use meshd_contract::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::failure::{Common, PROBLEM, Problem};
use super::input::{self, Json, Key, Named, Query};
use super::{ApiFailure, ApiServer, Area};
use crate::admin::protocol::NodeEntry;

/// The most nodes of one page.
const MOST: usize = 1000;

/// A host of the mesh.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Node {
    /// Given once and never reused.
    id: u64,
    name: String,
    owner: Owner,
    addresses: Addresses,
    /// It follows its documents now.
    connected: bool,
    /// When it was last heard of.
    last_seen: Option<u64>,
    /// From then on it is nobody's peer; null means never.
    key_expires_at: Option<u64>,
    /// It may be somebody's peer.
    approved: bool,
    /// It is removed when it is gone.
    ephemeral: bool,
    /// Where its WireGuard may be reached.
    endpoints: Vec<String>,
    /// The version of meshd that it reported.
    release: String,
    /// When it joined.
    created_at: u64,
}

/// Whom a node belongs to: a user, or nobody when it carries tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    /// The login of its user.
    User(String),
    /// Its tags, each with the prefix tag:.
    Tags(Vec<String>),
}

// What is derived would permit both at once, other fields, and no tag.
impl PartialSchema for Owner {
    fn schema() -> RefOr<Schema> {
        let object = |name: &str, schema: RefOr<Schema>| {
            ObjectBuilder::new()
                .property(name, schema)
                .required(name)
                .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        };
        let tags = ArrayBuilder::new().items(String::schema());
        let tags = tags.min_items(Some(1)).build();
        OneOfBuilder::new()
            .description(Some("A user, or tags, each with the prefix tag:"))
            .item(object("user", String::schema()))
            .item(object("tags", tags.into()))
            .into()
    }
}

impl ToSchema for Owner {}

/// Where a node is found in the mesh.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Addresses {
    #[schema(format = "ipv4")]
    v4: String,
    #[schema(format = "ipv6")]
    v6: String,
}

/// A page of nodes, by number.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// What to give as `after` for the next page; null on the last one.
    next: Option<u64>,
}

/// Which nodes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Those with a greater number.
    #[serde(deserialize_with = "input::number")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// At most so many; 1000 if nothing is said.
    #[serde(deserialize_with = "input::number")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// What is to change of a node; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeChange {
    /// A lower-case DNS label that is not digits only.
    #[schema(
        value_type = Option<String>,
        nullable = false,
        max_length = 63,
        pattern = "^([0-9]*[a-z]([a-z0-9-]*[a-z0-9])?|[0-9]+-[a-z0-9-]*[a-z0-9])$"
    )]
    #[serde(default, deserialize_with = "said")]
    name: Option<NodeName>,
    /// When its key is to expire; null for never.
    #[serde(default, deserialize_with = "said_or_null")]
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_991_u64)]
    key_expires_at: Option<Option<u64>>,
    /// True lets it be somebody's peer.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Approval>, nullable = false)]
    approved: Option<Approval>,
}

/// An approval is not taken back: the node is removed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "bool")]
pub(super) struct Approval;

impl PartialSchema for Approval {
    fn schema() -> RefOr<Schema> {
        let only = ObjectBuilder::new().schema_type(Type::Boolean);
        only.enum_values(Some([true])).into()
    }
}

impl ToSchema for Approval {}

impl TryFrom<bool> for Approval {
    type Error = &'static str;

    fn try_from(approved: bool) -> Result<Self, Self::Error> {
        match approved {
            true => Ok(Self),
            false => Err("an approval is not taken back: remove the node"),
        }
    }
}

fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn said_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    input::number(from).map(Some)
}

/// List the nodes.
#[utoipa::path(
    get, path = "/nodes", tag = "nodes", security(("key" = ["nodes:read"])),
    params(Which),
    responses((status = 200, description = "A page of nodes", body = Nodes), Common)
)]
pub(super) async fn list(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Query(which): Query<Which>,
) -> Result<axum::Json<Nodes>, ApiFailure> {
    key.may(Area::Nodes.read())?;
    let limit = input::limit(which.limit, MOST)?;
    let nodes = server.admin.nodes().await?.into_iter();
    let mut nodes = nodes.filter(|node| which.after.is_none_or(|after| node.id.0 > after));
    let page: Vec<Node> = nodes.by_ref().take(limit).map(Node::from).collect();
    let next = nodes.next().and(page.last()).map(|last| last.id);
    Ok(axum::Json(Nodes { nodes: page, next }))
}

/// Show a node.
#[utoipa::path(
    get, path = "/nodes/{node}", tag = "nodes", security(("key" = ["nodes:read"])),
    params(("node" = String, Path, description = "Its number or name")),
    responses(
        (status = 200, description = "The node", body = Node),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn show(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(node): Named,
) -> Result<axum::Json<Node>, ApiFailure> {
    key.may(Area::Nodes.read())?;
    let node = server.admin.node(&node).await?;
    Ok(axum::Json(node.into()))
}

/// Rename a node, approve it, or set when its key expires.
#[utoipa::path(
    patch, path = "/nodes/{node}", tag = "nodes", security(("key" = ["nodes:write"])),
    params(("node" = String, Path, description = "Its number or name")),
    request_body = NodeChange,
    responses(
        (status = 200, description = "The node as it is now", body = Node),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The name is taken", body = Problem, content_type = PROBLEM),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn change(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(node): Named,
    Json(change): Json<NodeChange>,
) -> Result<axum::Json<Node>, ApiFailure> {
    let by = key.may(Area::Nodes.write())?;
    let admin = &server.admin;
    let id = admin.node(&node).await?.id.to_string();
    if let Some(name) = &change.name {
        admin.rename_node(&id, name, &by).await?;
    }
    if let Some(expires_at) = change.key_expires_at {
        admin
            .set_expiry(&id, expires_at.map(Timestamp), &by)
            .await?;
    }
    if change.approved.is_some() {
        admin.approve_node(&id, &by).await?;
    }
    Ok(axum::Json(admin.node(&id).await?.into()))
}

/// Remove a node from the mesh.
#[utoipa::path(
    delete, path = "/nodes/{node}", tag = "nodes", security(("key" = ["nodes:write"])),
    params(("node" = String, Path, description = "Its number or name")),
    responses(
        (status = 204, description = "The node has gone"),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn remove(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(node): Named,
) -> Result<StatusCode, ApiFailure> {
    let by = key.may(Area::Nodes.write())?;
    server.admin.delete_node(&node, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<NodeEntry> for Node {
    fn from(entry: NodeEntry) -> Self {
        Self {
            id: entry.id.0,
            name: entry.name.to_string(),
            owner: entry.owner.into(),
            addresses: Addresses {
                v4: entry.addresses.v4.to_string(),
                v6: entry.addresses.v6.to_string(),
            },
            connected: entry.connected,
            last_seen: entry.last_seen.map(|at| at.0),
            key_expires_at: entry.key_expires_at.map(|at| at.0),
            approved: entry.approved,
            ephemeral: entry.ephemeral,
            endpoints: entry.endpoints.iter().map(ToString::to_string).collect(),
            release: entry.release,
            created_at: entry.created_at.0,
        }
    }
}

impl From<meshd_contract::identity::Owner> for Owner {
    fn from(owner: meshd_contract::identity::Owner) -> Self {
        match owner {
            meshd_contract::identity::Owner::User(login) => Self::User(login),
            meshd_contract::identity::Owner::Tags(tags) => Self::Tags(tags),
        }
    }
}

impl From<Owner> for meshd_contract::identity::Owner {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::User(login) => Self::User(login),
            Owner::Tags(tags) => Self::Tags(tags),
        }
    }
}
