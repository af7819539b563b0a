//! SSH host keys as a node reports them. Other nodes write them into lines of known-hosts files, so
//! that nothing else may stand in them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// The longest key, in bytes of text.
const MAX_BYTES: usize = 4096;

/// A public key as in `ssh_host_*_key.pub` without the comment: its type and its base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey(String);

/// Why a text is no host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an SSH host key is its type and its base64, as in ssh_host_ed25519_key.pub")]
pub struct HostKeyError;

impl HostKey {
    /// The key without its type, in base64.
    #[must_use]
    pub fn base64(&self) -> &str {
        self.0.split_once(' ').map_or("", |(_, base64)| base64)
    }
}

impl FromStr for HostKey {
    type Err = HostKeyError;

    fn from_str(text: &str) -> Result<Self, HostKeyError> {
        let (kind, base64) = text.split_once(' ').ok_or(HostKeyError)?;
        let blob = STANDARD.decode(base64).map_err(|_| HostKeyError)?;
        if text.len() <= MAX_BYTES && is_type(kind) && begins_with(&blob, kind) {
            Ok(Self(text.to_owned()))
        } else {
            Err(HostKeyError)
        }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A marker of a known-hosts file, such as `@cert-authority`, is none.
fn is_type(kind: &str) -> bool {
    kind.starts_with(|first: char| first.is_ascii_lowercase())
        && kind
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b))
}

/// A key's blob begins with the length and the name of its type (RFC 4253, section 6.6).
fn begins_with(blob: &[u8], kind: &str) -> bool {
    let length = u32::try_from(kind.len()).unwrap_or(u32::MAX).to_be_bytes();
    blob.strip_prefix(&length)
        .is_some_and(|rest| rest.starts_with(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVQd6tEBkUuAvAyLAyBSuIXsLuKGVCAeFAh9NLhnOd2";

    #[test]
    fn a_public_key_is_its_type_and_its_base64() {
        let key: HostKey = KEY.parse().expect("a key");
        assert_eq!(key.to_string(), KEY);
        assert_eq!(Some(key.base64()), KEY.strip_prefix("ssh-ed25519 "));
    }

    #[test]
    fn nothing_else_is_a_key() {
        let marker = format!(
            "@cert-authority {}",
            STANDARD.encode(b"\0\0\0\x0f@cert-authority")
        );
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            &marker,
            &format!("{KEY} root@web1"),
            &format!("{KEY}\n* {KEY}"),
            &format!("{KEY}\n"),
            &format!("{KEY}\r"),
            &format!(" {KEY}"),
            &format!("@cert-authority * {KEY}"),
            &format!("*,{KEY}"),
            &KEY.replace(' ', "  "),
            &KEY.replace(' ', "\t"),
            &KEY.replace("ssh-ed25519", "ssh-rsa"),
            &KEY.replace("AAAA", "AAAA\u{1b}"),
        ] {
            assert_eq!(text.parse::<HostKey>(), Err(HostKeyError), "{text:?}");
        }
    }
}
