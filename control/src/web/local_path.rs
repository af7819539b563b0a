//! Where to go on after signing in: somewhere on this server, never elsewhere.

use std::fmt;

const LONGEST: usize = 1024;

/// A path, with its query, that a browser takes for one of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalPath(String);

impl LocalPath {
    /// The path that `text` is, or `/`.
    ///
    /// Browsers take a backslash for a slash, drop tabs and line feeds, and read what follows two
    /// slashes as a host (the URL standard, section 4.4).
    pub(crate) fn or_home(text: &str) -> Self {
        let is_plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'\\';
        let is_local = text.starts_with('/')
            && !text.starts_with("//")
            && text.len() <= LONGEST
            && text.bytes().all(is_plain);
        Self(if is_local { text } else { "/" }.to_owned())
    }

    /// The page for signing in that leads to this path; `again` asks also who is signed in.
    pub(crate) fn sign_in(&self, again: bool) -> String {
        self.by_way_of("/sign-in", again)
    }

    /// The same by way of the identity provider.
    pub(crate) fn at_provider(&self, again: bool) -> String {
        self.by_way_of("/sign-in/provider", again)
    }

    fn by_way_of(&self, page: &str, again: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("next", &self.0);
        if again {
            query.append_pair("again", "1");
        }
        format!("{page}?{}", query.finish())
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_away_from_this_server() {
        for text in ["/", "/devices", "/join/1?x=%2F%2Fevil&y#z"] {
            assert_eq!(LocalPath::or_home(text).to_string(), text);
        }
        for text in [
            "",
            "devices",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a b",
            "/\u{e4}",
            "javascript:alert(1)",
        ] {
            assert_eq!(LocalPath::or_home(text).to_string(), "/", "{text}");
        }
        assert_eq!(LocalPath::or_home(&"/a".repeat(600)).to_string(), "/");
    }

    #[test]
    fn the_path_survives_the_query() {
        let link = LocalPath::or_home("/a?b=c&d").sign_in(true);
        assert_eq!(link, "/sign-in?next=%2Fa%3Fb%3Dc%26d&again=1");
    }
}
