//! The API for hosts that ask a person to let them in.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meshd_contract::node_api::{
    JoinAnswer, JoinPage, JoinRequest, JoinWait, Renewal, renewal_text,
};

use crate::clock::now;
use crate::node_server::NodeServer;
use crate::problem::ApiError;
use crate::signed_request::SignedRequest;
use crate::store::{Host, Joining, NewJoin, NodeRow};
use crate::web::{Token, Web};

/// How long a person has to open the page and decide, in seconds.
const PATIENCE: u64 = 1_800;
/// How long an answer is held back while nothing happens; hosts give an answer ten seconds.
const HOLD: Duration = Duration::from_secs(7);
const MAX_TAGS: usize = 16;

/// Takes a request, and tells where a person decides about it.
pub(crate) async fn ask(
    State(server): State<Arc<NodeServer>>,
    Extension(web): Extension<Arc<Web>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let request = SignedRequest::read(request).await?;
    let body: JoinRequest = request.json()?;
    request.verify(&body.node_key, now())?;
    server.refuse_repeated(&request, &body.node_key)?;
    let tried = web.permit_join(request.observed);
    tried.map_err(|wait| ApiError::TooOften(wait.as_secs() + 1))?;
    let renews = match &body.renews {
        Some(renewal) => Some(renewed(&server, &body, renewal).await?),
        None => None,
    };
    let secret = Token::short().map_err(|error| ApiError::Malformed(error.to_string()))?;
    let expires_at = now().plus(PATIENCE);
    let join = NewJoin {
        secret: secret.hash(),
        host: Host {
            node_key: body.node_key,
            wireguard_key: body.wireguard_key,
            name: match &renews {
                Some(node) => node.name.clone(),
                None => body.name,
            },
        },
        renews: renews.map(|node| node.id),
        tags: tags(body.tags)?,
        release: body.release.chars().take(64).collect(),
        source: request.observed,
        expires_at,
    };
    let answer = match server.store.ask_to_join(&join, now()).await? {
        Joining::Joined(response) => JoinAnswer::Joined(response),
        Joining::Waiting => {
            tracing::info!(name = %join.host.name, source = %join.source, "a host asks to join");
            JoinAnswer::Asked(JoinPage {
                url: web.url.at(&format!("/join/{}", secret.expose())),
                expires_at,
            })
        }
    };
    Ok(Json(answer).into_response())
}

/// The node that brings new keys, as its old key shows.
async fn renewed(
    server: &NodeServer,
    body: &JoinRequest,
    renewal: &Renewal,
) -> Result<NodeRow, ApiError> {
    let node = server.store.node(renewal.node).await?;
    let node = node.ok_or(ApiError::Gone)?;
    let text = renewal_text(node.id, &body.node_key, &body.wireguard_key);
    let signature = STANDARD.decode(&renewal.signature);
    let is_its_own = signature.is_ok_and(|signature| node.node_key.verifies(&text, &signature));
    match is_its_own || node.node_key == body.node_key {
        true => Ok(node),
        false => Err(ApiError::Signature),
    }
}

/// Tells as soon as a person has decided, or after a while that nobody has.
pub(crate) async fn wait(
    State(server): State<Arc<NodeServer>>,
    Extension(web): Extension<Arc<Web>>,
    request: Request<Body>,
) -> Result<Json<JoinAnswer>, ApiError> {
    let request = SignedRequest::read(request).await?;
    let body: JoinWait = request.json()?;
    request.verify(&body.node_key, now())?;
    let mut decisions = web.decisions.subscribe();
    let mut stop = server.stop.clone();
    let enough = tokio::time::sleep(HOLD);
    tokio::pin!(enough);
    loop {
        if let Joining::Joined(node) = server.store.joining(&body.node_key, now()).await? {
            return Ok(Json(JoinAnswer::Joined(node)));
        }
        let is_over = tokio::select! {
            changed = decisions.changed() => changed.is_err(),
            _ = stop.wait_for(|stop| *stop) => true,
            () = &mut enough => true,
        };
        if is_over {
            return Ok(Json(JoinAnswer::Waiting));
        }
    }
}

/// The host does not wait any more.
pub(crate) async fn leave(
    State(server): State<Arc<NodeServer>>,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let request = SignedRequest::read(request).await?;
    let body: JoinWait = request.json()?;
    request.verify(&body.node_key, now())?;
    server.refuse_repeated(&request, &body.node_key)?;
    server.store.leave_join(&body.node_key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tags sorted and without duplicates.
fn tags(mut tags: Vec<String>) -> Result<Vec<String>, ApiError> {
    tags.sort();
    tags.dedup();
    let are_tags = tags
        .iter()
        .all(|tag| tag.starts_with("tag:") && tag.len() <= 64);
    match are_tags && tags.len() <= MAX_TAGS {
        true => Ok(tags),
        false => Err(ApiError::Malformed(format!(
            "at most {MAX_TAGS} tags, each written tag:NAME"
        ))),
    }
}
