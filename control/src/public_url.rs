//! The address under which people and nodes find control.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;
use thiserror::Error;

/// `https://HOST[:PORT]`, without a path; in the form that browsers send as an origin
/// (RFC 6454, section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    host: String,
    port: u16,
}

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no address for browsers: write https://HOST or https://HOST:PORT, no path")]
pub(crate) struct PublicUrlError(String);

impl PublicUrl {
    /// The address of this host at `port`.
    pub(crate) fn of_this_host(port: u16) -> Self {
        let name = nix::unistd::gethostname().ok();
        let name = name.and_then(|name| name.into_string().ok());
        let own = |name: String| format!("https://{name}:{port}").parse().ok();
        name.and_then(own).unwrap_or_else(|| Self {
            host: "localhost".to_owned(),
            port,
        })
    }

    /// The host's name or address, an IPv6 address in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The whole address of what is at `path`, which begins with a slash.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let bad = || PublicUrlError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let authority = uri.authority().ok_or_else(bad)?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 443,
            Some(_) => authority.port_u16().ok_or_else(bad)?,
            None => return Err(bad()),
        };
        let legal = uri.scheme_str() == Some("https")
            && matches!(path, "" | "/")
            && !authority.host().is_empty();
        if !legal {
            return Err(bad());
        }
        Ok(Self {
            host: authority.host().to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => write!(f, "https://{}", self.host),
            port => write!(f, "https://{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_form_of_an_origin() {
        for (text, form) in [
            ("https://control.example.com", "https://control.example.com"),
            (
                "https://Control.example.com:443/",
                "https://control.example.com",
            ),
            ("https://control:8443", "https://control:8443"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://192.0.2.1", "https://192.0.2.1"),
        ] {
            let url: PublicUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), form);
            assert_eq!(url.at("/sign-in"), format!("{form}/sign-in"));
        }
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for text in [
            "",
            "control.example.com",
            "http://control",
            "https://",
            "https://control/path",
            "https://control?x",
            "https://control:port",
            "https://user@control",
            "https://control:99999",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }
}
