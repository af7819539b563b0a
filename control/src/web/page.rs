//! What every page has in common.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::session::SignedIn;

macro_rules! policy {
    () => {
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    };
}

/// What keeps a browser from doing with a page what it is not for.
///
/// The referrer is kept from other hosts only: browsers that may never send one send `null` for the
/// origin of a form too (the Fetch standard, section 3.1), and forms could not be told from forged
/// ones.
const HEADERS: [(HeaderName, &str); 9] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CONTENT_SECURITY_POLICY, policy!()),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// A page for whoever asks.
pub(crate) fn page(title: &str, content: &Markup) -> Response {
    whole(title, None, content, false)
}

/// A page for somebody who is signed in, with the way out.
pub(crate) fn page_for(signed_in: &SignedIn, title: &str, content: &Markup) -> Response {
    whole(title, Some(signed_in), content, false)
}

/// A page that may run the script for passkeys.
pub(super) fn page_with_script(
    signed_in: Option<&SignedIn>,
    title: &str,
    content: &Markup,
) -> Response {
    let mut response = whole(title, signed_in, content, true);
    let policy = HeaderValue::from_static(concat!("script-src 'self'; ", policy!()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn whole(title: &str, signed_in: Option<&SignedIn>, content: &Markup, script: bool) -> Response {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " \u{2013} meshd" }
                link rel="stylesheet" href="/style.css";
                @if script { script src="/passkey.js" defer {} }
            }
            body {
                @if let Some(signed_in) = signed_in { (way_out(signed_in)) }
                main {
                    h1 { (title) }
                    (content)
                }
            }
        }
    };
    secured(text.into_string().into_response())
}

fn way_out(signed_in: &SignedIn) -> Markup {
    html! {
        header {
            span { (signed_in.login) }
            form method="post" action="/sign-out" {
                (signed_in.csrf_field())
                button .quiet { "Sign out" }
            }
        }
    }
}

/// Sends the browser to another page of this server, to be fetched with GET.
pub(crate) fn redirect(path: &str) -> Response {
    let mut response = secured(StatusCode::SEE_OTHER.into_response());
    let path = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, path);
    response
}

fn secured(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
