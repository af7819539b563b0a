//! What every page has in common.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::session::SignedIn;

/// What keeps a browser from doing with a page what it is not for.
///
/// The referrer is kept from other hosts only: browsers that may never send one send `null` for the
/// origin of a form too (the Fetch standard, section 3.1), and forms could not be told from forged
/// ones.
const HEADERS: [(HeaderName, &str); 9] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
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
    whole(title, &html! {}, content)
}

/// A page for somebody who is signed in, with the way out.
pub(crate) fn page_for(signed_in: &SignedIn, title: &str, content: &Markup) -> Response {
    let way_out = html! {
        header {
            span { (signed_in.login) }
            form method="post" action="/sign-out" {
                (signed_in.csrf_field())
                button .quiet { "Sign out" }
            }
        }
    };
    whole(title, &way_out, content)
}

fn whole(title: &str, above: &Markup, content: &Markup) -> Response {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " \u{2013} meshd" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                (above)
                main {
                    h1 { (title) }
                    (content)
                }
            }
        }
    };
    secured(text.into_string().into_response())
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
