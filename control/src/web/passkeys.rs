//! Passkeys (https://www.w3.org/TR/webauthn-3/): adding them, and signing in with one.
//!
//! They are the one thing here that takes a script. Only accounts of this mesh have them: who signs
//! in with an identity provider is let in by the provider alone, for as long as it wants.

use std::sync::Arc;

use axum::Extension;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Url, Uuid,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use super::csrf::{FormKey, PostedByAnybody};
use super::limits::Trier;
use super::local_path::LocalPath;
use super::page::page_with_script;
use super::session;
use super::{Posted, SignedIn, Web, WebError, redirect};
use crate::clock::now;
use crate::public_url::PublicUrl;
use crate::signed_request::Observed;
use crate::store::PasskeyRow;

/// How long ago the person may have signed in who changes passkeys, in seconds.
const FRESH: u64 = 900;
const NONE: &str = "Passkeys need an account of this mesh, and a control server with a name.";
const WRONG: &str = "This passkey is not one of an account here, or the page was too old.";

/// What signs people in with passkeys.
pub(super) struct Passkeys(Webauthn);

impl Passkeys {
    /// None where control is found by an address: passkeys are for names.
    pub(super) fn at(url: &PublicUrl) -> Option<Self> {
        let origin = Url::parse(&url.to_string()).ok()?;
        origin.domain()?;
        let webauthn = WebauthnBuilder::new(url.host(), &origin).ok()?;
        webauthn.rp_name(url.host()).build().ok().map(Self)
    }
}

/// A new passkey, or the name of one that has to go.
#[derive(Deserialize)]
pub(super) struct Change {
    #[serde(default)]
    question: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    credential: String,
    #[serde(default)]
    remove: String,
}

/// Shows one's passkeys.
pub(super) async fn show(
    Extension(web): Extension<Arc<Web>>,
    signed_in: SignedIn,
) -> Result<Response, WebError> {
    let passkeys = insist(&web, &signed_in).await?;
    let own = web.store.passkeys(&signed_in.login).await?;
    let handle = own.first().map_or_else(Uuid::new_v4, |first| first.handle);
    let known = own
        .iter()
        .map(|row| row.passkey.cred_id().clone())
        .collect();
    let login = &signed_in.login;
    let started = passkeys
        .0
        .start_passkey_registration(handle, login, login, Some(known));
    let (options, state) = started.map_err(|error| WebError::Fault(error.to_string()))?;
    let purpose = adding(&signed_in);
    let question = web.questions.ask(&purpose, (handle, state), now())?;
    let mut options = json(&options)?;
    // It has to be found without a login.
    options["authenticatorSelection"]["residentKey"] = "required".into();
    options["authenticatorSelection"]["requireResidentKey"] = true.into();
    let content = html! {
        p { "With a passkey you sign in without password and code: by this device's lock, or by a "
            "security key." }
        @for row in &own { (entry(&signed_in, row)) }
        form method="post" action="/passkeys" data-passkey=(options) data-new="1" hidden {
            (signed_in.csrf_field())
            input type="hidden" name="question" value=(question);
            input type="hidden" name="credential";
            label for="name" { "A name for it" }
            input id="name" name="name" maxlength="64" required;
            p .wrong role="alert" {}
            button { "Add a passkey" }
        }
        noscript { p { "To add a passkey takes JavaScript." } }
    };
    Ok(page_with_script(Some(&signed_in), "Passkeys", &content))
}

fn entry(signed_in: &SignedIn, row: &PasskeyRow) -> Markup {
    let id = URL_SAFE_NO_PAD.encode(row.passkey.cred_id());
    let days = |since: u64| (now().0.saturating_sub(since)) / 86_400;
    html! {
        form method="post" action="/passkeys" {
            (signed_in.csrf_field())
            input type="hidden" name="remove" value=(id);
            strong { (row.name) } ", added " (days(row.created_at.0)) " days ago"
            @if let Some(used_at) = row.used_at { ", used " (days(used_at.0)) " days ago" }
            " "
            button .quiet { "Remove" }
        }
    }
}

/// Adds a passkey, or removes one.
pub(super) async fn change(
    Extension(web): Extension<Arc<Web>>,
    posted: Posted<Change>,
) -> Result<Response, WebError> {
    let Posted { signed_in, fields } = posted;
    let passkeys = insist(&web, &signed_in).await?;
    if let Ok(id) = URL_SAFE_NO_PAD.decode(&fields.remove)
        && !id.is_empty()
    {
        web.store
            .remove_passkey(&signed_in.login, &id, now())
            .await?;
        tracing::info!(user = signed_in.login, "a passkey was removed");
        return Ok(redirect("/passkeys"));
    }
    let wrong = || WebError::Forbidden(WRONG.to_owned());
    let purpose = adding(&signed_in);
    let asked = web.questions.take(&purpose, &fields.question, now());
    let (handle, state): (Uuid, PasskeyRegistration) = asked.ok_or_else(wrong)?;
    let said: RegisterPublicKeyCredential =
        serde_json::from_str(&fields.credential).map_err(|_| wrong())?;
    let made = passkeys.0.finish_passkey_registration(&said, &state);
    let passkey = made.map_err(|error| {
        tracing::warn!(%error, user = signed_in.login, "a passkey was refused");
        wrong()
    })?;
    let name: String = fields.name.trim().chars().take(64).collect();
    let row = PasskeyRow {
        login: signed_in.login.clone(),
        handle,
        name: if name.is_empty() {
            "passkey".to_owned()
        } else {
            name
        },
        passkey,
        created_at: now(),
        used_at: None,
    };
    web.store.add_passkey(&row).await?;
    tracing::info!(user = signed_in.login, "a passkey was added");
    Ok(redirect("/passkeys"))
}

/// The form for the page for signing in; nothing where nobody has a passkey.
pub(super) async fn form(
    web: &Web,
    key: &FormKey,
    next: &LocalPath,
) -> Result<Option<Markup>, WebError> {
    let Some(passkeys) = &web.passkeys else {
        return Ok(None);
    };
    if !web.store.has_passkeys().await? {
        return Ok(None);
    }
    let started = passkeys.0.start_discoverable_authentication();
    let (options, state) = started.map_err(|error| WebError::Fault(error.to_string()))?;
    let question = web.questions.ask(&signing_in(key), state, now())?;
    Ok(Some(html! {
        form method="post" action="/sign-in/passkey" data-passkey=(json(&options)?) hidden {
            (key.csrf().field())
            input type="hidden" name="question" value=(question);
            input type="hidden" name="credential";
            input type="hidden" name="next" value=(next);
            p .wrong role="alert" {}
            button { "Sign in with a passkey" }
        }
    }))
}

/// What the browser says for somebody who signs in.
#[derive(Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    question: String,
    credential: String,
    next: String,
}

/// Signs in whoever has the passkey.
pub(super) async fn sign_in(
    Extension(web): Extension<Arc<Web>>,
    Extension(Observed(address)): Extension<Observed>,
    headers: HeaderMap,
    posted: PostedByAnybody<Fields>,
) -> Result<Response, WebError> {
    let PostedByAnybody { key, fields } = posted;
    let passkeys = web.passkeys.as_ref().ok_or(WebError::NotFound(NONE))?;
    let wrong = || WebError::Forbidden(WRONG.to_owned());
    let asked = web
        .questions
        .take(&signing_in(&key), &fields.question, now());
    let asked: DiscoverableAuthentication = asked.ok_or_else(wrong)?;
    let said: PublicKeyCredential =
        serde_json::from_str(&fields.credential).map_err(|_| wrong())?;
    let tried = web.limits.permit(Trier::Unknown(address, &said.id));
    let tried = tried.map_err(|wait| WebError::TooMany(wait.as_secs() + 1))?;
    let identified = passkeys.0.identify_discoverable_authentication(&said);
    let (handle, id) = identified.map_err(|_| wrong())?;
    let row = web.store.passkey(id).await?;
    let mut row = row.filter(|row| row.handle == handle).ok_or_else(wrong)?;
    let proved = passkeys
        .0
        .finish_discoverable_authentication_v2(&said, asked, &row.passkey);
    let proved = proved.map_err(|error| {
        tracing::warn!(%error, user = row.login, %address, "a passkey was not believed");
        wrong()
    })?;
    tried.give_back();
    row.passkey.update_credential(&proved);
    web.store.use_passkey(&row.passkey, now()).await?;
    let next = LocalPath::or_home(&fields.next);
    session::begin(&web, &headers, &row.login, now(), &next).await
}

/// The one script of the pages.
pub(super) async fn script() -> Response {
    let headers = super::fixed("text/javascript; charset=utf-8");
    (StatusCode::OK, headers, include_str!("passkey.js")).into_response()
}

/// What a question is for that this session has an answer to.
fn adding(signed_in: &SignedIn) -> String {
    let session = URL_SAFE_NO_PAD.encode(signed_in.token().as_bytes());
    format!("adding a passkey in the session {session}")
}

/// The same for a browser in which nobody is signed in.
fn signing_in(key: &FormKey) -> String {
    let browser = URL_SAFE_NO_PAD.encode(key.hash().as_bytes());
    format!("signing in with a passkey in the browser {browser}")
}

async fn insist<'a>(web: &'a Web, signed_in: &SignedIn) -> Result<&'a Passkeys, WebError> {
    signed_in.demand_fresh(FRESH, "/passkeys")?;
    let account = web.store.account(&signed_in.login).await?;
    match (&web.passkeys, account) {
        (Some(passkeys), Some(_)) => Ok(passkeys),
        _ => Err(WebError::NotFound(NONE)),
    }
}

/// The options as a script hands them to the browser.
fn json(options: &impl serde::Serialize) -> Result<Value, WebError> {
    let written = serde_json::to_value(options);
    let mut written = written.map_err(|error| WebError::Fault(error.to_string()))?;
    Ok(written["publicKey"].take())
}
