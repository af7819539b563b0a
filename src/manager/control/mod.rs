//! The manager's side of the API that [`meshd_contract::node_api`] describes.

pub mod backoff;
pub mod clock;
pub mod connection;
pub mod events;
#[cfg(test)]
mod impostor_tests;
pub mod stream;
pub mod tls;
pub mod url;

use meshd_contract::node_api::{LoginReport, Report};

use self::connection::{Connection, Credentials, Server};
use super::error::Error;

/// Tells control about this node.
///
/// # Errors
/// [`Error`].
pub async fn report(
    server: &Server,
    credentials: &Credentials,
    report: &Report,
) -> Result<(), Error> {
    let mut connection = Connection::open(server).await?;
    connection
        .post_for_nothing("/v1/report", credentials, report)
        .await
}

/// Tells control what has become of logins here.
///
/// # Errors
/// [`Error`].
pub async fn report_logins(
    server: &Server,
    credentials: &Credentials,
    report: &LoginReport,
) -> Result<(), Error> {
    let mut connection = Connection::open(server).await?;
    connection
        .post_for_nothing("/v1/logins", credentials, report)
        .await
}

/// Takes this node out of the mesh for good.
///
/// # Errors
/// [`Error`].
pub async fn log_out(server: &Server, credentials: &Credentials) -> Result<(), Error> {
    let mut connection = Connection::open(server).await?;
    connection
        .post_for_nothing("/v1/logout", credentials, &())
        .await
}
