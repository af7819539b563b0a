//! The API for programs that administer the mesh, under `/api/v1`.
//!
//! It does what the commands do, by the same operations. `/api/v1/openapi.json` describes it
//! (OpenAPI 3.1), made from the types and attributes here.

mod approvals;
#[allow(unused_qualifications, reason = "what utoipa::path makes has some")]
mod audit;
mod auth_keys;
mod failure;
mod input;
#[allow(unused_qualifications, reason = "what utoipa::path makes has some")]
mod nodes;
#[allow(unused_qualifications, reason = "what utoipa::path makes has some")]
mod policy;
mod scope;
mod users;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{delete, get, post};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

pub(crate) use failure::ApiFailure;
pub(crate) use scope::{Area, Scope};

use crate::admin::operations::Admin;
use crate::rate::{Paces, Rate};

/// Requests without a key that counts, of one address.
const STRANGERS: Rate = Rate {
    burst: 60,
    per_second: 2,
};

/// What the API works on.
pub(crate) struct ApiServer {
    admin: Admin,
    keys: Mutex<Paces<u64>>,
    strangers: Mutex<Paces<IpAddr>>,
}

/// What the document says beside the operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "meshd-control",
        description = "Users, nodes, keys, policy and audit log of a mesh. Times are seconds since 1970 (UTC)."
    ),
    paths(
        users::list,
        users::create,
        users::show,
        users::change,
        users::remove,
        nodes::list,
        nodes::show,
        nodes::change,
        nodes::remove,
        approvals::list,
        approvals::list_all,
        approvals::revoke,
        approvals::revoke_of_user,
        auth_keys::list,
        auth_keys::create,
        auth_keys::remove,
        policy::show,
        policy::set,
        policy::check,
        audit::list,
    ),
    components(schemas(failure::Problem, audit::Order)),
    modifiers(&Keys),
    servers((url = "/api/v1"))
)]
struct Document;

/// How a program proves who it is.
struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A key that `meshd-control apikeys create` has made"))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

impl ApiServer {
    /// The API to what `admin` administers; each key has `rate`.
    pub(crate) fn new(admin: Admin, rate: Rate) -> Self {
        Self {
            admin,
            keys: Mutex::new(Paces::new(rate)),
            strangers: Mutex::new(Paces::new(STRANGERS)),
        }
    }

    /// The paths of the API, to be nested under `/api/v1`.
    ///
    /// # Errors
    /// When the document cannot be written, which would be a fault of this program.
    pub(crate) fn router(self) -> Result<Router, serde_json::Error> {
        let document: Arc<str> = serde_json::to_string(&Document::openapi())?.into();
        let document = move || {
            let json = [(header::CONTENT_TYPE, "application/json")];
            std::future::ready((json, document.to_string()))
        };
        let user = get(users::show).patch(users::change).delete(users::remove);
        let node = get(nodes::show).patch(nodes::change).delete(nodes::remove);
        let approvals = get(approvals::list).delete(approvals::revoke);
        Ok(Router::new()
            .route("/openapi.json", get(document))
            .route("/users", get(users::list).post(users::create))
            .route("/users/{login}", user)
            .route("/nodes", get(nodes::list))
            .route("/nodes/{node}", node)
            .route("/nodes/{node}/approvals", approvals)
            .route(
                "/users/{login}/approvals",
                delete(approvals::revoke_of_user),
            )
            .route("/approvals", get(approvals::list_all))
            .route("/auth-keys", get(auth_keys::list).post(auth_keys::create))
            .route("/auth-keys/{id}", delete(auth_keys::remove))
            .route("/policy", get(policy::show).put(policy::set))
            .route("/policy/check", post(policy::check))
            .route("/audit", get(audit::list))
            .fallback(async || ApiFailure::NoPath)
            .method_not_allowed_fallback(async || ApiFailure::Method)
            .layer(map_response(unkept))
            .with_state(Arc::new(self)))
    }
}

/// Answers hold secrets and what changes: nobody is to keep them.
async fn unkept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
