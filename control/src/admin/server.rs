//! The admin socket: who may use it, and one request per connection.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::operations::Admin;
use super::protocol::{Answer, MAX_MESSAGE_BYTES, Request};
use crate::audit::Actor;

const MAX_CONNECTIONS: usize = 32;
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the socket cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// Somebody answers on it.
    #[error(
        "another meshd-control answers on {}; stop it, or give another --socket",
        .0.display()
    )]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot open the socket {}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl AdminSocket {
    /// Opens the socket at `path` with mode 0600, in the place of one that a killed server left.
    ///
    /// # Errors
    /// [`SocketError`].
    pub(crate) fn open(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io {
            path: path.to_owned(),
            error,
        };
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(failed)?;
        }
        if StdUnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        // It gets its name once it listens: whoever sees it can connect.
        let mut unnamed = path.as_os_str().to_owned();
        unnamed.push(".new");
        match fs::remove_file(&unnamed) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(&unnamed).map_err(failed)?;
        fs::set_permissions(&unnamed, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&unnamed, path).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers commands until `stop` says so.
    pub(crate) async fn serve(self, admin: Admin, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, _)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            let admin = admin.clone();
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &admin).await {
                    tracing::debug!(%error, "a command went away");
                }
                drop(permit);
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse(mut stream: UnixStream, admin: &Admin) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    // The request is read in any case: closing with unread data would take the answer along.
    let request = read(&mut stream).await;
    let answer = if may_administer(user, nix::unistd::geteuid().as_raw()) {
        match request {
            Ok(request) => admin.perform(request, &Actor::Unix(user)).await,
            Err(sentence) => Answer::Failed(sentence),
        }
    } else {
        tracing::warn!(user, "refused a command of this Unix user");
        Answer::Failed(
            "only root and the user that meshd-control runs as may do this; use sudo".to_owned(),
        )
    };
    let answer = serde_json::to_vec(&answer)?;
    timeout(TRANSFER_TIMEOUT, stream.write_all(&answer)).await??;
    stream.shutdown().await
}

/// Whether the Unix user `user` may administer a server that runs as `own`.
fn may_administer(user: u32, own: u32) -> bool {
    user == 0 || user == own
}

async fn read(stream: &mut UnixStream) -> Result<Request, String> {
    let mut bytes = Vec::new();
    let mut limited = stream.take(MAX_MESSAGE_BYTES + 1);
    match timeout(TRANSFER_TIMEOUT, limited.read_to_end(&mut bytes)).await {
        Ok(Ok(length)) if length as u64 > MAX_MESSAGE_BYTES => {
            Err(format!("a request has at most {MAX_MESSAGE_BYTES} bytes"))
        }
        Ok(Ok(_)) => serde_json::from_slice(&bytes).map_err(|error| {
            format!("this request is none that this release of meshd-control knows: {error}")
        }),
        Ok(Err(error)) => Err(format!("the request could not be read: {error}")),
        Err(_) => Err("the request did not arrive in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_administer() {
        assert!(may_administer(0, 993));
        assert!(may_administer(993, 993));
        assert!(!may_administer(1000, 993));
        assert!(!may_administer(1000, 0));
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_replaced_and_a_served_one_is_not() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("run/admin.sock");
        let socket = AdminSocket::open(&path).expect("opens");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            AdminSocket::open(&path),
            Err(SocketError::InUse(_))
        ));
        drop(socket);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        assert!(path.exists());
        assert!(AdminSocket::open(&path).is_ok());
    }
}
