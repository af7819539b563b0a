//! Passwords, second factors, and the links by which users set them.

use meshd_contract::time::Timestamp;
use sqlx::Row;

use super::{Refusal, Store, StoreError, from_sql, to_sql};
use crate::audit::{Actor, Entry, action};
use crate::auth_key::SecretHash;
use crate::role::{self, Role};
use crate::web::TotpSecret;

/// What a user signs in with.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// As argon2 writes it, with salt and parameters.
    pub(crate) password_hash: String,
    /// For codes.
    pub(crate) totp_secret: TotpSecret,
    /// The newest time step whose code was used.
    pub(crate) totp_step: u64,
}

/// A one-time link that was not used yet.
#[derive(Debug, Clone)]
pub(crate) struct Invitation {
    /// Whom it is for.
    pub(crate) login: String,
    /// Of the link.
    pub(crate) secret: SecretHash,
    /// What the account's codes are made from, once the link is used.
    pub(crate) totp_secret: TotpSecret,
    /// From this second on it counts no more.
    pub(crate) expires_at: Timestamp,
}

impl Store {
    /// Keeps an invitation in place of the user's earlier one; a user who is not there yet is made,
    /// with `role` or as a member.
    pub(crate) async fn invite(
        &self,
        invitation: &Invitation,
        role: Option<Role>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let login = &invitation.login;
        let mut change = self.write().await?;
        let known = sqlx::query("SELECT role FROM users WHERE login = ?")
            .bind(login)
            .fetch_optional(&mut *change)
            .await?;
        match known {
            Some(row) => {
                let known = role::parse(row.try_get("role")?).map_err(StoreError::Content)?;
                if role.is_some_and(|role| role != known) {
                    return Err(Refusal::OtherRole(login.clone(), role::name(known)).into());
                }
            }
            None => {
                let role = role::name(role.unwrap_or(Role::Member));
                sqlx::query("INSERT INTO users (login, role, created_at) VALUES (?, ?, ?)")
                    .bind(login)
                    .bind(role)
                    .bind(to_sql(now.0))
                    .execute(&mut *change)
                    .await?;
                let entry = Entry::new(now, by, action::USER_CREATE, login).with("role", role);
                Self::note(&mut change, &entry).await?;
            }
        }
        sqlx::query(
            "INSERT OR REPLACE INTO invitations (login, secret_hash, totp_secret, expires_at) \
             VALUES (?, ?, ?, ?)",
        )
        .bind(login)
        .bind(invitation.secret.as_bytes())
        .bind(invitation.totp_secret.as_bytes())
        .bind(to_sql(invitation.expires_at.0))
        .execute(&mut *change)
        .await?;
        let entry = Entry::new(now, by, action::USER_INVITE, login)
            .with("expires_at", invitation.expires_at.0);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(())
    }

    /// The invitation with this secret, if it counts at `now`.
    pub(crate) async fn invitation(
        &self,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Invitation>, StoreError> {
        let row = sqlx::query("SELECT * FROM invitations WHERE secret_hash = ? AND expires_at > ?")
            .bind(secret.as_bytes())
            .bind(to_sql(now.0))
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Invitation {
            login: row.try_get("login")?,
            secret: *secret,
            totp_secret: totp_secret(row.try_get("totp_secret")?)?,
            expires_at: Timestamp(from_sql(row.try_get("expires_at")?)),
        }))
    }

    /// Uses an invitation up and gives its user the account; false where somebody else was faster.
    /// Whoever was signed in as the user before is not any more,
    /// and passkeys are gone.
    pub(crate) async fn accept_invitation(
        &self,
        secret: &SecretHash,
        account: &Account,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut change = self.write().await?;
        let used = sqlx::query(
            "DELETE FROM invitations WHERE secret_hash = ? AND expires_at > ? RETURNING login",
        )
        .bind(secret.as_bytes())
        .bind(to_sql(now.0))
        .fetch_optional(&mut *change)
        .await?;
        let Some(row) = used else { return Ok(false) };
        let login: String = row.try_get("login")?;
        sqlx::query(
            "INSERT OR REPLACE INTO accounts \
             (login, password_hash, totp_secret, totp_step, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&login)
        .bind(&account.password_hash)
        .bind(account.totp_secret.as_bytes())
        .bind(to_sql(account.totp_step))
        .bind(to_sql(now.0))
        .execute(&mut *change)
        .await?;
        sqlx::query("DELETE FROM passkeys WHERE login = ?")
            .bind(&login)
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM web_sessions WHERE login = ?")
            .bind(&login)
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM known_browsers WHERE login = ?")
            .bind(&login)
            .execute(&mut *change)
            .await?;
        let by = Actor::User(login.clone());
        let entry = Entry::new(now, &by, action::ACCOUNT_SET, login);
        Self::note(&mut change, &entry).await?;
        change.commit().await?;
        Ok(true)
    }

    /// What `login` signs in with; none where there is no such account.
    pub(crate) async fn account(&self, login: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE login = ?")
            .bind(login)
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Account {
            password_hash: row.try_get("password_hash")?,
            totp_secret: totp_secret(row.try_get("totp_secret")?)?,
            totp_step: from_sql(row.try_get("totp_step")?),
        }))
    }

    /// Whether anybody has an account.
    pub(crate) async fn has_accounts(&self) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT 1 FROM accounts LIMIT 1")
            .fetch_optional(&self.reader)
            .await?;
        Ok(found.is_some())
    }

    /// Uses up the codes up to `step`; false where that was done before.
    pub(crate) async fn use_totp_step(&self, login: &str, step: u64) -> Result<bool, StoreError> {
        let used =
            sqlx::query("UPDATE accounts SET totp_step = ?1 WHERE login = ?2 AND totp_step < ?1")
                .bind(to_sql(step))
                .bind(login)
                .execute(&self.writer)
                .await?;
        Ok(used.rows_affected() > 0)
    }
}

fn totp_secret(bytes: Vec<u8>) -> Result<TotpSecret, StoreError> {
    TotpSecret::from_bytes(&bytes)
        .ok_or_else(|| StoreError::Content("the secret of an authenticator app".to_owned()))
}
