//! The cookies of the pages.
//!
//! The prefix `__Host-` makes browsers insist on Secure, on the whole site and on this very host,
//! so that no neighbouring host can plant one (RFC 6265bis, section 4.1.3.2).

use axum::http::{HeaderMap, HeaderValue, header};

use super::token::Token;

/// A person is signed in.
pub(super) const SESSION: &str = "__Host-meshd";
/// A form is filled in by somebody who is not signed in.
pub(super) const FORM: &str = "__Host-meshd-form";
/// A person is signing in at the identity provider.
pub(super) const PROVIDER: &str = "__Host-meshd-provider";
/// The person has signed in with this browser before.
pub(super) const BROWSER: &str = "__Host-meshd-browser";

/// The token in the cookie `name`; none where there is none, or several.
pub(super) fn read(headers: &HeaderMap, name: &str) -> Option<Token> {
    Token::read(text(headers, name)?)
}

/// What the cookie `name` says; none where there is none, or several.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut values = pairs.filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// The header that keeps `token` in the browser for so many seconds.
///
/// `Lax` lets a link from elsewhere, such as one in a terminal, find the person signed in.
pub(super) fn set(name: &str, token: &Token, seconds: u64) -> HeaderValue {
    header_value(name, token.expose(), seconds)
}

/// The same for a text of letters, digits, `-` and `_`.
pub(super) fn set_text(name: &str, text: &str, seconds: u64) -> HeaderValue {
    header_value(name, text, seconds)
}

/// The header that removes the cookie.
pub(super) fn remove(name: &str) -> HeaderValue {
    header_value(name, "", 0)
}

fn header_value(name: &str, value: &str, seconds: u64) -> HeaderValue {
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    // Tokens and names are letters, digits and a few signs, which every header may hold.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[String]) -> HeaderMap {
        let line = |line: &String| (header::COOKIE, line.parse().expect("a header"));
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let token = Token::generate().expect("random bytes");
        let text = token.expose().to_owned();
        let found = |lines: &[String]| read(&headers(lines), SESSION);
        assert_eq!(found(&[format!("a=b; {SESSION}={text}")]), Some(token));
        assert_eq!(found(&[format!("{FORM}={text}")]), None);
        assert_eq!(found(&[]), None);
        let twice = format!("{SESSION}={text}; {SESSION}={text}");
        assert_eq!(found(&[twice]), None, "one of them is somebody else's");
    }

    #[test]
    fn cookies_are_for_this_host_over_tls_and_not_for_scripts() {
        let token = Token::generate().expect("random bytes");
        let set = set(SESSION, &token, 60);
        let set = set.to_str().expect("text");
        for part in [
            "Path=/;",
            "Secure",
            "HttpOnly",
            "SameSite=Lax",
            "Max-Age=60",
        ] {
            assert!(set.contains(part), "{set}");
        }
        assert!(!set.contains("Domain"), "{set}");
    }
}
