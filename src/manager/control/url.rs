//! The address of a control server.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::manager::error::Error;

/// `https://HOST[:PORT]`, without a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlUrl {
    host: String,
    port: u16,
}

impl ControlUrl {
    /// The host's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as HTTP writes them.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl FromStr for ControlUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::ControlUrl(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let authority = uri.authority().ok_or_else(bad)?;
        let legal = uri.scheme_str() == Some("https")
            && matches!(path, "" | "/")
            && !authority.as_str().contains('@')
            && !authority.host().is_empty();
        if !legal {
            return Err(bad());
        }
        Ok(Self {
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(443),
        })
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl TryFrom<String> for ControlUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ControlUrl> for String {
    fn from(url: ControlUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, form) in [
            ("https://control.example", "https://control.example"),
            (
                "https://Control.example:8443/",
                "https://control.example:8443",
            ),
            ("https://192.0.2.1:443", "https://192.0.2.1"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            let url: ControlUrl = text.parse().expect("an address");
            assert_eq!(url.to_string(), form);
        }
        let url: ControlUrl = "https://[2001:db8::1]".parse().expect("an address");
        assert_eq!((url.host(), url.port()), ("2001:db8::1", 443));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "control",
            "http://control",
            "https://",
            "https://a/b",
            "https://u@a",
        ] {
            assert!(text.parse::<ControlUrl>().is_err(), "{text}");
        }
    }
}
