//! Logins that wait for a sign-in.

use meshd_contract::check::LoginClass;
use meshd_contract::identity::NodeId;
use meshd_contract::key::WireGuardKey;
use meshd_contract::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::audit::{Actor, Entry, action};

use super::approvals::{Approval, add_approval};
use super::{Refusal, Store, StoreError, from_json, from_sql, from_text, to_json, to_sql};

/// Rows of checks are kept for a day after their end, for the pages that are still open.
const KEPT_SECONDS: u64 = 24 * 3600;
/// The most that wait for one source, so that no host can fill the table.
const MOST_WAITING: i64 = 512;

/// What a person is asked to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// Names it in the URL; nobody can guess it.
    pub(crate) id: String,
    /// The node that calls.
    pub(crate) source: NodeId,
    /// The source's key at the time.
    pub(crate) wireguard_key: WireGuardKey,
    /// Who owns the source.
    pub(crate) owner: String,
    /// Which accounts are opened.
    pub(crate) class: LoginClass,
    /// For what.
    pub(crate) subject: Subject,
    /// What the terminal shows.
    pub(crate) number: u16,
    /// What the page shows.
    pub(crate) choices: Vec<u16>,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// Until when it can be answered.
    pub(crate) expires_at: Timestamp,
    /// The answer; none while it waits.
    pub(crate) outcome: Option<Answer>,
}

/// What is approved by a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A login that waits.
    Login {
        /// The node that it is for.
        destination: NodeId,
        /// The account.
        login: String,
        /// The rule that asks.
        rule: String,
        /// How recent the approval must be.
        period: Period,
        /// The connection, where each needs its own approval.
        connection: Option<String>,
    },
    /// Logins of the next minutes.
    Ahead {
        /// How long.
        seconds: u64,
        /// To which nodes: a tag or a node's name; none for all.
        target: Option<String>,
    },
}

/// How long an approval lasts, as a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Period {
    /// As for every such rule, at all nodes.
    Default,
    /// For one connection.
    Always,
    /// In seconds, at this node.
    Seconds(u64),
}

/// How a person has answered, or why nobody will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The owner has chosen the right number.
    Approved,
    /// The owner has refused.
    Refused,
    /// Somebody else has answered.
    WrongPerson,
    /// Another number was chosen.
    WrongNumber,
    /// Nobody waits any more.
    Ended,
}

const COLUMNS: &str = "SELECT id, source, destination, login, class, rule, period, connection, \
                       ahead_seconds, target, owner, wireguard_key, number, choices, created_at, \
                       expires_at, outcome FROM checks ";

impl Store {
    /// Adds a check, unless one that asks for the same waits already: the one to wait for.
    pub(crate) async fn begin_check(&self, check: &Check) -> Result<Check, StoreError> {
        let mut change = self.write().await?;
        let now = to_sql(check.created_at.0);
        sqlx::query("DELETE FROM checks WHERE expires_at < ?")
            .bind(to_sql(check.created_at.0.saturating_sub(KEPT_SECONDS)))
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM approvals WHERE expires_at < ?")
            .bind(now)
            .execute(&mut *change)
            .await?;
        let waiting = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{COLUMNS} WHERE outcome IS NULL AND source = ? AND expires_at > ? ORDER BY created_at"
        )))
        .bind(to_sql(check.source.0))
        .bind(now)
        .fetch_all(&mut *change)
        .await?;
        for row in &waiting {
            let known = read(row)?;
            let is_same = known.subject == check.subject
                && (known.class, &known.owner, known.wireguard_key)
                    == (check.class, &check.owner, check.wireguard_key);
            if is_same {
                return Ok(known);
            }
        }
        if i64::try_from(waiting.len()).unwrap_or(i64::MAX) >= MOST_WAITING {
            return Err(Refusal::TooManyChecks.into());
        }
        insert(&mut change, check).await?;
        change.commit().await?;
        Ok(check.clone())
    }

    /// A check by its name.
    pub(crate) async fn check(&self, id: &str) -> Result<Option<Check>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = ?")))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Answers a check that waits on behalf of `by`; with the approval, where it is one. False for
    /// one that has been answered before, or too late.
    pub(crate) async fn answer_check(
        &self,
        check: &Check,
        answer: Answer,
        approval: Option<&Approval>,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        let mut change = self.write().await?;
        let answered = sqlx::query(
            "UPDATE checks SET outcome = ? WHERE id = ? AND outcome IS NULL AND expires_at > ?",
        )
        .bind(answer.name())
        .bind(&check.id)
        .bind(to_sql(now.0))
        .execute(&mut *change)
        .await?;
        if answered.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(approval) = approval {
            add_approval(&mut change, approval).await?;
        }
        if let Some(action) = answer.action() {
            Self::note(&mut change, &check.entry(action, now, by)).await?;
        }
        change.commit().await?;
        Ok(true)
    }
}

async fn insert(change: &mut SqliteConnection, check: &Check) -> Result<(), StoreError> {
    let (mut destination, mut login, mut rule, mut period) = (None, None, None, None);
    let (mut connection, mut ahead, mut target) = (None, None, None);
    match &check.subject {
        Subject::Login {
            destination: node,
            login: account,
            rule: origin,
            period: lasts,
            connection: only,
        } => {
            destination = Some(to_sql(node.0));
            (login, rule) = (Some(account), Some(origin));
            period = match lasts {
                Period::Default => None,
                Period::Always => Some(0),
                Period::Seconds(seconds) => Some(to_sql(*seconds)),
            };
            connection = only.as_ref();
        }
        Subject::Ahead {
            seconds,
            target: to,
        } => {
            ahead = Some(to_sql(*seconds));
            target = to.as_ref();
        }
    }
    sqlx::query(
        "INSERT INTO checks (id, source, destination, login, class, rule, period, connection, \
         ahead_seconds, target, owner, wireguard_key, number, choices, created_at, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&check.id)
    .bind(to_sql(check.source.0))
    .bind(destination)
    .bind(login)
    .bind(check.class.to_string())
    .bind(rule)
    .bind(period)
    .bind(connection)
    .bind(ahead)
    .bind(target)
    .bind(&check.owner)
    .bind(check.wireguard_key.to_string())
    .bind(i64::from(check.number))
    .bind(to_json(&check.choices)?)
    .bind(to_sql(check.created_at.0))
    .bind(to_sql(check.expires_at.0))
    .execute(change)
    .await?;
    Ok(())
}

impl Check {
    fn entry(&self, action: &'static str, now: Timestamp, by: &Actor) -> Entry {
        let entry = Entry::new(now, by, action, self.source)
            .with("owner", self.owner.clone())
            .with("class", self.class.to_string());
        match &self.subject {
            Subject::Login {
                destination,
                login,
                rule,
                ..
            } => entry
                .with("destination", destination.0)
                .with("login", login.clone())
                .with("rule", rule.clone()),
            Subject::Ahead { seconds, target } => entry
                .with("seconds", *seconds)
                .with("to", target.clone().unwrap_or_else(|| "all".to_owned())),
        }
    }
}

impl Answer {
    const ALL: [Self; 5] = [
        Self::Approved,
        Self::Refused,
        Self::WrongPerson,
        Self::WrongNumber,
        Self::Ended,
    ];

    /// What the audit log calls it; that a client has left is not noted.
    fn action(self) -> Option<&'static str> {
        match self {
            Self::Approved => Some(action::CHECK_APPROVE),
            Self::Refused => Some(action::CHECK_REFUSE),
            Self::WrongPerson | Self::WrongNumber => Some(action::CHECK_FAIL),
            Self::Ended => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::WrongPerson => "wrong_person",
            Self::WrongNumber => "wrong_number",
            Self::Ended => "ended",
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|answer| answer.name() == name);
        found.ok_or_else(|| StoreError::Content(format!("a check that is {name:?}")))
    }
}

pub(super) fn class(name: &str) -> Result<LoginClass, StoreError> {
    match name {
        "root" => Ok(LoginClass::Root),
        "nonroot" => Ok(LoginClass::Nonroot),
        other => Err(StoreError::Content(format!(
            "logins of the class {other:?}"
        ))),
    }
}

pub(super) fn node(row: &SqliteRow, column: &str) -> Result<Option<NodeId>, StoreError> {
    let number: Option<i64> = row.try_get(column)?;
    Ok(number.map(|number| NodeId(from_sql(number))))
}

pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(from_sql(row.try_get(column)?)))
}

fn read(row: &SqliteRow) -> Result<Check, StoreError> {
    let period: Option<i64> = row.try_get("period")?;
    let ahead: Option<i64> = row.try_get("ahead_seconds")?;
    let missing = || StoreError::Content("a check without its subject".to_owned());
    let subject = match ahead {
        Some(seconds) => Subject::Ahead {
            seconds: from_sql(seconds),
            target: row.try_get("target")?,
        },
        None => Subject::Login {
            destination: node(row, "destination")?.ok_or_else(missing)?,
            login: row.try_get("login")?,
            rule: row.try_get("rule")?,
            period: match period {
                None => Period::Default,
                Some(0) => Period::Always,
                Some(seconds) => Period::Seconds(from_sql(seconds)),
            },
            connection: row.try_get("connection")?,
        },
    };
    let outcome: Option<&str> = row.try_get("outcome")?;
    let number: i64 = row.try_get("number")?;
    Ok(Check {
        id: row.try_get("id")?,
        source: node(row, "source")?.ok_or_else(missing)?,
        wireguard_key: from_text(row.try_get("wireguard_key")?)?,
        owner: row.try_get("owner")?,
        class: class(row.try_get("class")?)?,
        subject,
        number: u16::try_from(number).unwrap_or_default(),
        choices: from_json(row.try_get("choices")?)?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        outcome: outcome.map(Answer::from_name).transpose()?,
    })
}
