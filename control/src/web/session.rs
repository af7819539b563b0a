//! Who is signed in.

use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use maud::Markup;
use meshd_contract::time::Timestamp;
use serde::Deserialize;

use super::Web;
use super::cookie;
use super::csrf::{Csrf, Posted};
use super::error::WebError;
use super::local_path::LocalPath;
use super::page::redirect;
use super::token::Token;
use crate::audit::Actor;
use crate::auth_key::SecretHash;
use crate::clock::now;
use crate::role::{self, Role};
use crate::store::NewWebSession;

/// How long a sign-in lasts, in seconds.
const LIFE: u64 = 12 * 3_600;
/// How long a browser is remembered, in seconds; each sign-in begins anew.
const BROWSER_LIFE: u64 = 365 * 86_400;

/// A person who is signed in, as the request's cookie proves.
///
/// As an argument of a handler it sends everybody else to the page for signing in, and back.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// The user's login.
    pub(crate) login: String,
    /// What the user is in the mesh, at this moment.
    pub(crate) role: Role,
    /// When the person has proved to be that user.
    pub(crate) signed_in_at: Timestamp,
    pub(super) csrf: Csrf,
    token: SecretHash,
}

impl SignedIn {
    /// The hidden field that every form needs for [`Posted`] to accept it.
    pub(crate) fn csrf_field(&self) -> Markup {
        self.csrf.field()
    }

    /// What is stored of the session's secret.
    pub(super) fn token(&self) -> &SecretHash {
        &self.token
    }

    /// Insists on a sign-in within the last `seconds`; otherwise the person is asked again and
    /// comes back to `next`.
    ///
    /// # Errors
    /// [`WebError::SignInAgain`].
    pub(crate) fn demand_fresh(&self, seconds: u64, next: &str) -> Result<(), WebError> {
        match now().0.saturating_sub(self.signed_in_at.0) <= seconds {
            true => Ok(()),
            false => Err(WebError::SignInAgain(LocalPath::or_home(next))),
        }
    }

    /// The user, as the audit log names who does something.
    pub(crate) fn actor(&self) -> Actor {
        Actor::User(self.login.clone())
    }

    /// Whether the user may act for the whole mesh.
    pub(crate) fn is_admin(&self) -> bool {
        role::administers(self.role)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebError> {
        let web = web(&parts.extensions)?;
        let token = cookie::read(&parts.headers, cookie::SESSION);
        let found = match &token {
            Some(token) => web.store.web_session(&token.hash(), now()).await?,
            None => None,
        };
        let (Some(token), Some(session)) = (token, found) else {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            return Err(WebError::SignInFirst(LocalPath::or_home(path)));
        };
        Ok(Self {
            login: session.login,
            role: session.role,
            signed_in_at: session.signed_in_at,
            csrf: Csrf::of(&token),
            token: token.hash(),
        })
    }
}

/// What the layer of the pages hands to each request.
pub(super) fn web(extensions: &Extensions) -> Result<Arc<Web>, WebError> {
    let web = extensions.get::<Arc<Web>>().map(Arc::clone);
    web.ok_or_else(|| WebError::Fault("a page lies outside of the layer of pages".to_owned()))
}

/// Signs `login` in, who has proved at `signed_in_at` to be that user, and sends the browser to `next`. A session of this browser that was there
/// before ends, and the browser is a known one from now on.
pub(super) async fn begin(
    web: &Web,
    headers: &axum::http::HeaderMap,
    login: &str,
    signed_in_at: Timestamp,
    next: &LocalPath,
) -> Result<Response, WebError> {
    let (token, browser) = (Token::generate()?, Token::generate()?);
    let now = now();
    let session = NewWebSession {
        token: token.hash(),
        replaces: cookie::read(headers, cookie::SESSION).map(|token| token.hash()),
        browser: browser.hash(),
        replaces_browser: cookie::read(headers, cookie::BROWSER).map(|token| token.hash()),
        login: login.to_owned(),
        now,
        signed_in_at,
        expires_at: now.plus(LIFE),
        browser_expires_at: now.plus(BROWSER_LIFE),
    };
    web.store.begin_web_session(&session).await?;
    tracing::info!(user = login, "a person signed in");
    let cookies = AppendHeaders([
        keep(cookie::set(cookie::SESSION, &token, LIFE)),
        keep(cookie::set(cookie::BROWSER, &browser, BROWSER_LIFE)),
        keep(cookie::remove(cookie::FORM)),
    ]);
    Ok((cookies, redirect(&next.to_string())).into_response())
}

/// A form without fields.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

/// Ends the session of this browser.
pub(super) async fn sign_out(
    Extension(web): Extension<Arc<Web>>,
    posted: Posted<Nothing>,
) -> Result<Response, WebError> {
    web.store.end_web_session(&posted.signed_in.token).await?;
    tracing::info!(user = posted.signed_in.login, "a person signed out");
    let cookies = AppendHeaders([keep(cookie::remove(cookie::SESSION))]);
    Ok((cookies, redirect("/sign-in")).into_response())
}

fn keep(cookie: HeaderValue) -> (header::HeaderName, HeaderValue) {
    (header::SET_COOKIE, cookie)
}
