//! The Unix account name that an SSH client asks for.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest login name in bytes.
pub const MAX_LOGIN_BYTES: usize = 256;

/// A login name that is safe to look up, to give to PAM and to write to a log:
/// `[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}`, and not all digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Login(String);

/// Why a string is no login name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoginError {
    /// The name has no character.
    #[error("a login name cannot be empty")]
    Empty,
    /// The name is longer than [`MAX_LOGIN_BYTES`].
    #[error("a login name has at most {MAX_LOGIN_BYTES} characters")]
    TooLong,
    /// The name could be taken for a user id.
    #[error("a login name cannot consist of digits only")]
    AllDigits,
    /// A character that no login name may have, or may not start with.
    #[error("a login name cannot have the character {0:?} there: use letters, digits and _ . @ -")]
    Character(char),
}

impl Login {
    /// The name as it stands in the user database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a login name from what a client sent.
    ///
    /// # Errors
    /// [`LoginError`] for anything that is not a login name; bytes that are not UTF-8 count as a
    /// character that is not permitted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoginError> {
        std::str::from_utf8(bytes)
            .map_err(|_| LoginError::Character(char::REPLACEMENT_CHARACTER))?
            .parse()
    }
}

impl std::str::FromStr for Login {
    type Err = LoginError;

    fn from_str(name: &str) -> Result<Self, LoginError> {
        let first = name.chars().next().ok_or(LoginError::Empty)?;
        if name.len() > MAX_LOGIN_BYTES {
            return Err(LoginError::TooLong);
        }
        if !starts_login(first) {
            return Err(LoginError::Character(first));
        }
        if let Some(bad) = name.chars().find(|c| !continues_login(*c)) {
            return Err(LoginError::Character(bad));
        }
        if name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(LoginError::AllDigits);
        }
        Ok(Self(name.to_owned()))
    }
}

fn starts_login(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn continues_login(c: char) -> bool {
    starts_login(c) || matches!(c, '.' | '@' | '-')
}

impl TryFrom<String> for Login {
    type Error = LoginError;

    fn try_from(name: String) -> Result<Self, LoginError> {
        name.parse()
    }
}

impl From<Login> for String {
    fn from(login: Login) -> Self {
        login.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_gave_root_elsewhere_are_no_logins() {
        for name in [
            "-i", "0", "00", " 0", "+0", "", "a b", "a\n", "a\0", "$x", "../alice", "ä",
        ] {
            assert!(name.parse::<Login>().is_err(), "{name:?} is no login");
        }
    }

    #[test]
    fn usual_names_are_logins() {
        for name in [
            "alice",
            "www-data",
            "_apt",
            "systemd-network",
            "bob@corp.example",
            "0day",
        ] {
            assert_eq!(name.parse::<Login>().map(String::from), Ok(name.to_owned()));
        }
    }

    #[test]
    fn the_longest_name_has_256_bytes() {
        assert!("a".repeat(256).parse::<Login>().is_ok());
        assert_eq!("a".repeat(257).parse::<Login>(), Err(LoginError::TooLong));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_no_login() {
        assert!(Login::from_bytes(b"al\xffice").is_err());
    }
}
