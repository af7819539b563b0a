//! What a browser keeps for control: it can neither read nor change it.
//!
//! So nothing has to be stored for somebody who may never come back, and a restart loses nothing.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a key of [`Sealer`] is stored as.
pub(crate) const SECRET: &str = "sealed cookies";

/// Seals texts and opens them again (AES-256-GCM, NIST SP 800-38D, each with a random nonce).
pub(crate) struct Sealer(RandomizedNonceKey);

impl Sealer {
    /// With this key; none where the library refuses it, which would be a fault of this program.
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key).ok().map(Self)
    }

    /// A text of letters, digits, `-` and `_`, that is for `purpose` alone.
    pub(super) fn seal<T: Serialize>(&self, purpose: &str, value: &T) -> Option<String> {
        let mut sealed = serde_json::to_vec(value).ok()?;
        let purpose = Aad::from(purpose.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(purpose, &mut sealed);
        sealed.extend_from_slice(nonce.ok()?.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed for this purpose; none for everything else.
    pub(super) fn open<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        let mut sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let nonce = sealed.split_off(sealed.len().checked_sub(NONCE_LEN)?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let purpose = Aad::from(purpose.as_bytes());
        let opened = self.0.open_in_place(nonce, purpose, &mut sealed).ok()?;
        serde_json::from_slice(opened).ok()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_a_purpose_is_opened() {
        let sealer = Sealer::new(&[1; 32]).expect("a key");
        let text = sealer.seal("a", &"content").expect("seals");
        let open = |purpose, text: &str| sealer.open::<String>(purpose, text);
        assert_eq!(open("a", &text).as_deref(), Some("content"));
        assert_eq!(open("b", &text), None);
        assert!(!text.contains("content"));
        assert_ne!(sealer.seal("a", &"content"), Some(text.clone()));
        let other = Sealer::new(&[2; 32]).expect("a key");
        assert_eq!(other.open::<String>("a", &text), None);
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert_eq!(open("a", &changed), None, "{place}");
        }
        for short in ["", "AAAA", &text[..16]] {
            assert_eq!(open("a", short), None);
        }
    }
}
