//! What programs send: a key first, then what they ask for.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::{self, DeserializeOwned, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::{ApiFailure, ApiServer, Scope};
use crate::audit::Actor;
use crate::auth_key::SecretHash;
use crate::clock::now;
use crate::signed_request::{MAX_BODY_BYTES, Observed, ReadError, read_at_most};

/// The greatest number that every JSON parser reads exactly (RFC 8259, section 6).
pub(super) const GREATEST: u64 = (1 << 53) - 1;

/// A key that counts; what it may do has yet to be asked.
#[derive(Debug)]
pub(super) struct Key {
    id: u64,
    scopes: Vec<Scope>,
}

impl Key {
    /// Who acts, if the key may do this.
    ///
    /// # Errors
    /// [`ApiFailure::Scope`].
    pub(super) fn may(&self, wanted: Scope) -> Result<Actor, ApiFailure> {
        match self.scopes.iter().any(|scope| scope.permits(wanted)) {
            true => Ok(Actor::ApiKey(self.id)),
            false => Err(ApiFailure::Scope(wanted)),
        }
    }
}

impl FromRequestParts<Arc<ApiServer>> for Key {
    type Rejection = ApiFailure;

    async fn from_request_parts(
        parts: &mut Parts,
        server: &Arc<ApiServer>,
    ) -> Result<Self, ApiFailure> {
        let from = parts
            .extensions
            .get::<Observed>()
            .map(|observed| observed.0);
        let known = match bearer(&parts.headers) {
            Some(secret) => server
                .admin
                .store
                .use_api_key(&SecretHash::of(secret), now())
                .await?
                .ok_or(ApiFailure::UnknownKey),
            None => Err(ApiFailure::NoKey),
        };
        match known {
            Ok(key) => {
                let mut paces = server.keys.lock().unwrap_or_else(PoisonError::into_inner);
                let paced = paces.take(key.id, 1, Instant::now());
                paced.map_err(ApiFailure::TooOften)?;
                Ok(Self {
                    id: key.id,
                    scopes: key.scopes,
                })
            }
            Err(failure) => Err(server.stranger(from).err().unwrap_or(failure)),
        }
    }
}

impl ApiServer {
    /// Counts a request without a key that counts.
    fn stranger(&self, from: Option<IpAddr>) -> Result<(), ApiFailure> {
        let Some(from) = from else { return Ok(()) };
        let mut paces = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let paced = paces.take(from, 1, Instant::now());
        paced.map_err(ApiFailure::TooOften)
    }
}

/// The token of the one Authorization header; the scheme's case does not count (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A body of JSON.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiFailure;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiFailure> {
        if media_type(request.headers()).as_deref() != Some("application/json") {
            return Err(ApiFailure::MediaType("application/json"));
        }
        let body = body(request, MAX_BODY_BYTES).await?;
        let read = serde_json::from_slice(&body);
        read.map(Self)
            .map_err(|error| ApiFailure::Malformed(error.to_string()))
    }
}

/// A policy's text.
pub(super) struct PolicyText(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for PolicyText {
    type Rejection = ApiFailure;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiFailure> {
        match media_type(request.headers()).as_deref() {
            Some("text/plain" | "application/hujson") => {}
            _ => return Err(ApiFailure::MediaType("text/plain or application/hujson")),
        }
        let body = body(request, meshd_policy::MAX_POLICY_BYTES).await?;
        let text = String::from_utf8(body.into());
        text.map(Self)
            .map_err(|_| ApiFailure::Malformed("it is not UTF-8".to_owned()))
    }
}

async fn body(request: Request, most: usize) -> Result<Bytes, ApiFailure> {
    read_at_most(request.into_body(), most)
        .await
        .map_err(|error| match error {
            ReadError::TooLarge => ApiFailure::TooLarge(most),
            ReadError::Timeout => ApiFailure::Timeout,
            ReadError::Broken(reason) => ApiFailure::Malformed(reason),
        })
}

/// The media type without its parameters, in small letters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (name, _) = value.split_once(';').unwrap_or((value, ""));
    Some(name.trim().to_ascii_lowercase())
}

/// The query.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiFailure> {
        let read = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default());
        read.map(Self)
            .map_err(|error| ApiFailure::Malformed(error.to_string()))
    }
}

/// The one variable part of the path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiFailure> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(name)| Self(name))
            .map_err(|error: PathRejection| ApiFailure::Malformed(error.body_text()))
    }
}

impl Named {
    /// As the number of a thing of this kind; what is none names nothing.
    ///
    /// # Errors
    /// [`ApiFailure::NotFound`].
    pub(super) fn number(&self, kind: &str) -> Result<u64, ApiFailure> {
        let number = self.0.parse().ok();
        number.ok_or_else(|| ApiFailure::NotFound(format!("{kind} {}", self.0)))
    }
}

/// How many things are asked for, at most `most`, and if nothing is said so many.
///
/// # Errors
/// [`ApiFailure::Malformed`].
pub(super) fn limit(asked: Option<u64>, most: usize) -> Result<usize, ApiFailure> {
    let Some(asked) = asked else { return Ok(most) };
    let limit = usize::try_from(asked).ok();
    limit
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| ApiFailure::Malformed(format!("limit lies between 1 and {most}")))
}

/// Reads a number that is at most [`GREATEST`], or null.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<Whole>::deserialize(from)?;
    Ok(number.map(|Whole(number)| number))
}

/// The same, and not null.
pub(super) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Whole::deserialize(from).map(|Whole(number)| number)
}

/// A number that JSON Schema takes for an integer: 1.0 is one too.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {GREATEST}")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                match number {
                    0..=GREATEST => Ok(Whole(number)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }

            #[expect(
                clippy::cast_sign_loss,
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "the range is checked, and holds in both types exactly"
            )]
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                let is_whole = number.fract() == 0.0 && (0.0..=GREATEST as f64).contains(&number);
                match is_whole {
                    true => Ok(Whole(number as u64)),
                    false => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }
        }

        from.deserialize_u64(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_and_exact_in_every_parser() {
        let read = |text: &str| number(&mut serde_json::Deserializer::from_str(text)).ok();
        assert_eq!(read("7"), Some(Some(7)));
        assert_eq!(read("7.0"), Some(Some(7)));
        assert_eq!(read("null"), Some(None));
        assert_eq!(read("9007199254740991"), Some(Some(GREATEST)));
        for text in ["-1", "7.5", "9007199254740992", "1e300", "\"7\"", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn one_header_has_the_token() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            headers
        };
        assert_eq!(bearer(&headers(&["Bearer x"])), Some("x"));
        assert_eq!(bearer(&headers(&["bearer x"])), Some("x"));
        for values in [&[][..], &["x"], &["Basic x"], &["Bearer x", "Bearer y"]] {
            assert_eq!(bearer(&headers(values)), None, "{values:?}");
        }
    }
}
