//! The command's end of the admin socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::protocol::{Answer, MAX_MESSAGE_BYTES, Request};

/// Longer than the server waits for its nodes to be told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody serves.
    #[error(
        "meshd-control does not run (nothing answers on {}); start it with `systemctl start \
         meshd-control`, or name its socket with --socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket's mode.
    #[error(
        "only root and the user that meshd-control runs as may use {}; use sudo",
        .0.display()
    )]
    Forbidden(PathBuf),
    /// The exchange broke off.
    #[error("meshd-control did not answer: {0}; its log says more")]
    Broken(#[from] io::Error),
    /// Another release.
    #[error("the answer cannot be read; is the running meshd-control of this release? ({0})")]
    Answer(#[from] serde_json::Error),
}

/// Sends one request and waits for its answer.
///
/// # Errors
/// [`ClientError`], one sentence that says what to do.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Answer, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Forbidden(socket.to_owned()),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(socket.to_owned())
        }
        _ => ClientError::Broken(error),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(MAX_MESSAGE_BYTES).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}
