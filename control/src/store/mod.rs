//! What control remembers, in one SQLite database.
//!
//! Every change is one transaction that starts with the write lock and is on the disk
//! (`synchronous=FULL`) before it is acknowledged.

mod accounts;
mod api_keys;
mod approvals;
mod audit;
mod auth_keys;
mod checks;
mod documents;
mod identities;
mod joins;
mod key_rotations;
mod nodes;
mod passkeys;
mod policies;
mod registration;
mod secrets;
mod snapshot;
mod users;
mod web_sessions;

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{SqlSafeStr, Transaction};
use thiserror::Error;

pub(crate) use accounts::{Account, Invitation};
pub(crate) use api_keys::ApiKeyRow;
pub(crate) use approvals::{Approval, Whose};
pub(crate) use auth_keys::{AuthKeyRow, NewAuthKey};
pub(crate) use checks::{Answer, Check, Period, Subject};
pub(crate) use documents::{Farewell, Issued, Kind, Sealed};
pub(crate) use joins::{JoinRow, Joining, NewJoin};
pub(crate) use key_rotations::SignedRotation;
pub(crate) use nodes::{NodeRow, NodeState};
pub(crate) use passkeys::PasskeyRow;
pub(crate) use policies::StoredPolicy;
pub(crate) use registration::{Admission, Admitter, Host, Registration};
pub(crate) use snapshot::{ChangedNode, Changes, Known, LeavingRow};
pub(crate) use users::UserRow;
pub(crate) use web_sessions::NewWebSession;

const MIGRATIONS: [(i64, &str, &str); 12] = [
    (1, "mesh", include_str!("../../migrations/0001_mesh.sql")),
    (
        2,
        "key expiry",
        include_str!("../../migrations/0002_key_expiry.sql"),
    ),
    (
        3,
        "checks",
        include_str!("../../migrations/0003_checks.sql"),
    ),
    (
        4,
        "accounts",
        include_str!("../../migrations/0004_accounts.sql"),
    ),
    (5, "audit", include_str!("../../migrations/0005_audit.sql")),
    (
        6,
        "api keys",
        include_str!("../../migrations/0006_api_keys.sql"),
    ),
    (
        7,
        "renewals",
        include_str!("../../migrations/0007_renewals.sql"),
    ),
    (
        8,
        "passkeys",
        include_str!("../../migrations/0008_passkeys.sql"),
    ),
    (
        9,
        "key rotations",
        include_str!("../../migrations/0009_key_rotations.sql"),
    ),
    (
        10,
        "taken back",
        include_str!("../../migrations/0010_taken_back.sql"),
    ),
    (
        11,
        "secrets",
        include_str!("../../migrations/0011_secrets.sql"),
    ),
    (
        12,
        "revisions",
        include_str!("../../migrations/0012_revisions.sql"),
    ),
];

/// How many readers there are beside the one writer.
const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
}

/// Why something cannot be read or stored.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// What was asked for is not possible; the sentence says what to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// SQLite failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The tables could not be brought up to date.
    #[error("the database cannot be brought to the form that this release needs: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row that this release cannot read.
    #[error("the database holds what this release cannot read: {0}")]
    Content(String),
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// A login that is taken.
    #[error("there is already a user {0}")]
    UserExists(String),
    /// A user who is there with another role.
    #[error(
        "the user {0} is there already, with the role {1}; leave --role out, or change it with \
             `meshd-control users role`"
    )]
    OtherRole(String, &'static str),
    /// Somebody who is no user, where nobody becomes one by signing in.
    #[error(
        "{0} is no user of this mesh; an administrator adds one with `meshd-control users create`"
    )]
    NotInvited(String),
    /// An address that the provider has given to somebody else before.
    #[error(
        "the user {0} is somebody else at the identity provider; if that person has left, an \
         administrator deletes the user first"
    )]
    OtherPerson(String),
    /// Nobody needs so many.
    #[error("you have as many passkeys as one may have; remove one first")]
    TooManyPasskeys,
    /// The same passkey twice.
    #[error("this passkey is known already")]
    PasskeyKnown,
    /// A login that nobody has.
    #[error("there is no user {0}; `meshd-control users list` shows all")]
    NoUser(String),
    /// Nobody could administer the mesh any more.
    #[error(
        "{0} is the only user with the role owner or admin; give it to another one first with \
         `meshd-control users role LOGIN admin`"
    )]
    LastAdmin(String),
    /// Somebody else was quicker.
    #[error("somebody else has saved a policy meanwhile; look at it and save yours again")]
    PolicyChanged,
    /// Neither the number nor the name of a node.
    #[error("there is no node {0}; `meshd-control nodes list` shows all")]
    NoNode(String),
    /// Not the number of an auth key.
    #[error("there is no auth key {0}; `meshd-control authkeys list` shows all")]
    NoAuthKey(u64),
    /// More logins of a node wait than anybody can answer.
    #[error("too many logins of this node wait for a check; try again later")]
    TooManyChecks,
    /// Not the number of an API key.
    #[error("there is no API key {0}; `meshd-control apikeys list` shows all")]
    NoApiKey(u64),
    /// A secret that control never made, or whose key was deleted.
    #[error("control does not know this auth key; make one with `meshd-control authkeys create`")]
    AuthKeyUnknown,
    /// Its time is over.
    #[error("this auth key has expired; make a new one with `meshd-control authkeys create`")]
    AuthKeyExpired,
    /// A one-time key that was used.
    #[error(
        "this auth key has been used, and it is good for one node only; make a new one with \
         `meshd-control authkeys create`"
    )]
    AuthKeyUsed,
    /// A person has said yes before.
    #[error("this host has been let in already")]
    JoinDone,
    /// A person has said no.
    #[error("the person who was asked has refused this host; ask why, and run `mesh up` again")]
    JoinRefused,
    /// Nobody has said anything in time, or the request is not there any more.
    #[error("nobody has let this host in in time; run `mesh up` again for a new page")]
    JoinOver,
    /// The host has gone away.
    #[error("this host does not wait any more; run `mesh up` there again for a new page")]
    JoinLeft,
    /// There is no room.
    #[error("too many hosts wait to be let in; try again in half an hour")]
    TooManyJoins,
    /// Another node has the name.
    #[error("the name {0} belongs to another node; choose another with --name")]
    NameTaken(String),
    /// Another node has the new name.
    #[error("the name {0} belongs to another node; choose another")]
    RenameTaken(String),
    /// Another node has the WireGuard key.
    #[error(
        "another node has this WireGuard key; give this host a key of its own by removing the \
         manager's state directory"
    )]
    WireGuardKeyTaken,
    /// The node is known with another WireGuard key.
    #[error(
        "this node is registered with another WireGuard key; delete it with `meshd-control nodes \
         delete {0}` and join again"
    )]
    WireGuardKeyChanged(String),
    /// Every address is in use.
    #[error("every address of the mesh is in use; delete nodes that are no longer needed")]
    NoAddress,
}

impl Store {
    /// Opens the database at `path`, makes it if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened, or was written by a newer release.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool(1, options.clone()).await?;
        migrator().run(&writer).await?;
        let reader = pool(READERS, options.read_only(true).create_if_missing(false)).await?;
        Ok(Self { writer, reader })
    }

    /// Writes the state of this moment into a new file.
    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        sqlx::query("VACUUM INTO ?")
            .bind(path.to_string_lossy().into_owned())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Whether a file that nobody uses is a sound database of control.
    ///
    /// # Errors
    /// [`StoreError`] when it is not.
    pub(crate) async fn verify(path: &Path) -> Result<(), StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .immutable(true)
            .read_only(true);
        let pool = pool(1, options).await?;
        let found: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&pool)
            .await?;
        sqlx::query("SELECT 1 FROM nodes LIMIT 1")
            .fetch_optional(&pool)
            .await?;
        pool.close().await;
        match found.as_str() {
            "ok" => Ok(()),
            fault => Err(StoreError::Content(fault.to_owned())),
        }
    }

    /// Writes everything out and closes the file.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// A transaction that holds the write lock from its start, so that what it reads stays true
    /// until it commits.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

async fn pool(connections: u32, options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options)
        .await
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.into())
}

/// A number as SQLite keeps it. Numbers past `i64::MAX` do not occur: ids and versions count up
/// from one, and times are bounded where they come in.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Content(error.to_string()))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Content(error.to_string()))
}

fn from_text<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse()
        .map_err(|error: T::Err| StoreError::Content(error.to_string()))
}
