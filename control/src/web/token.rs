//! Random secrets in cookies and links.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth_key::SecretHash;

/// 256 random bits, or 128. Only their hash is stored; they are never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// A new one from the system's random number generator.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(random)))
    }

    /// One of 128 bits, for addresses that a person may have to type and that do not live long.
    pub(crate) fn short() -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(random)))
    }

    /// A text that has come back; none where it cannot be a token.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        matches!(bytes.len(), 16 | 32).then(|| Self(text.to_owned()))
    }

    /// The text to hand out: letters, digits, `-` and `_`.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let token = Token::generate().expect("random bytes");
        assert_eq!(Token::read(token.expose()), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "Token");
        for text in ["", "short", "../../etc", &"A".repeat(44)] {
            assert_eq!(Token::read(text), None, "{text}");
        }
    }
}
