//! Control's signature around a document, and the one way to open it.
//!
//! The text has three parts: the line `meshd-signed 1 KIND`, the signature (ed25519, base64) on a
//! line of its own, and the document as JSON up to the end. The signature covers the first line,
//! its line feed, and the JSON, byte for byte; nothing is parsed before it is verified.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::document::{Document, Version};
use crate::identity::NodeId;
use crate::key::{PrivateKey, PublicKey};
use crate::keyring::Keys;
use crate::time::Timestamp;

/// The longest document that is opened, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// What the reader of a document insists on.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The node that reads.
    pub node: NodeId,
    /// The time of reading.
    pub now: Timestamp,
    /// The highest version seen so far.
    pub at_least: Version,
}

/// Why a document is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignedError {
    /// Longer than [`MAX_DOCUMENT_BYTES`].
    #[error("the document is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLong,
    /// Not the three parts, or a document of another kind or format.
    #[error("the text is no signed document of the kind {0:?}")]
    Form(&'static str),
    /// The signature does not fit the text and the keys that count.
    #[error("the signature is not of a key of control that counts here")]
    Signature,
    /// Signed by control, but not readable by this release.
    #[error("the document cannot be read by this release of meshd: {0}")]
    Body(String),
    /// Made for another node.
    #[error("the document is for node {found}, not for this node ({expected})")]
    WrongNode {
        /// The node that it was made for.
        found: NodeId,
        /// The node that reads.
        expected: NodeId,
    },
    /// Older than one that this node has seen.
    #[error("the document has version {found}, but this node has already seen {seen}")]
    Older {
        /// The document's version.
        found: Version,
        /// The highest version seen.
        seen: Version,
    },
    /// No longer valid.
    #[error("the document expired at {0} (seconds since 1970)")]
    Expired(Timestamp),
}

/// Signs a document.
///
/// # Errors
/// Only when the document cannot be written as JSON.
pub fn seal<D: Document>(document: &D, key: &PrivateKey) -> Result<String, serde_json::Error> {
    Ok(seal_text(D::KIND, &serde_json::to_string(document)?, key))
}

/// Opens a document that one of `keys` has signed, for the node and time in `expected`.
///
/// # Errors
/// [`SignedError`], the first that applies in the order: form, signature, content, node,
/// version, expiry.
pub fn open<'a, D: Document>(
    text: &[u8],
    keys: impl Into<Keys<'a>>,
    expected: &Expected,
) -> Result<D, SignedError> {
    let document: D = body(text, keys)?;
    let header = document.header();
    if header.node != expected.node {
        return Err(SignedError::WrongNode {
            found: header.node,
            expected: expected.node,
        });
    }
    if header.version < expected.at_least {
        return Err(SignedError::Older {
            found: header.version,
            seen: expected.at_least,
        });
    }
    if header.expires_at <= expected.now {
        return Err(SignedError::Expired(header.expires_at));
    }
    Ok(document)
}

/// The content of a document that is for whomever it is for, of any version and time.
///
/// # Errors
/// [`SignedError`] for form, signature or content.
pub fn body<'a, D: Document>(text: &[u8], keys: impl Into<Keys<'a>>) -> Result<D, SignedError> {
    let mut verified = Err(SignedError::Signature);
    for key in keys.into() {
        verified = verified_body(D::KIND, text, key);
        if verified != Err(SignedError::Signature) {
            break;
        }
    }
    serde_json::from_slice(verified?).map_err(|error| SignedError::Body(error.to_string()))
}

/// Signs a text that is not for one node, such as control's identity.
#[must_use]
pub fn seal_text(kind: &'static str, body: &str, key: &PrivateKey) -> String {
    let first = first_line(kind);
    let signature = key.sign(&[first.as_bytes(), body.as_bytes()].concat());
    format!("{first}{}\n{body}", STANDARD.encode(signature))
}

/// The signed bytes of a text of this kind, once the signature is found to be of `key`.
///
/// # Errors
/// [`SignedError::TooLong`], [`SignedError::Form`] or [`SignedError::Signature`].
pub fn verified_body<'a>(
    kind: &'static str,
    text: &'a [u8],
    key: &PublicKey,
) -> Result<&'a [u8], SignedError> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(SignedError::TooLong);
    }
    let first = first_line(kind);
    let rest = text
        .strip_prefix(first.as_bytes())
        .ok_or(SignedError::Form(kind))?;
    let end = rest
        .iter()
        .position(|b| *b == b'\n')
        .ok_or(SignedError::Form(kind))?;
    let signature = STANDARD
        .decode(&rest[..end])
        .map_err(|_| SignedError::Signature)?;
    let body = &rest[end + 1..];
    if !key.verifies(&[first.as_bytes(), body].concat(), &signature) {
        return Err(SignedError::Signature);
    }
    Ok(body)
}

fn first_line(kind: &str) -> String {
    format!("meshd-signed 1 {kind}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network_document::NetworkDocument;
    use crate::peer_document::PeerDocument;
    use crate::peer_document::tests::document;

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[9; 32])
    }

    fn expected() -> Expected {
        Expected {
            node: NodeId(1),
            now: Timestamp(100),
            at_least: Version(5),
        }
    }

    fn open_with(text: &str, expected: &Expected) -> Result<PeerDocument, SignedError> {
        open(text.as_bytes(), &key().public(), expected)
    }

    #[test]
    fn a_document_opens_as_it_was_sealed() {
        let text = seal(&document(), &key()).expect("seals");
        assert_eq!(open_with(&text, &expected()), Ok(document()));
    }

    #[test]
    fn another_key_is_refused() {
        let text = seal(&document(), &PrivateKey::from_seed(&[8; 32])).expect("seals");
        assert_eq!(open_with(&text, &expected()), Err(SignedError::Signature));
    }

    #[test]
    fn another_kind_is_refused() {
        let text = seal(&document(), &key()).expect("seals");
        let opened = open::<NetworkDocument>(text.as_bytes(), &key().public(), &expected());
        assert_eq!(opened.err(), Some(SignedError::Form(NetworkDocument::KIND)));
        let renamed = text.replacen(PeerDocument::KIND, NetworkDocument::KIND, 1);
        let opened = open::<NetworkDocument>(renamed.as_bytes(), &key().public(), &expected());
        assert_eq!(opened.err(), Some(SignedError::Signature));
    }

    #[test]
    fn node_version_and_expiry_are_insisted_on() {
        let text = seal(&document(), &key()).expect("seals");
        let elsewhere = Expected {
            node: NodeId(2),
            ..expected()
        };
        assert!(matches!(
            open_with(&text, &elsewhere),
            Err(SignedError::WrongNode { .. })
        ));
        let later = Expected {
            at_least: Version(6),
            ..expected()
        };
        assert!(matches!(
            open_with(&text, &later),
            Err(SignedError::Older { .. })
        ));
        let expired = Expected {
            now: Timestamp(200),
            ..expected()
        };
        assert_eq!(
            open_with(&text, &expired),
            Err(SignedError::Expired(Timestamp(200)))
        );
    }

    proptest! {
        #[test]
        fn no_changed_byte_is_believed(position in 0usize..4096, flip in 1u8..=255) {
            let mut text = seal(&document(), &key()).expect("seals").into_bytes();
            let position = position % text.len();
            text[position] ^= flip;
            prop_assert!(open::<PeerDocument>(&text, &key().public(), &expected()).is_err());
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(open::<PeerDocument>(&text, &key().public(), &expected()).is_err());
        }
    }
}
