//! Which user is whom at an identity provider.

use meshd_contract::time::Timestamp;
use sqlx::Row;

use super::{Refusal, Store, StoreError, to_sql};
use crate::audit::{Actor, Entry, action};
use crate::oidc::Person;
use crate::role::{self, Role};

impl Store {
    /// The login of the user who is this person at the provider.
    ///
    /// The first sign-in ties the user to the provider's own name for the person: an address that
    /// the provider gives to somebody else later does not make them the user. A person who is no
    /// user yet becomes one if `make` says so.
    pub(crate) async fn identify(
        &self,
        person: &Person,
        make: bool,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let mut change = self.write().await?;
        let known = sqlx::query("SELECT login FROM identities WHERE issuer = ? AND subject = ?")
            .bind(&person.issuer)
            .bind(&person.subject)
            .fetch_optional(&mut *change)
            .await?;
        if let Some(row) = known {
            return Ok(row.try_get("login")?);
        }
        let login = &person.login;
        let taken = sqlx::query("SELECT 1 FROM identities WHERE issuer = ? AND login = ?")
            .bind(&person.issuer)
            .bind(login)
            .fetch_optional(&mut *change)
            .await?;
        if taken.is_some() {
            return Err(Refusal::OtherPerson(login.clone()).into());
        }
        if make {
            let made = sqlx::query(
                "INSERT INTO users (login, role, created_at) VALUES (?, ?, ?) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(login)
            .bind(role::name(Role::Member))
            .bind(to_sql(now.0))
            .execute(&mut *change)
            .await?;
            if made.rows_affected() > 0 {
                let entry =
                    Entry::new(now, &Actor::User(login.clone()), action::USER_CREATE, login)
                        .with("role", role::name(Role::Member))
                        .with("issuer", person.issuer.as_str());
                Self::note(&mut change, &entry).await?;
            }
        }
        let user = sqlx::query("SELECT 1 FROM users WHERE login = ?")
            .bind(login)
            .fetch_optional(&mut *change)
            .await?;
        if user.is_none() {
            return Err(Refusal::NotInvited(login.clone()).into());
        }
        sqlx::query(
            "INSERT INTO identities (issuer, subject, login, created_at) VALUES (?, ?, ?, ?)",
        )
        .bind(&person.issuer)
        .bind(&person.subject)
        .bind(login)
        .bind(to_sql(now.0))
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(login.clone())
    }
}
