//! The newest document of each kind for each node, and which version it has.

use std::collections::HashMap;
use std::sync::Arc;

use meshd_contract::document::{Document, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use super::{Store, StoreError, from_sql, to_sql};
use crate::hub::Versions;

/// How many documents one statement stores.
const DOCUMENTS_AT_ONCE: usize = 64;

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
    pub(crate) text: Arc<str>,
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
        for some in documents.chunks(DOCUMENTS_AT_ONCE) {
            let mut sql = QueryBuilder::new(
                "INSERT OR REPLACE INTO documents \
                 (node, kind, version, content_hash, issued_at, expires_at, text) ",
            );
            sql.push_values(some, |mut row, document| {
                let issued = &document.issued;
                row.push_bind(to_sql(document.node.0))
                    .push_bind(document.kind.name())
                    .push_bind(to_sql(issued.version.0))
                    .push_bind(&issued.content_hash[..])
                    .push_bind(to_sql(issued.issued_at.0))
                    .push_bind(to_sql(issued.expires_at.0))
                    .push_bind(&*document.text);
            });
            // Statements of so many lengths are not worth keeping.
            let insert = sql.build().persistent(some.len() == DOCUMENTS_AT_ONCE);
            insert.execute(&mut *change).await?;
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

    /// The kind, version and signed text of each newest document that is newer than what the node
    /// has `seen`, and still counts at `now`; peers first.
    pub(crate) async fn newer_documents(
        &self,
        node: NodeId,
        seen: Versions,
        now: Timestamp,
    ) -> Result<Vec<(Kind, Version, Arc<str>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, version, text FROM documents \
             WHERE node = ?1 AND version > CASE kind WHEN ?2 THEN ?3 ELSE ?4 END \
             AND expires_at > ?5 ORDER BY kind = ?2 DESC",
        )
        .bind(to_sql(node.0))
        .bind(Kind::Peers.name())
        .bind(to_sql(seen.peers.0))
        .bind(to_sql(seen.network.0))
        .bind(to_sql(now.0))
        .fetch_all(&self.reader)
        .await?;
        let document = |row: &SqliteRow| {
            let kind = Kind::from_name(row.try_get("kind")?)?;
            let version = Version(from_sql(row.try_get("version")?));
            let text: &str = row.try_get("text")?;
            Ok((kind, version, text.into()))
        };
        rows.iter().map(document).collect()
    }
}
