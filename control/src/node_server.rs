//! The API for nodes.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use meshd_contract::identity::NodeId;
use meshd_contract::key::PublicKey;
use meshd_contract::keyring::write_rotations;
use meshd_contract::node_api::{LoginReport, MAX_LOGIN_EVENTS, RegisterRequest, Report};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::audit::{Actor, action};
use crate::auth_key::SecretHash;
use crate::checks::{self, Checks};
use crate::clock::now;
use crate::document_stream::{self, LastEventId};
use crate::endpoint::endpoints;
use crate::host_key;
use crate::hub::Hub;
use crate::join_server;
use crate::last_seen::LastSeen;
use crate::problem::ApiError;
use crate::rate::{Paces, Rate};
use crate::replay::{Replays, Seen};
use crate::signed_request::SignedRequest;
use crate::signer::Signer;
use crate::store::{Host, NodeState, Registration, Store, StoreError};
use crate::web;

/// What a node may tell of logins: the log is never emptied, and a node that was taken over must not
/// fill the disk with it soon.
const LOGINS: Rate = Rate {
    burst: 5_000,
    per_second: 20,
};

/// What the API works on.
pub(crate) struct NodeServer {
    /// What control remembers.
    pub(crate) store: Store,
    /// Where streams and changes meet.
    pub(crate) hub: Arc<Hub>,
    /// Becomes true when control stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// What logins wait for.
    pub(crate) checks: Arc<Checks>,
    /// Who was heard of.
    pub(crate) last_seen: Arc<LastSeen>,
    /// Signs what nodes are told.
    pub(crate) signer: Arc<Signer>,
    replays: Mutex<Replays>,
    logins: Mutex<Paces<NodeId>>,
    /// How long the key of a user's node counts, in seconds.
    key_lifetime: u64,
}

/// A request whose node is known and whose signature was checked.
struct Authenticated {
    node: NodeId,
    state: NodeState,
    request: SignedRequest,
}

impl NodeServer {
    /// The API of the mesh in `store`.
    pub(crate) fn new(
        store: Store,
        hub: Arc<Hub>,
        checks: Arc<Checks>,
        signer: Arc<Signer>,
        key_lifetime: u64,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            hub,
            stop,
            checks,
            last_seen: LastSeen::new(),
            signer,
            replays: Mutex::default(),
            logins: Mutex::new(Paces::new(LOGINS)),
            key_lifetime,
        }
    }

    /// The paths of the API.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/identity", get(identity))
            .route("/v1/keys", get(keys))
            .route("/v1/register", post(register))
            .route("/v1/join", post(join_server::ask))
            .route("/v1/join/wait", post(join_server::wait))
            .route("/v1/join/leave", post(join_server::leave))
            .route("/v1/report", post(report))
            .route("/v1/logins", post(logins))
            .route("/v1/documents", get(documents))
            .route("/v1/logout", post(logout))
            .merge(checks::router())
            .fallback(not_found)
            .method_not_allowed_fallback(async || ApiError::Method)
            .with_state(Arc::new(self))
    }

    /// Reads a request and finds out which node, or former node, has signed it.
    ///
    /// Nothing is changed by reading documents, and whoever could repeat such a request has seen
    /// its answer, so that only other requests count once.
    async fn authenticate(&self, request: Request<Body>) -> Result<Authenticated, ApiError> {
        let request = SignedRequest::read(request).await?;
        let node = request
            .node
            .ok_or(ApiError::Header(meshd_contract::node_api::NODE_HEADER))?;
        let state = self.store.node_state(node).await?;
        let state = state.ok_or(ApiError::UnknownNode(node))?;
        let (NodeState::Member(key) | NodeState::Leaving(key) | NodeState::Deleted(key)) = state;
        request.verify(&key, now())?;
        if !request.only_reads() {
            self.refuse_repeated(&request, &key)?;
        }
        Ok(Authenticated {
            node,
            state,
            request,
        })
    }

    /// The same, for a node that is still part of the mesh.
    pub(crate) async fn member(
        &self,
        request: Request<Body>,
    ) -> Result<(NodeId, SignedRequest), ApiError> {
        let authenticated = self.authenticate(request).await?;
        match authenticated.state {
            NodeState::Member(_) => Ok((authenticated.node, authenticated.request)),
            NodeState::Leaving(_) | NodeState::Deleted(_) => Err(ApiError::Gone),
        }
    }

    /// Refuses a request that has come before.
    ///
    /// # Errors
    /// [`ApiError::Replayed`], or [`ApiError::Busy`] when there are more than can be remembered.
    pub(crate) fn refuse_repeated(
        &self,
        request: &SignedRequest,
        key: &PublicKey,
    ) -> Result<(), ApiError> {
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        match replays.note(key, request.signature, request.time, now()) {
            Seen::New => Ok(()),
            Seen::Before => Err(ApiError::Replayed),
            Seen::TooMany => Err(ApiError::Busy),
        }
    }
}

/// Nodes are told in their way, people in theirs.
async fn not_found(uri: Uri) -> Response {
    match uri.path().starts_with("/v1/") {
        true => ApiError::NotFound.into_response(),
        false => web::not_found(uri).await,
    }
}

impl NodeServer {
    fn pace_logins(&self, node: NodeId, events: usize) -> Result<(), ApiError> {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let mut paces = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let paced = paces.take(node, events, Instant::now());
        paced.map_err(|wait| ApiError::TooOften(wait.as_secs() + 1))
    }
}

async fn identity(State(server): State<Arc<NodeServer>>) -> String {
    server.signer.current().identity.clone()
}

async fn keys(State(server): State<Arc<NodeServer>>) -> Result<Vec<u8>, ApiError> {
    let signing = server.signer.current();
    let rotations = signing.rotations.iter();
    let rotations: Vec<String> = rotations.map(|rotation| rotation.signed.clone()).collect();
    write_rotations(&rotations).map_err(|error| StoreError::Content(error.to_string()).into())
}

async fn register(
    State(server): State<Arc<NodeServer>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let request = SignedRequest::read(request).await?;
    let body: RegisterRequest = request.json()?;
    request.verify(&body.node_key, now())?;
    let registration = Registration {
        hash: SecretHash::of(&body.auth_key),
        host: Host {
            node_key: body.node_key,
            wireguard_key: body.wireguard_key,
            name: body.name,
        },
        key_expires_at: now().plus(server.key_lifetime),
    };
    if let Some(response) = server.store.repeated_registration(&registration).await? {
        return Ok(axum::Json(response).into_response());
    }
    server.refuse_repeated(&request, &body.node_key)?;
    let response = server.store.register(&registration, now()).await?;
    tracing::info!(node = %response.node, name = %response.name, "a node joined");
    server.hub.request();
    Ok(axum::Json(response).into_response())
}

async fn report(
    State(server): State<Arc<NodeServer>>,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let (node, request) = server.member(request).await?;
    let report: Report = request.json()?;
    host_key::check(&report.ssh_host_keys)?;
    let release: String = report.release.chars().take(64).collect();
    let endpoints = endpoints(request.observed, &report);
    let is_news = server
        .store
        .save_report(node, &endpoints, &report.ssh_host_keys, &release, now())
        .await?;
    if is_news {
        server.hub.request();
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn logins(
    State(server): State<Arc<NodeServer>>,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let (node, request) = server.member(request).await?;
    let report: LoginReport = request.json()?;
    if report.events.len() > MAX_LOGIN_EVENTS || report.first == 0 {
        let sentence = format!("at most {MAX_LOGIN_EVENTS} events are told at a time, from 1 on");
        return Err(ApiError::Malformed(sentence));
    }
    server.pace_logins(node, report.events.len())?;
    server.store.note_logins(node, &report, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn documents(
    State(server): State<Arc<NodeServer>>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let seen = LastEventId::of(&headers)?;
    let authenticated = server.authenticate(request).await?;
    let node = authenticated.node;
    match authenticated.state {
        NodeState::Member(_) => server.last_seen.note(node),
        NodeState::Leaving(_) => {}
        NodeState::Deleted(_) => return document_stream::last_words(&server, node, seen).await,
    }
    Ok(document_stream::open(server, node, seen))
}

async fn logout(
    State(server): State<Arc<NodeServer>>,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let (node, _) = server.member(request).await?;
    server
        .store
        .delete_node(node, now(), &Actor::Node(node), action::NODE_LOGOUT)
        .await?;
    tracing::info!(%node, "a node logged out");
    server.hub.request();
    Ok(StatusCode::NO_CONTENT)
}
