//! The policy.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::failure::{Common, PROBLEM, Problem};
use super::input::{Key, PolicyText, Query};
use super::{ApiFailure, ApiServer, Area};

/// What was found when a policy was examined.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Examined {
    /// What may not be as expected, one sentence each.
    warnings: Vec<String>,
}

/// How a policy is saved.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Also if it cuts what a user with the role owner or admin has now.
    allow_cuts: bool,
}

/// Which policy a change may replace.
enum Precondition {
    Any,
    One(u64),
    /// One that there is not.
    None,
}

/// Show the policy as it was saved.
#[utoipa::path(
    get, path = "/policy", tag = "policy", security(("key" = ["policy:read"])),
    responses(
        (
            status = 200, description = "The policy (HuJSON)", body = String,
            content_type = "text/plain",
            headers(("ETag" = String, description = "Names this policy"))
        ),
        Common
    )
)]
pub(super) async fn show(
    State(server): State<Arc<ApiServer>>,
    key: Key,
) -> Result<Response, ApiFailure> {
    key.may(Area::Policy.read())?;
    let stored = server.admin.store.policy().await?;
    let Some(stored) = stored else {
        return Err(ApiFailure::NotFound("policy yet".to_owned()));
    };
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = [(header::CONTENT_TYPE, plain), tag(stored.id)];
    Ok((headers, stored.text).into_response())
}

/// Check a policy, run its tests and make it the one that counts.
#[utoipa::path(
    put, path = "/policy", tag = "policy", security(("key" = ["policy:write"])),
    params(
        How,
        ("If-Match" = String, Header, description = "The ETag of the policy that is replaced, or *")
    ),
    request_body(content = String, content_type = "text/plain", description = "The policy (HuJSON)"),
    responses(
        (
            status = 200, description = "It counts now", body = Examined,
            headers(("ETag" = String, description = "Names this policy"))
        ),
        (status = 409, description = "It would cut what an administrator has now", body = Problem, content_type = PROBLEM),
        (status = 412, description = "The policy is another one by now", body = Problem, content_type = PROBLEM),
        (status = 415, description = "The body is no text", body = Problem, content_type = PROBLEM),
        (status = 422, description = "The policy is wrong, or its tests fail", body = Problem, content_type = PROBLEM),
        (status = 428, description = "Without If-Match", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn set(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Query(how): Query<How>,
    headers: HeaderMap,
    PolicyText(text): PolicyText,
) -> Result<Response, ApiFailure> {
    let by = key.may(Area::Policy.write())?;
    let over = match precondition(&headers)? {
        Precondition::Any => None,
        Precondition::One(id) => Some(id),
        Precondition::None => return Err(ApiFailure::Precondition),
    };
    let (id, done) = server
        .admin
        .set_policy(&text, how.allow_cuts, over, &by)
        .await?;
    let examined = Examined {
        warnings: done.warnings,
    };
    Ok(([tag(id)], axum::Json(examined)).into_response())
}

/// Check a policy and run its tests, and save nothing.
#[utoipa::path(
    post, path = "/policy/check", tag = "policy", security(("key" = ["policy:read"])),
    request_body(content = String, content_type = "text/plain", description = "The policy (HuJSON)"),
    responses(
        (status = 200, description = "It could be saved", body = Examined),
        (status = 415, description = "The body is no text", body = Problem, content_type = PROBLEM),
        (status = 422, description = "The policy is wrong, or its tests fail", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn check(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    PolicyText(text): PolicyText,
) -> Result<axum::Json<Examined>, ApiFailure> {
    key.may(Area::Policy.read())?;
    let done = server.admin.check_policy(&text).await?;
    Ok(axum::Json(Examined {
        warnings: done.warnings,
    }))
}

/// The policy's number as an entity tag (RFC 9110, section 8.8.3).
fn tag(id: u64) -> (header::HeaderName, HeaderValue) {
    let tag = format!("\"{id}\"");
    // Quotes and digits are always a header's value.
    let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
    (header::ETAG, tag)
}

/// One strong tag or `*` (RFC 9110, section 13.1.1); of several there can be no meaning here.
fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiFailure> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let value = values.next().ok_or(ApiFailure::NoPrecondition)?;
    let text = value.to_str().unwrap_or_default().trim();
    if values.next().is_some() {
        return Ok(Precondition::None);
    }
    if text == "*" {
        return Ok(Precondition::Any);
    }
    let number = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let number = number.and_then(|number| number.parse().ok());
    Ok(number.map_or(Precondition::None, Precondition::One))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precondition_is_one_tag_or_a_star() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().expect("a value"));
            }
            precondition(&headers)
        };
        assert!(matches!(of(&["\"7\""]), Ok(Precondition::One(7))));
        assert!(matches!(of(&["*"]), Ok(Precondition::Any)));
        for other in [&["7"][..], &["W/\"7\""], &["\"x\""], &["\"7\"", "\"8\""]] {
            assert!(matches!(of(other), Ok(Precondition::None)), "{other:?}");
        }
        assert!(matches!(of(&[]), Err(ApiFailure::NoPrecondition)));
    }
}
