//! What a program is told when its request is refused (RFC 9457).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use thiserror::Error;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::Scope;
use crate::admin::failure::Failure;
use crate::store::{Refusal, StoreError};

/// The media type of problems.
pub(super) const PROBLEM: &str = "application/problem+json";

/// Why a request is refused.
#[derive(Debug, Error)]
pub(crate) enum ApiFailure {
    /// No key at all.
    #[error(
        "send an API key as \"Authorization: Bearer KEY\"; `meshd-control apikeys create` makes one"
    )]
    NoKey,
    /// A key that control never made, or that was deleted, or that has expired.
    #[error("this API key does not count: it has expired, was deleted, or never was one")]
    UnknownKey,
    /// A key for something else.
    #[error("this API key lacks the scope {0}")]
    Scope(Scope),
    /// Too many requests.
    #[error("too many requests: wait {} s", .0.as_secs() + 1)]
    TooOften(Duration),
    /// The body is too long.
    #[error("a request to this address has at most {0} bytes")]
    TooLarge(usize),
    /// The body did not come.
    #[error("the request did not arrive in time; try again")]
    Timeout,
    /// Another media type than is understood.
    #[error("the body must be {0}, and the Content-Type must say so")]
    MediaType(&'static str),
    /// Not what is expected there.
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    /// A change of the policy that does not say which policy it has seen.
    #[error("send the ETag of the policy that you have seen as If-Match, or * to replace any")]
    NoPrecondition,
    /// Another policy than the one that was seen.
    #[error("the policy is another one by now; read it again")]
    Precondition,
    /// It does not fit what there is.
    #[error("{0}")]
    Conflict(String),
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// No such path.
    #[error("there is nothing at this address; /api/v1/openapi.json has all")]
    NoPath,
    /// The path does not take this method.
    #[error("this address does not take this method; /api/v1/openapi.json has all")]
    Method,
    /// The operation was not carried out.
    #[error(transparent)]
    Operation(#[from] Failure),
}

impl From<StoreError> for ApiFailure {
    fn from(error: StoreError) -> Self {
        Self::Operation(error.into())
    }
}

/// A problem as RFC 9457 writes it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A URN of the kind, such as urn:meshd:problem:name-taken.
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// One sentence that says what to do.
    detail: String,
    /// Each single problem, where there can be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    problems: Vec<String>,
}

impl ApiFailure {
    /// The status and the kind's name.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoKey => (StatusCode::UNAUTHORIZED, "no-api-key"),
            Self::UnknownKey => (StatusCode::UNAUTHORIZED, "api-key-unknown"),
            Self::Scope(_) => (StatusCode::FORBIDDEN, "scope-missing"),
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NoPrecondition => (StatusCode::PRECONDITION_REQUIRED, "no-precondition"),
            Self::Precondition => (StatusCode::PRECONDITION_FAILED, "policy-changed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::NotFound(_) | Self::NoPath => (StatusCode::NOT_FOUND, "not-found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::Operation(failure) => failure_kind(failure),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Operation(Failure::Store(StoreError::Refused(refusal))) => refusal.to_string(),
            Self::Operation(Failure::Store(_) | Failure::NoRandom(_) | Failure::Broken(_)) => {
                "control has a fault of its own; its log says more".to_owned()
            }
            Self::Operation(Failure::PolicyRefused(_)) => "this policy is refused".to_owned(),
            Self::Operation(Failure::WouldCut(_)) => {
                "this policy would cut what an administrator has now; send it with allow_cuts=true \
                 if that is meant"
                    .to_owned()
            }
            other => other.to_string(),
        }
    }

    fn problems(&self) -> Vec<String> {
        match self {
            Self::Operation(Failure::PolicyRefused(problems) | Failure::WouldCut(problems)) => {
                problems.clone()
            }
            _ => Vec::new(),
        }
    }
}

fn failure_kind(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Unfit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unfit"),
        Failure::UnknownTag(_) => (StatusCode::CONFLICT, "unknown-tag"),
        Failure::PolicyRefused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "policy-refused"),
        Failure::WouldCut(_) => (StatusCode::CONFLICT, "would-cut"),
        Failure::Store(StoreError::Refused(refusal)) => refusal_kind(refusal),
        Failure::NoRandom(_) | Failure::Broken(_) | Failure::Store(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

fn refusal_kind(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::NoUser(_) | Refusal::NoNode(_) | Refusal::NoAuthKey(_) | Refusal::NoApiKey(_) => {
            (StatusCode::NOT_FOUND, "not-found")
        }
        Refusal::UserExists(_) => (StatusCode::CONFLICT, "user-exists"),
        Refusal::LastAdmin(_) => (StatusCode::CONFLICT, "last-admin"),
        Refusal::NameTaken(_) | Refusal::RenameTaken(_) => (StatusCode::CONFLICT, "name-taken"),
        Refusal::PolicyChanged => (StatusCode::PRECONDITION_FAILED, "policy-changed"),
        _ => (StatusCode::CONFLICT, "conflict"),
    }
}

impl IntoResponse for ApiFailure {
    fn into_response(self) -> Response {
        let (status, name) = self.kind();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self, "a request of a program failed");
        }
        let problem = Problem {
            kind: format!("urn:meshd:problem:{name}"),
            status: status.as_u16(),
            detail: self.detail(),
            problems: self.problems(),
        };
        // A struct of strings and a number is always writable as JSON.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let json = HeaderValue::from_static(PROBLEM);
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::NoKey | Self::UnknownKey => {
                let bearer = HeaderValue::from_static("Bearer realm=\"meshd-control\"");
                headers.insert(header::WWW_AUTHENTICATE, bearer);
            }
            Self::TooOften(wait) => {
                headers.insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
            }
            _ => {}
        }
        response
    }
}

/// What every operation may answer.
pub(super) struct Common;

impl IntoResponses for Common {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let described = [
            ("400", "The request cannot be read"),
            ("401", "No API key, or one that does not count"),
            ("403", "An API key without the scope"),
            ("408", "The request did not arrive in time"),
            ("413", "The body is too long"),
            ("429", "Too many requests"),
            ("500", "A fault of control"),
        ];
        let response = |(status, text): (&str, &str)| (status.to_owned(), problem(text).into());
        described.into_iter().map(response).collect()
    }
}

fn problem(description: &str) -> Described {
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM, content)
        .build()
}
