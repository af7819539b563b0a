//! The one-time link by which somebody gets an account, or gets back into it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;
use serde::Deserialize;

use super::csrf::{FormKey, PostedByAnybody};
use super::local_path::LocalPath;
use super::password;
use super::token::Token;
use super::{Web, WebError, page, qr, session};
use crate::clock::now;
use crate::store::{Account, Invitation};

const GONE: &str = "This link is not, or no more, a good one: it was used, it is older than a day, \
                    or there is a newer one. Ask an administrator for a new link.";

/// A new password, twice, and the first code.
#[derive(Deserialize)]
pub(super) struct Fields {
    password: String,
    repeated: String,
    code: String,
}

/// The page with the form. To look at it uses nothing up: mail servers look at links too.
pub(super) async fn show(
    Extension(web): Extension<Arc<Web>>,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    let invitation = find(&web, &secret).await?;
    let key = FormKey::of(&headers)?;
    let page = form(&web, &key, &secret, &invitation, None);
    Ok(key.keep(page))
}

/// Sets the password and signs in.
pub(super) async fn submit(
    Extension(web): Extension<Arc<Web>>,
    Path(secret): Path<String>,
    headers: HeaderMap,
    posted: PostedByAnybody<Fields>,
) -> Result<Response, WebError> {
    let PostedByAnybody { key, fields } = posted;
    let invitation = find(&web, &secret).await?;
    let step = invitation.totp_secret.step_of(&fields.code, now(), 0);
    let step = match (fault(&fields, &invitation.login), step) {
        (None, Some(step)) => step,
        (wrong, _) => {
            let wrong = wrong.unwrap_or(
                "This code is not right. Is the clock of your phone? Wait for the next code.",
            );
            let page = form(&web, &key, &secret, &invitation, Some(wrong));
            return Ok((StatusCode::FORBIDDEN, page).into_response());
        }
    };
    let account = Account {
        password_hash: web.passwords.hash(fields.password).await?,
        totp_secret: invitation.totp_secret,
        totp_step: step,
    };
    if !web
        .store
        .accept_invitation(&invitation.secret, &account, now())
        .await?
    {
        return Err(WebError::NotFound(GONE));
    }
    tracing::info!(user = invitation.login, "a person has set a password");
    session::begin(
        &web,
        &headers,
        &invitation.login,
        now(),
        &LocalPath::or_home("/"),
    )
    .await
}

async fn find(web: &Web, secret: &str) -> Result<Invitation, WebError> {
    let token = Token::read(secret).ok_or(WebError::NotFound(GONE))?;
    let found = web.store.invitation(&token.hash(), now()).await?;
    found.ok_or(WebError::NotFound(GONE))
}

/// What is wrong with the password.
fn fault(fields: &Fields, login: &str) -> Option<&'static str> {
    let password = &fields.password;
    if password != &fields.repeated {
        Some("The two passwords differ.")
    } else if password.chars().count() < password::SHORTEST {
        Some("This password is too short: it takes 12 characters at least.")
    } else if password.len() > password::LONGEST {
        Some("This password is too long: 1024 bytes are enough.")
    } else if password.eq_ignore_ascii_case(login) {
        Some("This password is your login.")
    } else {
        None
    }
}

fn form(
    web: &Web,
    key: &FormKey,
    secret: &str,
    invitation: &Invitation,
    wrong: Option<&str>,
) -> Response {
    let uri = invitation.totp_secret.as_uri(&invitation.login, &web.url);
    let content = html! {
        @if let Some(wrong) = wrong { p .wrong role="alert" { (wrong) } }
        form method="post" action=(format!("/account/{secret}")) {
            (key.csrf().field())
            label for="login" { "Login" }
            input id="login" name="login" value=(invitation.login) autocomplete="username" readonly;
            label for="password" { "A new password" }
            input id="password" name="password" type="password" autocomplete="new-password"
                minlength=(password::SHORTEST) required;
            p .hint { "12 characters at least; several words are easy to keep in mind." }
            label for="repeated" { "The same again" }
            input id="repeated" name="repeated" type="password" autocomplete="new-password"
                required;
            p { "Scan this with an authenticator app on your phone, or type the letters below:" }
            (qr::svg(&uri, "the secret for an authenticator app"))
            p { code { (invitation.totp_secret.as_text()) } }
            label for="code" { "The code that the app shows now" }
            input id="code" name="code" inputmode="numeric" autocomplete="one-time-code"
                pattern="[0-9 ]*" maxlength="7" required;
            button { "Set the password and sign in" }
        }
    };
    page("Your account", &content)
}
