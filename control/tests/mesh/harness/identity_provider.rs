//! An identity provider (OpenID Connect) whose tokens are signed for real, and which lies when a test
//! wants it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::now;

/// What control is called, and what it has to say with it.
pub(crate) const CLIENT: &str = "meshd";
pub(crate) const SECRET: &str = "the client's secret: %+&";

/// What alice is called.
pub(crate) const SUBJECT: &str = "248289761001";

/// A key that signs tokens.
pub(crate) enum Key {
    Rsa(String, RsaKeyPair),
    Ec(String, EcdsaKeyPair),
}

/// The provider.
#[derive(Clone)]
pub(crate) struct IdentityProvider {
    pub(crate) issuer: String,
    inside: Arc<Mutex<Inside>>,
}

/// What tests may change.
pub(crate) struct Inside {
    /// Sign the tokens; the first one does.
    pub(crate) keys: Vec<Key>,
    /// The first key signs, but is not told of.
    pub(crate) hides_key: bool,
    /// What tokens say in the place of the truth; null for what they leave out.
    pub(crate) lies: Value,
    /// Who is signed in there; nobody after the account was removed.
    pub(crate) person: Option<Value>,
    /// When the person has proved who they are.
    pub(crate) proved_at: u64,
    /// Tokens say who somebody is, and nothing more; this is who the rest is about, when asked.
    pub(crate) tells_apart: Option<&'static str>,
    /// What comes instead of a signature.
    pub(crate) signature: Option<&'static str>,
    codes: HashMap<String, HashMap<String, String>>,
    count: u32,
}

impl Key {
    pub(crate) fn rsa(name: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self::Rsa(name.to_owned(), pair)
    }

    pub(crate) fn ec(name: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self::Ec(name.to_owned(), pair)
    }

    fn public(&self) -> Value {
        match self {
            Self::Rsa(name, pair) => {
                let (n, e) = numbers(pair.public_key());
                json!({ "kty": "RSA", "use": "sig", "kid": name, "n": n, "e": e })
            }
            Self::Ec(name, pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({ "kty": "EC", "use": "sig", "crv": "P-256", "kid": name, "x": x, "y": y })
            }
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let (algorithm, name) = match self {
            Self::Rsa(name, _) => ("RS256", name),
            Self::Ec(name, _) => ("ES256", name),
        };
        let header = json!({ "alg": algorithm, "typ": "JWT", "kid": name });
        let text = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(_, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
                    .expect("signs");
                signature
            }
            Self::Ec(_, pair) => {
                let signature = pair.sign(&random, text.as_bytes()).expect("signs");
                signature.as_ref().to_vec()
            }
        };
        format!("{text}.{}", encode(&signature))
    }
}

impl IdentityProvider {
    /// One that alice has just signed in to.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let provider = Self {
            issuer: format!("http://{address}"),
            inside: Arc::new(Mutex::new(Inside {
                keys: vec![Key::rsa("first")],
                hides_key: false,
                lies: json!({}),
                person: Some(json!({
                    "sub": SUBJECT,
                    "email": "Alice@example.com",
                    "email_verified": true,
                    "groups": ["ops"],
                })),
                proved_at: now(),
                tells_apart: None,
                signature: None,
                codes: HashMap::new(),
                count: 0,
            })),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/person", get(tell_apart))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// What a test changes.
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens when a browser comes with control's question: the path and query with which it
    /// goes back.
    pub(crate) fn visit(&self, url: &str) -> String {
        let query = url.strip_prefix(&format!("{}/authorize?", self.issuer));
        let query: HashMap<String, String> =
            serde_urlencoded::from_str(query.expect("the provider's page")).expect("a query");
        for (name, value) in [
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(query[name], value, "{url}");
        }
        assert!(
            query["scope"].split(' ').any(|scope| scope == "openid"),
            "{url}"
        );
        let back = query["redirect_uri"].strip_prefix(super::ORIGIN);
        let back = back.expect("an address of control").to_owned();
        let mut inside = self.inside();
        if query.get("prompt").is_some_and(|prompt| prompt == "login") {
            assert_eq!(query["max_age"], "0", "{url}");
            inside.proved_at = now();
        }
        let mut answer = vec![("state", query["state"].clone())];
        if inside.person.is_none() {
            answer.push(("error", "access_denied".to_owned()));
        } else {
            inside.count += 1;
            let code = format!("code {}", inside.count);
            inside.codes.insert(code.clone(), query);
            answer.push(("code", code));
            answer.push(("iss", self.issuer.clone()));
        }
        format!(
            "{back}?{}",
            serde_urlencoded::to_string(answer).expect("a query")
        )
    }
}

async fn describe(State(provider): State<IdentityProvider>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/person"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
    }))
}

async fn keys(State(provider): State<IdentityProvider>) -> Json<Value> {
    let inside = provider.inside();
    let told = inside.keys.iter().skip(usize::from(inside.hides_key));
    let told: Vec<Value> = told.map(Key::public).collect();
    Json(json!({ "keys": told }))
}

async fn token(
    State(provider): State<IdentityProvider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    // RFC 6749, section 2.3.1: both halves are written as in a form before they are joined.
    let encode =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let known = format!("{}:{}", encode(CLIENT), encode(SECRET));
    let known = format!("Basic {}", STANDARD.encode(known));
    if headers
        .get("authorization")
        .is_none_or(|given| given != known.as_str())
    {
        return refuse("invalid_client");
    }
    let mut inside = provider.inside();
    let asked = form.get("code").and_then(|code| inside.codes.remove(code));
    let Some(asked) = asked else {
        return refuse("invalid_grant");
    };
    let verifier = form.get("code_verifier").map_or("", String::as_str);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    if challenge != asked["code_challenge"] || form.get("redirect_uri") != asked.get("redirect_uri")
    {
        return refuse("invalid_grant");
    }
    let Some(person) = inside.person.clone() else {
        return refuse("invalid_grant");
    };
    let mut claims = json!({
        "iss": provider.issuer,
        "aud": CLIENT,
        "iat": now(),
        "exp": now() + 300,
        "nonce": asked["nonce"],
        "auth_time": inside.proved_at,
    });
    let person = match inside.tells_apart {
        Some(_) => json!({ "sub": person["sub"] }),
        None => person,
    };
    for more in [&person, &inside.lies] {
        for (name, value) in more.as_object().expect("claims") {
            claims[name] = value.clone();
        }
    }
    let claims = claims.as_object().expect("claims").iter();
    let claims: Value = claims
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut token = inside.keys[0].sign(&claims);
    if let Some(instead) = inside.signature {
        token = forged(&claims, instead);
    }
    let tokens = json!({
        "access_token": "opaque",
        "token_type": "Bearer",
        "expires_in": 300,
        "id_token": token,
    });
    Json(tokens).into_response()
}

async fn tell_apart(State(provider): State<IdentityProvider>, headers: HeaderMap) -> Response {
    if headers
        .get("authorization")
        .is_none_or(|given| given != "Bearer opaque")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let inside = provider.inside();
    let (Some(subject), Some(mut person)) = (inside.tells_apart, inside.person.clone()) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    person["sub"] = subject.into();
    Json(person).into_response()
}

fn refuse(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

/// A token that says to need no signature, or is signed with what the client knows too.
fn forged(claims: &Value, algorithm: &str) -> String {
    let header = json!({ "alg": algorithm, "typ": "JWT" });
    let text = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    match algorithm {
        "none" => format!("{text}."),
        _ => {
            let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
            format!("{text}.{}", encode(tag.as_ref()))
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent, from the key's ASN.1 form (RFC 8017, appendix A.1.1).
fn numbers(key: &rsa::PublicKey) -> (String, String) {
    fn next<'a>(der: &mut &'a [u8]) -> &'a [u8] {
        let (head, length) = match der[1] {
            short @ ..0x80 => (2, usize::from(short)),
            long => {
                let bytes = usize::from(long & 0x7f);
                let digits = der[2..2 + bytes].iter();
                (
                    2 + bytes,
                    digits.fold(0, |n, byte| n << 8 | usize::from(*byte)),
                )
            }
        };
        let (value, rest) = der[head..].split_at(length);
        *der = rest;
        value
    }
    let mut der = key.as_ref();
    let mut inner = next(&mut der);
    let mut number = || {
        let bytes = next(&mut inner);
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        encode(&bytes[zeros..])
    };
    (number(), number())
}
