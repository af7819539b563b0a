//! The secrets of auth keys and API keys: shown once, stored as hashes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Lets a person, and a scanner for leaked secrets, see what the text is.
const PREFIX: &str = "meshd-auth-";
const API_PREFIX: &str = "meshd-api-";

/// A secret as it is handed to a host or a program; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// SHA-256 of a secret. The secret has 256 random bits, so that its hash needs no salt and no
/// slow function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SecretHash([u8; 32]);

impl Secret {
    /// A new secret for hosts that join, from the system's random number generator.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        Self::with(PREFIX)
    }

    /// A new secret for a program.
    pub(crate) fn for_program() -> Result<Self, getrandom::Error> {
        Self::with(API_PREFIX)
    }

    fn with(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random))))
    }

    /// The text to hand out.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl SecretHash {
    /// The hash of what a host presents; space around it does not count.
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.trim().as_bytes()).into())
    }

    /// The 32 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_not_printed() {
        let one = Secret::generate().expect("random bytes");
        let two = Secret::generate().expect("random bytes");
        assert_ne!(one, two);
        assert!(one.expose().starts_with(PREFIX));
        assert_eq!(format!("{one:?}"), "Secret");
    }

    #[test]
    fn a_file_with_a_line_feed_holds_the_same_secret() {
        let secret = Secret::generate().expect("random bytes");
        let line = format!("{}\n", secret.expose());
        assert_eq!(SecretHash::of(&line), SecretHash::of(secret.expose()));
        assert_ne!(SecretHash::of(&line), SecretHash::of("other"));
    }
}
