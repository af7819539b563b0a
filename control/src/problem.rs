//! What a node is told when its request is refused.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use meshd_contract::identity::NodeId;
use meshd_contract::node_api::{MAX_CLOCK_SKEW, Problem};
use meshd_contract::time::Timestamp;
use thiserror::Error;

use crate::store::{Refusal, StoreError};

/// Why a node's request is refused.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// A header of the signature is missing or unreadable.
    #[error("the header {0} is missing or unreadable; every request is signed by the node")]
    Header(&'static str),
    /// The clocks differ too much.
    #[error(
        "the clocks of this node and of control differ by {difference} seconds, and more than \
         {MAX_CLOCK_SKEW} are not permitted; set the clock (control has {now})"
    )]
    ClockSkew {
        /// In seconds.
        difference: u64,
        /// Control's clock.
        now: Timestamp,
    },
    /// Another key, or another text.
    #[error("the signature does not fit this request and the key of this node")]
    Signature,
    /// A number that was never given.
    #[error("there is no node {0} in this mesh; join with `mesh up` and an auth key")]
    UnknownNode(NodeId),
    /// The node was deleted.
    #[error("this node was removed from the mesh; join again with `mesh up` and a new auth key")]
    Gone,
    /// The same signature twice.
    #[error("this very request has been seen before; send it again with a later time")]
    Replayed,
    /// More than can be remembered.
    #[error("control has too many requests; wait a minute and try again")]
    Busy,
    /// The body is too long.
    #[error("a request has at most {0} bytes")]
    TooLarge(usize),
    /// The body did not come.
    #[error("the request did not arrive in time; try again")]
    Timeout,
    /// Too often.
    #[error("this address has asked too often; wait {0} seconds and try again")]
    TooOften(u64),
    /// Not what is expected there.
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    /// No such path.
    #[error("there is nothing at this address; is this the right version of meshd?")]
    NotFound,
    /// The path does not take this method.
    #[error("this address does not take this method; is this the right version of meshd?")]
    Method,
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApiError {
    /// The status and the kind's name.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Header(_) => (StatusCode::UNAUTHORIZED, "unsigned"),
            Self::ClockSkew { .. } => (StatusCode::UNAUTHORIZED, "clock-skew"),
            Self::Signature => (StatusCode::UNAUTHORIZED, "bad-signature"),
            Self::UnknownNode(_) => (StatusCode::UNAUTHORIZED, "unknown-node"),
            Self::Gone => (StatusCode::GONE, "node-gone"),
            Self::Replayed => (StatusCode::CONFLICT, "replayed"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "too-often"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::Store(StoreError::Refused(refusal)) => refusal_kind(refusal),
            Self::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(StoreError::Refused(refusal)) => refusal.to_string(),
            Self::Store(_) => "control has a fault of its own; its log says more".to_owned(),
            other => other.to_string(),
        }
    }
}

fn refusal_kind(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::AuthKeyUnknown => (StatusCode::FORBIDDEN, "auth-key-unknown"),
        Refusal::AuthKeyExpired => (StatusCode::FORBIDDEN, "auth-key-expired"),
        Refusal::AuthKeyUsed => (StatusCode::FORBIDDEN, "auth-key-used"),
        Refusal::JoinRefused => (StatusCode::FORBIDDEN, "join-refused"),
        Refusal::JoinOver | Refusal::JoinLeft | Refusal::JoinDone => {
            (StatusCode::GONE, "join-over")
        }
        Refusal::TooManyJoins => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        Refusal::NameTaken(_) => (StatusCode::CONFLICT, "name-taken"),
        Refusal::WireGuardKeyTaken => (StatusCode::CONFLICT, "wireguard-key-taken"),
        Refusal::WireGuardKeyChanged(_) => (StatusCode::CONFLICT, "wireguard-key-changed"),
        Refusal::NoAddress => (StatusCode::INSUFFICIENT_STORAGE, "no-address"),
        Refusal::TooManyChecks => (StatusCode::TOO_MANY_REQUESTS, "too-many-checks"),
        Refusal::NoNode(_) => (StatusCode::GONE, "node-gone"),
        Refusal::UserExists(_)
        | Refusal::NoUser(_)
        | Refusal::LastAdmin(_)
        | Refusal::PolicyChanged
        | Refusal::NoAuthKey(_)
        | Refusal::NoApiKey(_)
        | Refusal::OtherRole(..)
        | Refusal::TooManyPasskeys
        | Refusal::PasskeyKnown
        | Refusal::NotInvited(_)
        | Refusal::OtherPerson(_)
        | Refusal::RenameTaken(_) => (StatusCode::CONFLICT, "conflict"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, name) = self.kind();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self, "a request failed");
        }
        let problem = Problem {
            kind: format!("urn:meshd:problem:{name}"),
            status: status.as_u16(),
            detail: self.detail(),
        };
        // A struct of strings and a number is always writable as JSON.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let json = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, json)], body).into_response()
    }
}
