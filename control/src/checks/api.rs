//! What nodes ask about checks.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use meshd_contract::node_api::{AheadRequest, Approved, CheckId, CheckRequest};

use crate::audit::Actor;
use crate::clock::now;
use crate::node_server::NodeServer;
use crate::problem::ApiError;
use crate::store::{Approval, Whose};

/// The paths about checks.
pub(crate) fn router() -> Router<Arc<NodeServer>> {
    Router::new()
        .route("/v1/checks", post(ask))
        .route("/v1/checks/wait", post(wait))
        .route("/v1/checks/end", post(end))
        .route("/v1/checks/ahead", post(ahead))
        .route("/v1/checks/approved", post(approved))
        .route("/v1/checks/revoke", post(revoke))
}

type Server = State<Arc<NodeServer>>;

async fn ask(State(server): Server, request: Request<Body>) -> Result<Response, ApiError> {
    let (node, request) = server.member(request).await?;
    let asked: CheckRequest = request.json()?;
    let state = server.checks.ask(node, &asked.need).await?;
    Ok(axum::Json(state).into_response())
}

async fn wait(State(server): Server, request: Request<Body>) -> Result<Response, ApiError> {
    let (node, request) = server.member(request).await?;
    let waited: CheckId = request.json()?;
    let CheckId { id, connection, .. } = &waited;
    let mut stop = server.stop.clone();
    let state = tokio::select! {
        state = server.checks.wait(node, id, connection) => state?,
        _ = stop.wait_for(|stop| *stop) => return Err(ApiError::Busy),
    };
    Ok(axum::Json(state).into_response())
}

async fn end(State(server): Server, request: Request<Body>) -> Result<StatusCode, ApiError> {
    let (node, request) = server.member(request).await?;
    let ended: CheckId = request.json()?;
    server.checks.end(node, &ended.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn ahead(State(server): Server, request: Request<Body>) -> Result<Response, ApiError> {
    let (node, request) = server.member(request).await?;
    let wish: AheadRequest = request.json()?;
    let state = server.checks.ask_ahead(node, &wish).await?;
    Ok(axum::Json(state).into_response())
}

async fn approved(State(server): Server, request: Request<Body>) -> Result<Response, ApiError> {
    let (node, _) = server.member(request).await?;
    let mut answer = Vec::new();
    for approval in server.store.approvals(node, now()).await? {
        answer.push(shown(&server, approval).await?);
    }
    Ok(axum::Json(answer).into_response())
}

async fn revoke(State(server): Server, request: Request<Body>) -> Result<StatusCode, ApiError> {
    let (node, _) = server.member(request).await?;
    let whose = Whose::Node(node);
    server.checks.take_back(&whose, &Actor::Node(node)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn shown(server: &NodeServer, approval: Approval) -> Result<Approved, ApiError> {
    let destination = match approval.destination {
        Some(node) => server.store.node(node).await?.map(|node| node.name),
        None => None,
    };
    Ok(Approved {
        class: approval.class,
        destination,
        target: approval.target,
        is_ahead: approval.is_ahead,
        approved_at: approval.approved_at,
        expires_at: approval.expires_at,
    })
}
