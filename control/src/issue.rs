//! When a document gets a new version, and its signature. Pure but for the signing itself.

use std::collections::BTreeMap;

use meshd_contract::document::{Document, Header, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::key::PrivateKey;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed::seal;
use meshd_contract::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::compose::{Outline, network_peer, peer};
use crate::store::{Issued, Kind, NodeRow, Sealed};

/// What a new document depends on beside its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Signs it.
    pub(crate) key: &'a PrivateKey,
    /// The present.
    pub(crate) now: Timestamp,
    /// How long it counts, in seconds.
    pub(crate) lifetime: u64,
    /// Of every node that may be a peer.
    pub(crate) digests: &'a BTreeMap<NodeId, PeerDigests>,
}

/// Why a document might be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Something may have changed; only what differs gets a new version.
    Change,
    /// The node was deleted; it gets a new version in any case, so that it hears of it.
    Deletion,
}

/// A document of one of the two kinds, as far as issuing it goes.
pub(crate) trait Draft: Document {
    /// Which kind.
    const DOCUMENT_KIND: Kind;
    /// The header to fill in.
    fn header_mut(&mut self) -> &mut Header;
    /// Puts the peers in.
    fn fill(&mut self, peers: &[&NodeRow]);
    /// The digest of what stands in the document for this peer.
    fn digest_of(digests: &PeerDigests) -> &[u8; 32];
}

impl Draft for PeerDocument {
    const DOCUMENT_KIND: Kind = Kind::Peers;
    fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }
    fn fill(&mut self, peers: &[&NodeRow]) {
        self.peers = peers.iter().map(|node| peer(node)).collect();
    }
    fn digest_of(digests: &PeerDigests) -> &[u8; 32] {
        &digests.peer
    }
}

impl Draft for NetworkDocument {
    const DOCUMENT_KIND: Kind = Kind::Network;
    fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }
    fn fill(&mut self, peers: &[&NodeRow]) {
        self.peers = peers.iter().map(|node| network_peer(node)).collect();
    }
    fn digest_of(digests: &PeerDigests) -> &[u8; 32] {
        &digests.network_peer
    }
}

/// SHA-256 of what stands for one node in the documents of others.
#[derive(Debug, Clone)]
pub(crate) struct PeerDigests {
    peer: [u8; 32],
    network_peer: [u8; 32],
}

impl PeerDigests {
    /// Of one node.
    ///
    /// # Errors
    /// Only when something cannot be written as JSON.
    pub(crate) fn of(node: &NodeRow) -> Result<Self, serde_json::Error> {
        Ok(Self {
            peer: Sha256::digest(serde_json::to_vec(&peer(node))?).into(),
            network_peer: Sha256::digest(serde_json::to_vec(&network_peer(node))?).into(),
        })
    }
}

/// Signs a document as a new version if it differs from the newest one, if that one is due for
/// renewal, if the node has seen a later version than control remembers, or if it is the last.
///
/// A node has seen more when control's database was restored from a backup: it would refuse every
/// version up to the one that it has `seen`.
///
/// # Errors
/// Only when the document cannot be written as JSON.
pub(crate) fn issue<D: Draft>(
    outline: Outline<'_, D>,
    newest: Option<&Issued>,
    seen: Version,
    occasion: Occasion,
    terms: &Terms<'_>,
) -> Result<Option<Sealed>, serde_json::Error> {
    let content_hash = content_hash(&outline, terms)?;
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
    let mut document = outline.document;
    document.fill(&outline.peers);
    let node: NodeId = document.header().node;
    *document.header_mut() = Header {
        node,
        version: issued.version,
        issued_at: issued.issued_at,
        expires_at: issued.expires_at,
    };
    Ok(Some(Sealed {
        node,
        kind: D::DOCUMENT_KIND,
        issued,
        text: seal(&document, terms.key)?.into(),
    }))
}

fn content_hash<D: Draft>(
    outline: &Outline<'_, D>,
    terms: &Terms<'_>,
) -> Result<[u8; 32], serde_json::Error> {
    let mut hash = Sha256::new();
    // What a key that was replaced has signed ends with it.
    hash.update(terms.key.public().to_string());
    hash.update(serde_json::to_vec(&outline.document)?);
    for peer in &outline.peers {
        if let Some(digests) = terms.digests.get(&peer.id) {
            hash.update(D::digest_of(digests));
        }
    }
    Ok(hash.finalize().into())
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
    use crate::compose::tests::node;
    use crate::compose::{Nodes, View, network_document};

    /// Node 7 with this name and these peers, each with a WireGuard key of its number.
    fn mesh(name: &str, peers: &[NodeRow]) -> (NodeRow, View, Nodes) {
        let node = NodeRow {
            name: name.parse().expect("a name"),
            ..node(7)
        };
        let view = View {
            peers: peers.iter().map(|peer| peer.id).collect(),
            ..View::default()
        };
        let peers = peers.iter().cloned().map(|peer| (peer.id, peer));
        (node, view, peers.collect())
    }

    fn issue_on(
        occasion: Occasion,
        mesh: &(NodeRow, View, Nodes),
        newest: Option<&Issued>,
        seen: u64,
        now: u64,
    ) -> Option<Sealed> {
        let (node, view, nodes) = mesh;
        let outline = network_document(node, view, nodes, "mesh.internal");
        let digests = nodes.iter();
        let digests = digests.map(|(id, node)| (*id, PeerDigests::of(node).expect("is JSON")));
        let terms = Terms {
            key: &PrivateKey::from_seed(&[1; 32]),
            now: Timestamp(now),
            lifetime: 100,
            digests: &digests.collect(),
        };
        issue(outline, newest, Version(seen), occasion, &terms).expect("is JSON")
    }

    fn issue_at(name: &str, newest: Option<&Issued>, seen: u64, now: u64) -> Option<Sealed> {
        let mesh = mesh(name, &[]);
        issue_on(Occasion::Change, &mesh, newest, seen, now)
    }

    fn first() -> Issued {
        issue_at("a", None, 0, 1_000).expect("a document").issued
    }

    #[test]
    fn the_signed_text_opens_with_its_version_and_times() {
        let mesh = mesh("a", &[node(2), node(3)]);
        let sealed = issue_on(Occasion::Change, &mesh, None, 0, 1_000).expect("a document");
        let expected = Expected {
            node: NodeId(7),
            now: Timestamp(1_099),
            at_least: Version(1),
        };
        let key = PrivateKey::from_seed(&[1; 32]).public();
        let opened: NetworkDocument = open(sealed.text.as_bytes(), &key, &expected).expect("opens");
        let peers: Vec<NodeId> = opened.peers.iter().map(|peer| peer.node).collect();
        assert_eq!(peers, [NodeId(2), NodeId(3)]);
        assert_eq!(opened.header.version, sealed.issued.version);
        assert_eq!(opened.header.expires_at, Timestamp(1_100));
    }

    #[test]
    fn the_same_content_gets_no_new_version() {
        assert!(issue_at("a", Some(&first()), 1, 1_049).is_none());
    }

    #[test]
    fn the_last_document_is_a_new_version_even_of_the_same_content() {
        let mesh = mesh("a", &[]);
        let last = issue_on(Occasion::Deletion, &mesh, Some(&first()), 1, 1_001);
        assert_eq!(last.map(|last| last.issued.version), Some(Version(2)));
    }

    #[test]
    fn another_content_does() {
        let next = issue_at("b", Some(&first()), 1, 1_001).expect("a document");
        assert_eq!(next.issued.version, Version(2));
    }

    #[test]
    fn so_does_every_change_of_a_peer() {
        let before = mesh("a", &[node(2), node(3)]);
        let first = issue_on(Occasion::Change, &before, None, 0, 1_000).expect("a document");
        let again = issue_on(Occasion::Change, &before, Some(&first.issued), 1, 1_001);
        assert!(again.is_none());
        let moved = NodeRow {
            endpoints: vec!["192.0.2.1:51820".parse().expect("an endpoint")],
            ..node(3)
        };
        for peers in [vec![node(2)], vec![node(3)], vec![node(2), moved]] {
            let after = mesh("a", &peers);
            let next = issue_on(Occasion::Change, &after, Some(&first.issued), 1, 1_001);
            assert_eq!(next.map(|next| next.issued.version), Some(Version(2)));
        }
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
