//! Pages for people, at the address of the API for nodes.
//!
//! They work without JavaScript, but for passkeys. Whoever adds pages builds a router whose handlers take
//! [`SignedIn`] to show something and [`Posted`] to change something, and return [`page`] or
//! [`WebError`]; the router is merged in `serve`, below the layer that hands them [`Web`].

mod account_link;
mod cookie;
mod csrf;
mod devices;
mod error;
mod home;
mod join;
mod limits;
mod local_path;
mod page;
mod passkeys;
mod password;
mod provider;
mod qr;
mod questions;
mod sealed;
mod session;
mod sign_in;
mod token;
mod totp;

use std::sync::Arc;

use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use tokio::sync::watch;

pub(crate) use csrf::Posted;
pub(crate) use error::WebError;
pub(crate) use page::{page, page_for, redirect};
pub(crate) use sealed::{SECRET, Sealer};
pub(crate) use session::SignedIn;
pub(crate) use token::Token;
pub(crate) use totp::Secret as TotpSecret;

use crate::hub::Hub;
use crate::oidc::Oidc;
use crate::public_url::PublicUrl;
use crate::store::Store;
use limits::Limits;
use passkeys::Passkeys;
use password::Passwords;
use questions::Questions;

/// What pages work on.
pub(crate) struct Web {
    /// What control remembers.
    pub(crate) store: Store,
    /// Where browsers find control; the only origin whose forms count.
    pub(crate) url: PublicUrl,
    /// Counts what persons have decided about hosts that wait.
    pub(crate) decisions: watch::Sender<u64>,
    hub: Arc<Hub>,
    key_lifetime: u64,
    approve_devices: bool,
    oidc: Option<Oidc>,
    questions: Questions,
    passkeys: Option<Passkeys>,
    limits: Limits,
    passwords: Passwords,
}

/// What pages depend on beside the mesh itself.
pub(crate) struct Settings {
    /// Where browsers find control.
    pub(crate) url: PublicUrl,
    /// How long the key of a user's node counts, in seconds.
    pub(crate) key_lifetime: u64,
    /// An administrator approves each host that somebody else has let in.
    pub(crate) approve_devices: bool,
    /// Seals what browsers keep.
    pub(crate) sealer: Sealer,
    /// With whom people may sign in.
    pub(crate) oidc: Option<Oidc>,
}

impl Web {
    /// The pages of the mesh in `store`.
    ///
    /// # Errors
    /// Only when the system gives no random bytes.
    pub(crate) fn new(
        store: Store,
        hub: Arc<Hub>,
        settings: Settings,
    ) -> Result<Self, password::HashError> {
        Ok(Self {
            store,
            passkeys: Passkeys::at(&settings.url),
            url: settings.url,
            decisions: watch::Sender::new(0),
            hub,
            key_lifetime: settings.key_lifetime,
            approve_devices: settings.approve_devices,
            oidc: settings.oidc,
            questions: Questions::new(settings.sealer),
            limits: Limits::new(),
            passwords: Passwords::new()?,
        })
    }
}

/// The pages for signing in and out.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/", get(home::show))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-in/passkey", post(passkeys::sign_in))
        .route("/passkeys", get(passkeys::show).post(passkeys::change))
        .route("/passkey.js", get(passkeys::script))
        .route("/sign-in/provider", get(provider::leave))
        .route("/sign-in/provider/back", get(provider::back))
        .route("/sign-out", get(home::instead).post(session::sign_out))
        .route(
            "/account/{secret}",
            get(account_link::show).post(account_link::submit),
        )
        .route("/join/{secret}", get(join::show).post(join::submit))
        .route("/devices", get(devices::show).post(devices::submit))
        .route("/style.css", get(style))
}

/// Hands `web` to every page of `router`.
pub(crate) fn with(router: Router, web: Web) -> Router {
    router.layer(Extension(Arc::new(web)))
}

/// What a browser is told where nothing is.
pub(crate) async fn not_found(uri: Uri) -> Response {
    tracing::debug!(path = uri.path(), "no such page");
    WebError::NotFound("There is no such page.").into_response()
}

async fn style() -> Response {
    let headers = fixed("text/css; charset=utf-8");
    (headers, include_str!("style.css")).into_response()
}

/// The headers of a text that is the same for everybody.
fn fixed(kind: &'static str) -> [(header::HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}
