//! Forms that count only if a page of this server has sent them, in the same browser.
//!
//! Two independent signs: what the browser says of the form's origin, and a text in the form that
//! is made from the browser's own cookie, which nobody else can read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::{HeaderMap, HeaderValue, Request, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Web;
use super::cookie;
use super::error::WebError;
use super::session::{SignedIn, web};
use super::token::Token;
use crate::auth_key::SecretHash;
use crate::public_url::PublicUrl;
use crate::signed_request::read_body;

/// How long somebody may take to sign in, in seconds.
const FORM_LIFE: u64 = 3_600;

/// The text that a form must bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Csrf(String);

impl Csrf {
    /// For forms of the browser that has `token` in a cookie. The token cannot be found from it.
    pub(super) fn of(token: &Token) -> Self {
        let digest = Sha256::digest(format!("meshd form {}", token.expose()));
        Self(URL_SAFE_NO_PAD.encode(digest))
    }

    /// The hidden field.
    pub(super) fn field(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.0); }
    }

    fn fits(&self, text: &str) -> bool {
        // Hashes are compared: how long that takes says nothing about the texts.
        SecretHash::of(&self.0) == SecretHash::of(text)
    }
}

#[derive(Deserialize)]
struct CsrfField {
    csrf: String,
}

/// A form that a person has sent who is signed in.
#[derive(Debug)]
pub(crate) struct Posted<T> {
    /// The person.
    pub(crate) signed_in: SignedIn,
    /// What the form says.
    pub(crate) fields: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Posted<T> {
    type Rejection = WebError;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, WebError> {
        let (mut parts, body) = request.into_parts();
        let web = web(&parts.extensions)?;
        check_origin(&parts.headers, &web.url)?;
        let signed_in = SignedIn::from_request_parts(&mut parts, state).await?;
        let fields = read(body, &signed_in.csrf, &web).await?;
        Ok(Self { signed_in, fields })
    }
}

/// A form of somebody who is not signed in.
#[derive(Debug)]
pub(super) struct PostedByAnybody<T> {
    /// For the next form.
    pub(super) key: FormKey,
    /// What the form says.
    pub(super) fields: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for PostedByAnybody<T> {
    type Rejection = WebError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, WebError> {
        let (parts, body) = request.into_parts();
        let web = web(&parts.extensions)?;
        check_origin(&parts.headers, &web.url)?;
        let token = cookie::read(&parts.headers, cookie::FORM);
        let token = token.ok_or_else(|| WebError::Forged(web.url.to_string()))?;
        let key = FormKey {
            token,
            is_new: false,
        };
        let fields = read(body, &key.csrf(), &web).await?;
        Ok(Self { key, fields })
    }
}

/// What ties the forms of somebody who is not signed in to their browser.
#[derive(Debug)]
pub(super) struct FormKey {
    token: Token,
    is_new: bool,
}

impl FormKey {
    /// The one that the browser has, or a new one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, WebError> {
        Ok(match cookie::read(headers, cookie::FORM) {
            Some(token) => Self {
                token,
                is_new: false,
            },
            None => Self {
                token: Token::generate()?,
                is_new: true,
            },
        })
    }

    /// What it is known by on this side.
    pub(super) fn hash(&self) -> SecretHash {
        self.token.hash()
    }

    /// What a form must bring back.
    pub(super) fn csrf(&self) -> Csrf {
        Csrf::of(&self.token)
    }

    /// Lets the browser keep it.
    pub(super) fn keep(self, page: Response) -> Response {
        match self.is_new {
            true => {
                let cookie = cookie::set(cookie::FORM, &self.token, FORM_LIFE);
                (AppendHeaders([(header::SET_COOKIE, cookie)]), page).into_response()
            }
            false => page,
        }
    }
}

async fn read<T: DeserializeOwned>(body: Body, csrf: &Csrf, web: &Arc<Web>) -> Result<T, WebError> {
    let body = read_body(body).await?;
    let given = serde_urlencoded::from_bytes::<CsrfField>(&body);
    if !given.is_ok_and(|given| csrf.fits(&given.csrf)) {
        return Err(WebError::Forged(web.url.to_string()));
    }
    serde_urlencoded::from_bytes(&body).map_err(|_| WebError::Unreadable)
}

/// Whether the browser says that the form is from a page of this server. Every browser of the last
/// years sends at least one of the two headers with a form, and no page can forge them.
fn check_origin(headers: &HeaderMap, url: &PublicUrl) -> Result<(), WebError> {
    let fits = |name: &str, own: &str| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.map(|value| value.as_bytes() == own.as_bytes())
    };
    let origin = fits("origin", &url.to_string());
    let site = fits("sec-fetch-site", "same-origin");
    match (origin, site) {
        (Some(true), Some(true) | None) | (None, Some(true)) => Ok(()),
        _ => Err(WebError::Forged(url.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)]) -> bool {
        let url = "https://control.example.com".parse().expect("an address");
        let headers = pairs.iter().map(|(name, value)| {
            let name = name.parse::<header::HeaderName>().expect("a name");
            (name, HeaderValue::from_static(value))
        });
        check_origin(&headers.collect(), &url).is_ok()
    }

    #[test]
    fn only_the_own_origin_counts_and_silence_does_not() {
        let own = ("origin", "https://control.example.com");
        let same = ("sec-fetch-site", "same-origin");
        assert!(check(&[own]));
        assert!(check(&[same]));
        assert!(check(&[own, same]));
        assert!(!check(&[]));
        for other in [
            ("origin", "null"),
            ("origin", "https://control.example.com:8443"),
            ("origin", "http://control.example.com"),
            ("origin", "https://control.example.com.evil.example"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!check(&[other]), "{other:?}");
            assert!(!check(&[own, other]) || other.0 == "origin", "{other:?}");
            assert!(!check(&[same, other]) || other.0 != "origin", "{other:?}");
        }
    }

    #[test]
    fn a_form_fits_its_own_browser() {
        let token = || Token::generate().expect("random bytes");
        let (mine, other) = (token(), token());
        assert!(Csrf::of(&mine).fits(&Csrf::of(&mine).0));
        assert!(!Csrf::of(&mine).fits(&Csrf::of(&other).0));
        assert!(!Csrf::of(&mine).fits(mine.expose()));
    }
}
