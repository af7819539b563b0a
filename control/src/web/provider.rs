//! Signing in with an identity provider.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use meshd_contract::time::Timestamp;

use super::cookie;
use super::limits::Trier;
use super::local_path::LocalPath;
use super::questions::PATIENCE;
use super::session;
use super::sign_in::Query;
use super::{Web, WebError, redirect};
use crate::admin::operations::is_login;
use crate::clock::now;
use crate::oidc::{Answer, Oidc, OidcError, Question};
use crate::signed_request::Observed;

const PURPOSE: &str = "signing in with the identity provider";
const NONE: &str = "This mesh has no identity provider.";
const STRANGE: &str = "This answer is none to a question of this browser's, or came too late. Go \
                       back to the page that you wanted, and sign in again.";

/// Sends the browser to the provider.
pub(super) async fn leave(
    Extension(web): Extension<Arc<Web>>,
    RawQuery(query): RawQuery,
) -> Result<Response, WebError> {
    let oidc = provider(&web)?;
    let query = Query::of(query);
    let asked = oidc.ask(!query.again.is_empty()).await;
    let (url, question) = asked.map_err(|error| explain(&error))?;
    let next = LocalPath::or_home(&query.next).to_string();
    let sealed = web.questions.ask(PURPOSE, (question, next), now())?;
    let cookie = cookie::set_text(cookie::PROVIDER, &sealed, PATIENCE.as_secs());
    let cookie = AppendHeaders([(header::SET_COOKIE, cookie)]);
    Ok((cookie, redirect(&url)).into_response())
}

/// Hears what the provider says of the person, once.
pub(super) async fn back(
    Extension(web): Extension<Arc<Web>>,
    Extension(Observed(address)): Extension<Observed>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let heard = hear(&web, address, &query.unwrap_or_default(), &headers).await;
    let cookie = AppendHeaders([(header::SET_COOKIE, cookie::remove(cookie::PROVIDER))]);
    (cookie, heard).into_response()
}

async fn hear(
    web: &Web,
    address: IpAddr,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, WebError> {
    let strange = || WebError::Forbidden(STRANGE.to_owned());
    let oidc = provider(web)?;
    let answer: Answer = serde_urlencoded::from_str(query).map_err(|_| strange())?;
    let (question, next): (Question, String) = cookie::text(headers, cookie::PROVIDER)
        .and_then(|sealed| web.questions.take(PURPOSE, sealed, now()))
        .ok_or_else(strange)?;
    // Each answer makes control ask the provider.
    let tried = web.limits.permit(Trier::Source(address));
    let tried = tried.map_err(|wait| WebError::TooMany(wait.as_secs() + 1))?;
    let heard = oidc.hear(question, answer).await;
    let person = heard.map_err(|error| explain(&error))?;
    tried.give_back();
    if !is_login(&person.login) {
        let sentence = format!("{} can be the name of no user.", person.login);
        return Err(WebError::Forbidden(sentence));
    }
    let makes_users = oidc.rules.make_users();
    let login = web.store.identify(&person, makes_users, now()).await?;
    web.hub.request();
    // Where the provider does not say when, it may be long ago.
    let proved_at = person.proved_at.unwrap_or(Timestamp(0));
    session::begin(web, headers, &login, proved_at, &LocalPath::or_home(&next)).await
}

fn provider(web: &Web) -> Result<&Oidc, WebError> {
    web.oidc.as_ref().ok_or(WebError::NotFound(NONE))
}

fn explain(error: &OidcError) -> WebError {
    tracing::warn!(%error, "a sign-in with the identity provider failed");
    match error {
        OidcError::Refused(refused) => WebError::Forbidden(refused.to_string()),
        OidcError::Foreign => WebError::Forbidden(STRANGE.to_owned()),
        OidcError::Denied(_) => WebError::Forbidden(
            "The identity provider did not let you in. Try again, or ask its administrators."
                .to_owned(),
        ),
        OidcError::NotFresh => WebError::Forbidden(
            "What you were about to do needs a new sign-in, and the identity provider does not \
             say that you have just signed in there."
                .to_owned(),
        ),
        OidcError::Unbelievable(_) => WebError::Forbidden(
            "The identity provider's answer cannot be believed; the log of control says why."
                .to_owned(),
        ),
        OidcError::Unreachable(_) => WebError::Away(
            "The identity provider cannot be reached at the moment. Try again in a minute."
                .to_owned(),
        ),
    }
}
