//! Who is signed in with which browser. Only hashes of what the browsers hold are stored.

use meshd_contract::time::Timestamp;
use sqlx::Row;

use super::{Store, StoreError, from_sql, to_sql};
use crate::audit::{Actor, Entry, action};
use crate::auth_key::SecretHash;
use crate::role::{self, Role};

/// A sign-in to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewWebSession {
    /// Of the session's secret.
    pub(crate) token: SecretHash,
    /// The session that this browser had.
    pub(crate) replaces: Option<SecretHash>,
    /// Of what the browser is known by.
    pub(crate) browser: SecretHash,
    /// What it was known by.
    pub(crate) replaces_browser: Option<SecretHash>,
    /// Who has signed in.
    pub(crate) login: String,
    /// The present.
    pub(crate) now: Timestamp,
    /// When the user has proved to be that user.
    pub(crate) signed_in_at: Timestamp,
    /// From this second on the session counts no more.
    pub(crate) expires_at: Timestamp,
    /// From this second on the browser is forgotten.
    pub(crate) browser_expires_at: Timestamp,
}

/// A session that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebSession {
    /// Who is signed in.
    pub(crate) login: String,
    /// What the user is in the mesh now.
    pub(crate) role: Role,
    /// When the user has signed in.
    pub(crate) signed_in_at: Timestamp,
}

impl Store {
    /// Stores a sign-in, and forgets what is past.
    pub(crate) async fn begin_web_session(&self, new: &NewWebSession) -> Result<(), StoreError> {
        let mut change = self.write().await?;
        sqlx::query("DELETE FROM web_sessions WHERE expires_at <= ? OR token_hash = ?")
            .bind(to_sql(new.now.0))
            .bind(new.replaces.as_ref().map(SecretHash::as_bytes))
            .execute(&mut *change)
            .await?;
        sqlx::query(
            "DELETE FROM known_browsers WHERE expires_at <= ? OR (token_hash = ? AND login = ?)",
        )
        .bind(to_sql(new.now.0))
        .bind(new.replaces_browser.as_ref().map(SecretHash::as_bytes))
        .bind(&new.login)
        .execute(&mut *change)
        .await?;
        sqlx::query(
            "INSERT INTO web_sessions (token_hash, login, signed_in_at, expires_at) \
             VALUES (?, ?, ?, ?)",
        )
        .bind(new.token.as_bytes())
        .bind(&new.login)
        .bind(to_sql(new.signed_in_at.0))
        .bind(to_sql(new.expires_at.0))
        .execute(&mut *change)
        .await?;
        sqlx::query("INSERT INTO known_browsers (token_hash, login, expires_at) VALUES (?, ?, ?)")
            .bind(new.browser.as_bytes())
            .bind(&new.login)
            .bind(to_sql(new.browser_expires_at.0))
            .execute(&mut *change)
            .await?;
        let by = Actor::User(new.login.clone());
        let entry = Entry::new(new.now, &by, action::SIGN_IN, &new.login);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// The session with this secret, if it counts at `now`.
    pub(crate) async fn web_session(
        &self,
        token: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<WebSession>, StoreError> {
        let row = sqlx::query(
            "SELECT login, role, signed_in_at FROM web_sessions JOIN users USING (login) \
             WHERE token_hash = ? AND expires_at > ?",
        )
        .bind(token.as_bytes())
        .bind(to_sql(now.0))
        .fetch_optional(&self.reader)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(WebSession {
            login: row.try_get("login")?,
            role: role::parse(row.try_get("role")?).map_err(StoreError::Content)?,
            signed_in_at: Timestamp(from_sql(row.try_get("signed_in_at")?)),
        }))
    }

    /// Ends a session.
    pub(crate) async fn end_web_session(&self, token: &SecretHash) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM web_sessions WHERE token_hash = ?")
            .bind(token.as_bytes())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Whether `login` has signed in with this browser before.
    pub(crate) async fn knows_browser(
        &self,
        browser: &SecretHash,
        login: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let found = sqlx::query(
            "SELECT 1 FROM known_browsers WHERE token_hash = ? AND login = ? AND expires_at > ?",
        )
        .bind(browser.as_bytes())
        .bind(login)
        .bind(to_sql(now.0))
        .fetch_optional(&self.reader)
        .await?;
        Ok(found.is_some())
    }
}
