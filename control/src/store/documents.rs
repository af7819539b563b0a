//! The newest document of each kind for each node, and which version it has.

use std::collections::HashMap;

use meshd_contract::document::{Document, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;
use sqlx::Row;

use super::{Store, StoreError, from_sql, to_sql};

/// The two kinds of documents that a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// [`PeerDocument`].
    Peers,
    /// [`NetworkDocument`].
    Network,
}

impl Kind {
    /// The name in the signed text and of the event.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peers => PeerDocument::KIND,
            Self::Network => NetworkDocument::KIND,
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        [Self::Peers, Self::Network]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| StoreError::Content(format!("a document of the kind {name:?}")))
    }
}

/// What is known of the newest document without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Issued {
    /// Its version.
    pub(crate) version: Version,
    /// SHA-256 of its content without the header's version and times.
    pub(crate) content_hash: [u8; 32],
    /// When it was made.
    pub(crate) issued_at: Timestamp,
    /// From this second on it counts no more.
    pub(crate) expires_at: Timestamp,
}

/// Which of its last documents a deleted node has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The peer document.
    Peers,
    /// Both.
    Both,
}

/// A signed document for one node.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    /// For whom.
    pub(crate) node: NodeId,
    /// Which one.
    pub(crate) kind: Kind,
    /// Version, content and times.
    pub(crate) issued: Issued,
    /// The signed text.
    pub(crate) text: String,
}

impl Store {
    /// What is known of every newest document.
    pub(crate) async fn issued(&self) -> Result<HashMap<(NodeId, Kind), Issued>, StoreError> {
        let rows = sqlx::query(
            "SELECT node, kind, version, content_hash, issued_at, expires_at FROM documents",
        )
        .fetch_all(&self.reader)
        .await?;
        let mut issued = HashMap::with_capacity(rows.len());
        for row in rows {
            let node = NodeId(from_sql(row.try_get("node")?));
            let kind = Kind::from_name(row.try_get("kind")?)?;
            let hash: &[u8] = row.try_get("content_hash")?;
            let content_hash = hash
                .try_into()
                .map_err(|_| StoreError::Content("a hash that is not 32 bytes".to_owned()))?;
            let entry = Issued {
                version: Version(from_sql(row.try_get("version")?)),
                content_hash,
                issued_at: Timestamp(from_sql(row.try_get("issued_at")?)),
                expires_at: Timestamp(from_sql(row.try_get("expires_at")?)),
            };
            issued.insert((node, kind), entry);
        }
        Ok(issued)
    }

    /// Stores new documents, and which deleted nodes have got which of their last ones; all or
    /// nothing.
    pub(crate) async fn save_documents(
        &self,
        documents: &[Sealed],
        farewells: &[(NodeId, Farewell)],
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        for document in documents {
            sqlx::query(
                "INSERT OR REPLACE INTO documents \
                 (node, kind, version, content_hash, issued_at, expires_at, text) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(to_sql(document.node.0))
            .bind(document.kind.name())
            .bind(to_sql(document.issued.version.0))
            .bind(&document.issued.content_hash[..])
            .bind(to_sql(document.issued.issued_at.0))
            .bind(to_sql(document.issued.expires_at.0))
            .bind(&document.text)
            .execute(&mut *change)
            .await?;
        }
        for (node, farewell) in farewells {
            sqlx::query("UPDATE nodes SET farewell = ? WHERE id = ?")
                .bind(match farewell {
                    Farewell::Peers => 1,
                    Farewell::Both => 2,
                })
                .bind(to_sql(node.0))
                .execute(&mut *change)
                .await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// Removes the last documents of deleted nodes that have expired.
    pub(crate) async fn forget_expired(&self, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM documents WHERE expires_at <= ? \
             AND node IN (SELECT id FROM nodes WHERE farewell = 2)",
        )
        .bind(to_sql(now.0))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The newest document's version and signed text, if it is newer than `than` and still counts
    /// at `now`.
    pub(crate) async fn newer_document(
        &self,
        node: NodeId,
        kind: Kind,
        than: Version,
        now: Timestamp,
    ) -> Result<Option<(Version, String)>, StoreError> {
        let row = sqlx::query(
            "SELECT version, text FROM documents \
             WHERE node = ? AND kind = ? AND version > ? AND expires_at > ?",
        )
        .bind(to_sql(node.0))
        .bind(kind.name())
        .bind(to_sql(than.0))
        .bind(to_sql(now.0))
        .fetch_optional(&self.reader)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((
            Version(from_sql(row.try_get("version")?)),
            row.try_get("text")?,
        )))
    }
}
