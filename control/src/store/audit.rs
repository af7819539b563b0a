//! The audit log.

use meshd_contract::identity::NodeId;
use meshd_contract::login_event::{LoginEvent, LoginEventKind};
use meshd_contract::node_api::LoginReport;
use meshd_contract::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::auth_keys::owner_of;
use super::{Store, StoreError, from_json, from_sql, to_json, to_sql};
use crate::audit::{Actor, AuditQuery, AuditRow, Entry, MAX_PAGE, action};

impl Store {
    /// Notes an entry in the transaction of the change that it tells of.
    pub(crate) async fn note(
        change: &mut SqliteConnection,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO audit (at, actor, action, target, reported, details) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(to_sql(entry.at.0))
        .bind(entry.actor.to_string())
        .bind(entry.action)
        .bind(&entry.target)
        .bind(entry.reported)
        .bind(to_json(&entry.details)?)
        .execute(change)
        .await?;
        Ok(())
    }

    /// Notes an entry that tells of no change of the store.
    pub(crate) async fn note_alone(&self, entry: &Entry) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        Self::note(&mut change, entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// Reads one page.
    pub(crate) async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        let mut sql: QueryBuilder<Sqlite> = QueryBuilder::new(
            "SELECT id, at, actor, action, target, reported, details FROM audit WHERE 1",
        );
        let numbers = [
            (" AND id > ", query.after),
            (" AND id < ", query.before),
            (" AND at >= ", query.since.map(|since| since.0)),
            (" AND at < ", query.until.map(|until| until.0)),
        ];
        for (condition, number) in numbers {
            if let Some(number) = number {
                sql.push(condition).push_bind(to_sql(number));
            }
        }
        if let Some(action) = &query.action {
            // Everything that begins with the name and a dot: the character after it is the slash.
            sql.push(" AND (action = ").push_bind(action);
            sql.push(" OR action > ").push_bind(format!("{action}."));
            sql.push(" AND action < ").push_bind(format!("{action}/"));
            sql.push(")");
        }
        sql.push(match query.newest_first {
            true => " ORDER BY id DESC LIMIT ",
            false => " ORDER BY id LIMIT ",
        });
        sql.push_bind(query.limit.min(MAX_PAGE));
        let rows = sql.build().fetch_all(&self.reader).await?;
        rows.iter().map(audit_row).collect()
    }

    /// Notes what a node tells of logins, each event once, and which events never came.
    pub(crate) async fn note_logins(
        &self,
        node: NodeId,
        report: &LoginReport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        let row = sqlx::query("SELECT last FROM login_reports WHERE node = ? AND run = ?")
            .bind(to_sql(node.0))
            .bind(report.run)
            .fetch_optional(&mut *change)
            .await?;
        let last = match row {
            Some(row) => from_sql(row.try_get("last")?),
            None => 0,
        };
        let told = Told { node, now };
        let target = told.name(&mut change).await?;
        let lost = report.first.saturating_sub(last.saturating_add(1));
        if lost > 0 {
            let entry = told.entry(action::LOGIN_LOST, &target).with("count", lost);
            Self::note(&mut change, &entry).await?;
        }
        for (index, event) in (0..).zip(&report.events) {
            if report.first.saturating_add(index) > last {
                told.note(&mut change, &target, event.clone().tidied())
                    .await?;
            }
        }
        let end = report.first.saturating_add(report.events.len() as u64);
        sqlx::query("INSERT OR REPLACE INTO login_reports (node, run, last) VALUES (?, ?, ?)")
            .bind(to_sql(node.0))
            .bind(report.run)
            .bind(to_sql(end.saturating_sub(1).max(last)))
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }
}

/// What a node tells, and when it was heard.
struct Told {
    node: NodeId,
    now: Timestamp,
}

impl Told {
    fn entry(&self, action: &'static str, target: &str) -> Entry {
        Entry::new(self.now, &Actor::Node(self.node), action, target).reported()
    }

    async fn name(&self, change: &mut SqliteConnection) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT name FROM nodes WHERE id = ?")
            .bind(to_sql(self.node.0))
            .fetch_one(change)
            .await?;
        Ok(row.try_get("name")?)
    }

    /// The peer's name and owner are what control knows of that number.
    async fn note(
        &self,
        change: &mut SqliteConnection,
        target: &str,
        event: LoginEvent,
    ) -> Result<(), StoreError> {
        let action = match event.kind {
            LoginEventKind::Accepted => action::LOGIN_ACCEPTED,
            LoginEventKind::Denied => action::LOGIN_DENIED,
            LoginEventKind::Revoked => action::LOGIN_REVOKED,
            LoginEventKind::Ended => action::LOGIN_ENDED,
            LoginEventKind::Unknown => return Ok(()),
        };
        let mut entry = self
            .entry(action, target)
            .with("at", event.at.0)
            .with("connection", event.connection)
            .with("peer", event.peer.0)
            .with("address", event.address.to_string());
        let peer = sqlx::query("SELECT name, user, tags FROM nodes WHERE id = ?")
            .bind(to_sql(event.peer.0))
            .fetch_optional(&mut *change)
            .await?;
        if let Some(peer) = peer {
            entry = entry
                .with("peer_name", peer.try_get::<String, _>("name")?)
                .with("peer_owner", owner_of(&peer)?.to_string());
        }
        let texts = [
            ("login", event.login),
            ("rule", event.rule),
            ("reason", event.reason),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                entry = entry.with(name, text);
            }
        }
        Store::note(change, &entry).await
    }
}

fn audit_row(row: &SqliteRow) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        id: from_sql(row.try_get("id")?),
        at: Timestamp(from_sql(row.try_get("at")?)),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        reported: row.try_get("reported")?,
        details: from_json(row.try_get("details")?)?,
    })
}
