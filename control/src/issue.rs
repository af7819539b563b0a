//! When a document gets a new version, and its signature. Pure but for the signing itself.

use meshd_contract::document::{Document, Header, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::key::PrivateKey;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed::seal;
use meshd_contract::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::store::{Issued, Kind, Sealed};

/// What a new document depends on beside its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Signs it.
    pub(crate) key: &'a PrivateKey,
    /// The present.
    pub(crate) now: Timestamp,
    /// How long it counts, in seconds.
    pub(crate) lifetime: u64,
}

/// Why a document might be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Something may have changed; only what differs gets a new version.
    Change,
    /// The node was deleted; it gets a new version in any case, so that it hears of it.
    Deletion,
}

/// A document of one of the two kinds, whose header can be set.
pub(crate) trait Draft: Document {
    /// Which kind.
    const DOCUMENT_KIND: Kind;
    /// The header to fill in.
    fn header_mut(&mut self) -> &mut Header;
}

impl Draft for PeerDocument {
    const DOCUMENT_KIND: Kind = Kind::Peers;
    fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }
}

impl Draft for NetworkDocument {
    const DOCUMENT_KIND: Kind = Kind::Network;
    fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }
}

/// Signs `draft` as a new version if it differs from the newest one, if that one is due for
/// renewal, if the node has seen a later version than control remembers, or if it is the last.
///
/// The last happens when control's database was restored from a backup: the node would refuse
/// every version up to the one that it has `seen`.
///
/// # Errors
/// Only when the document cannot be written as JSON.
pub(crate) fn issue<D: Draft>(
    mut draft: D,
    newest: Option<&Issued>,
    seen: Version,
    occasion: Occasion,
    terms: &Terms<'_>,
) -> Result<Option<Sealed>, serde_json::Error> {
    let content_hash = Sha256::digest(serde_json::to_vec(&draft)?).into();
    if occasion == Occasion::Change
        && let Some(newest) = newest
        && newest.content_hash == content_hash
        && newest.version >= seen
        && terms.now < renewal(newest)
    {
        return Ok(None);
    }
    let known = newest.map_or(0, |newest| newest.version.0);
    let issued = Issued {
        version: Version(known.max(seen.0) + 1),
        content_hash,
        issued_at: terms.now,
        expires_at: terms.now.plus(terms.lifetime),
    };
    let node: NodeId = draft.header().node;
    *draft.header_mut() = Header {
        node,
        version: issued.version,
        issued_at: issued.issued_at,
        expires_at: issued.expires_at,
    };
    Ok(Some(Sealed {
        node,
        kind: D::DOCUMENT_KIND,
        issued,
        text: seal(&draft, terms.key)?,
    }))
}

/// When a document is replaced although its content stays: at half of its life.
pub(crate) fn renewal(issued: &Issued) -> Timestamp {
    let life = issued.expires_at.0.saturating_sub(issued.issued_at.0);
    issued.issued_at.plus(life.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use meshd_contract::signed::{Expected, open};

    use super::*;

    fn draft(name: &str) -> PeerDocument {
        PeerDocument {
            header: Header {
                node: NodeId(7),
                version: Version(0),
                issued_at: Timestamp(0),
                expires_at: Timestamp(0),
            },
            name: name.parse().expect("a name"),
            addresses: crate::address_pool::Slot(7).addresses(),
            peers: Vec::new(),
            rules: Vec::new(),
        }
    }

    fn issue_at(name: &str, newest: Option<&Issued>, seen: u64, now: u64) -> Option<Sealed> {
        issue_on(Occasion::Change, name, newest, seen, now)
    }

    fn issue_on(
        occasion: Occasion,
        name: &str,
        newest: Option<&Issued>,
        seen: u64,
        now: u64,
    ) -> Option<Sealed> {
        let key = PrivateKey::from_seed(&[1; 32]);
        let terms = Terms {
            key: &key,
            now: Timestamp(now),
            lifetime: 100,
        };
        issue(draft(name), newest, Version(seen), occasion, &terms).expect("is JSON")
    }

    fn first() -> Issued {
        issue_at("a", None, 0, 1_000).expect("a document").issued
    }

    #[test]
    fn the_signed_text_opens_with_its_version_and_times() {
        let sealed = issue_at("a", None, 0, 1_000).expect("a document");
        let expected = Expected {
            node: NodeId(7),
            now: Timestamp(1_099),
            at_least: Version(1),
        };
        let key = PrivateKey::from_seed(&[1; 32]).public();
        let opened: PeerDocument = open(sealed.text.as_bytes(), &key, &expected).expect("opens");
        assert_eq!(opened.header.version, sealed.issued.version);
        assert_eq!(opened.header.expires_at, Timestamp(1_100));
    }

    #[test]
    fn the_same_content_gets_no_new_version() {
        assert!(issue_at("a", Some(&first()), 1, 1_049).is_none());
    }

    #[test]
    fn the_last_document_is_a_new_version_even_of_the_same_content() {
        let last = issue_on(Occasion::Deletion, "a", Some(&first()), 1, 1_001);
        assert_eq!(last.map(|last| last.issued.version), Some(Version(2)));
    }

    #[test]
    fn another_content_does() {
        let next = issue_at("b", Some(&first()), 1, 1_001).expect("a document");
        assert_eq!(next.issued.version, Version(2));
    }

    #[test]
    fn a_document_is_renewed_at_half_of_its_life() {
        let next = issue_at("a", Some(&first()), 1, 1_050).expect("a document");
        assert_eq!(next.issued.version, Version(2));
        assert_eq!(next.issued.content_hash, first().content_hash);
        assert_eq!(next.issued.expires_at, Timestamp(1_150));
    }

    #[test]
    fn a_node_that_has_seen_more_is_overtaken() {
        let next = issue_at("a", Some(&first()), 9, 1_001).expect("a document");
        assert_eq!(next.issued.version, Version(10));
        assert!(issue_at("a", Some(&next.issued), 9, 1_002).is_none());
    }
}
