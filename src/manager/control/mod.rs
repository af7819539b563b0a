//! The manager's side of the API that [`meshd_contract::node_api`] describes.

pub mod backoff;
pub mod clock;
pub mod connection;
pub mod events;
pub mod stream;
pub mod tls;
pub mod url;

use meshd_contract::node_api::{RegisterRequest, RegisterResponse, Report};

use self::connection::{Connection, Credentials, Server};
use super::error::Error;

/// Registers a node; the credentials carry no number yet.
///
/// The auth key is sent only after control has proved that it has the expected key.
///
/// # Errors
/// [`Error`], with control's own sentence where it refuses.
pub async fn register(
    server: &Server,
    credentials: &Credentials,
    request: &RegisterRequest,
) -> Result<RegisterResponse, Error> {
    let mut connection = Connection::open(server).await?;
    connection.post("/v1/register", credentials, request).await
}

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
