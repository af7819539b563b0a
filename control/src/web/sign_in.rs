//! Signing in with a password and a code.

use std::sync::Arc;

use axum::Extension;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::cookie;
use super::csrf::{FormKey, PostedByAnybody};
use super::limits::Trier;
use super::local_path::LocalPath;
use super::page::page_with_script;
use super::passkeys;
use super::password::{self, Queue};
use super::session;
use super::{SignedIn, Web, WebError, page, redirect};
use crate::clock::now;
use crate::signed_request::Observed;

/// One sentence for everything that can be wrong, so that it does not tell who has an account.
const WRONG: &str = "This is not right: the login, the password or the code. A code counts once; \
                     if you have just used it, wait for the next one.";

/// Where the person comes from, and whether an old sign-in is not enough there.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    pub(super) next: String,
    #[serde(default)]
    pub(super) again: String,
}

impl Query {
    /// One that cannot be read says nothing.
    pub(super) fn of(query: Option<String>) -> Self {
        serde_urlencoded::from_str(&query.unwrap_or_default()).unwrap_or_default()
    }
}

/// What somebody signs in with.
#[derive(Deserialize)]
pub(super) struct Fields {
    login: String,
    password: String,
    code: String,
    next: String,
}

/// The page with the form; who is signed in already goes on, unless asked again.
pub(super) async fn show(
    Extension(web): Extension<Arc<Web>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    signed_in: Result<SignedIn, WebError>,
) -> Result<Response, WebError> {
    let query = Query::of(query);
    let next = LocalPath::or_home(&query.next);
    let again = !query.again.is_empty();
    let login = match signed_in {
        Ok(_) if !again => return Ok(redirect(&next.to_string())),
        Ok(signed_in) => signed_in.login,
        Err(WebError::SignInFirst(_)) => String::new(),
        Err(error) => return Err(error),
    };
    let hint = again.then_some("What you are about to do asks you to sign in anew.");
    let key = FormKey::of(&headers)?;
    let passkey = passkeys::form(&web, &key, &next).await?;
    let page = form(&web, &key, &login, &next, passkey, hint, None);
    Ok(key.keep(page))
}

/// Checks what was filled in.
pub(super) async fn submit(
    Extension(web): Extension<Arc<Web>>,
    Extension(Observed(address)): Extension<Observed>,
    headers: HeaderMap,
    posted: PostedByAnybody<Fields>,
) -> Result<Response, WebError> {
    let PostedByAnybody { key, fields } = posted;
    let next = LocalPath::or_home(&fields.next);
    let login = fields.login.trim().to_owned();
    let browser = cookie::read(&headers, cookie::BROWSER).map(|token| token.hash());
    let known = match browser {
        Some(browser) if web.store.knows_browser(&browser, &login, now()).await? => Some(browser),
        _ => None,
    };
    let (trier, queue) = match &known {
        Some(browser) => (Trier::Known(browser), Queue::Known),
        None => (Trier::Unknown(address, &login), Queue::Unknown),
    };
    let tried = web.limits.permit(trier);
    let tried = tried.map_err(|wait| WebError::TooMany(wait.as_secs() + 1))?;
    if is_right(&web, queue, &login, fields.password, &fields.code).await? {
        tried.give_back();
        return session::begin(&web, &headers, &login, now(), &next).await;
    }
    tracing::warn!(user = login, %address, "a sign-in failed");
    let passkey = passkeys::form(&web, &key, &next).await?;
    let page = form(&web, &key, &login, &next, passkey, None, Some(WRONG));
    Ok((StatusCode::FORBIDDEN, page).into_response())
}

/// Whether password and code are those of `login`; the code is used up then.
async fn is_right(
    web: &Web,
    queue: Queue,
    login: &str,
    password: String,
    code: &str,
) -> Result<bool, WebError> {
    if password.len() > password::LONGEST {
        return Ok(false);
    }
    let account = web.store.account(login).await?;
    let stored = account
        .as_ref()
        .map(|account| account.password_hash.clone());
    let fits = web.passwords.verify(queue, password, stored).await?;
    let (true, Some(account)) = (fits, account) else {
        return Ok(false);
    };
    match account.totp_secret.step_of(code, now(), account.totp_step) {
        Some(step) => Ok(web.store.use_totp_step(login, step).await?),
        None => Ok(false),
    }
}

fn form(
    web: &Web,
    key: &FormKey,
    login: &str,
    next: &LocalPath,
    passkey: Option<Markup>,
    hint: Option<&str>,
    wrong: Option<&str>,
) -> Response {
    let content = html! {
        @if let Some(hint) = hint { p { (hint) } }
        @if let Some(wrong) = wrong { p .wrong role="alert" { (wrong) } }
        @if let Some(oidc) = &web.oidc {
            p { a .button href=(next.at_provider(hint.is_some())) { "Sign in with " (oidc.name()) } }
            h2 { "With an account of this mesh" }
        }
        @if let Some(passkey) = &passkey { (passkey) }
        form method="post" action="/sign-in" {
            (key.csrf().field())
            input type="hidden" name="next" value=(next);
            label for="login" { "Login" }
            input id="login" name="login" value=(login) inputmode="email" autocomplete="username"
                autocapitalize="none" spellcheck="false" required;
            label for="password" { "Password" }
            input id="password" name="password" type="password" autocomplete="current-password"
                required;
            label for="code" { "Code from your authenticator app" }
            input id="code" name="code" inputmode="numeric" autocomplete="one-time-code"
                pattern="[0-9 ]*" maxlength="7" required;
            button { "Sign in" }
        }
        p .hint { "No account, or no way into yours? An administrator can give you a link." }
    };
    match passkey {
        Some(_) => page_with_script(None, "Sign in", &content),
        None => page("Sign in", &content),
    }
}
