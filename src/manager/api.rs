//! The socket of the `mesh` command.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::atomic;
use super::error::Error;
use crate::local_api::{Request, Response};

/// The most programs that are served at a time.
const MAX_CLIENTS: usize = 64;
/// The longest request, in bytes.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// How long a program may be silent.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a manager that was killed may still seem to answer, and how often to look.
const DYING: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A request that waits for its answer.
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Whether user id 0 asks.
    pub is_root: bool,
    /// Where the answer goes; it may be gone.
    pub reply: oneshot::Sender<Response>,
}

/// Makes the socket, in place of one that a dead manager left.
///
/// # Errors
/// [`Error::SocketTaken`] or [`Error::File`].
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    let fail = |source| Error::file(path, "made", source);
    let is_left = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_left {
        let until = Instant::now() + DYING;
        while StdUnixStream::connect(path).is_ok() {
            if Instant::now() >= until {
                return Err(Error::SocketTaken(path.to_owned()));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    // It gets its name once it listens: whoever sees it can connect.
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(".new");
    let unnamed = PathBuf::from(unnamed);
    atomic::remove(&unnamed)?;
    let listener = UnixListener::bind(&unnamed).map_err(fail)?;
    // Anybody may ask; what needs root is checked at each request.
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&unnamed, mode).map_err(fail)?;
    std::fs::rename(&unnamed, path).map_err(fail)?;
    Ok(listener)
}

/// Removes the socket when the manager ends.
pub fn unlink(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "the socket was not removed");
    }
}

/// Serves the socket until it is dropped.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, calls).await {
                        tracing::debug!(%error, "a client of the socket was dropped");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a client of the socket was not accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let is_root = stream.peer_cred()?.uid() == 0;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(line) = next_line(&mut read).await? {
        let response = match serde_json::from_str(&line) {
            Ok(request @ Request::AwaitJoin { .. }) => {
                // Who is asked hears that nobody waits any more by the end of the reply.
                tokio::select! {
                    // It has to be asked before it can hear that.
                    biased;
                    response = ask(request, is_root, &calls) => response,
                    () = gone(&mut read) => return Ok(()),
                }
            }
            Ok(request) => ask(request, is_root, &calls).await,
            Err(error) => Response::Error {
                message: format!("the request cannot be read by this release of meshd: {error}"),
            },
        };
        send(&mut write, &response).await?;
    }
    Ok(())
}

async fn next_line(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<String>> {
    let mut line = String::new();
    let mut limited = read.take(MAX_REQUEST_BYTES);
    let length = timeout(SILENCE, limited.read_line(&mut line)).await??;
    if length > 0 && !line.ends_with('\n') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((length > 0).then_some(line))
}

/// Returns when the client has closed the connection; never where it has sent more.
async fn gone(read: &mut BufReader<OwnedReadHalf>) {
    match read.fill_buf().await {
        Ok(more) if !more.is_empty() => std::future::pending().await,
        Ok(_) | Err(_) => {}
    }
}

async fn ask(request: Request, is_root: bool, calls: &mpsc::Sender<Call>) -> Response {
    let (reply, answer) = oneshot::channel();
    let call = Call {
        request,
        is_root,
        reply,
    };
    let stops = || Response::Error {
        message: "meshd stops: try again".to_owned(),
    };
    if calls.send(call).await.is_err() {
        return stops();
    }
    answer.await.unwrap_or_else(|_| stops())
}

async fn send(write: &mut OwnedWriteHalf, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    timeout(SILENCE, write.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_api::State;

    #[tokio::test]
    async fn requests_are_answered_in_order_and_nonsense_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("meshd.sock");
        let listener = bind(&path).expect("binds");
        let (calls, mut waiting) = mpsc::channel::<Call>(4);
        tokio::spawn(serve(listener, calls));
        tokio::spawn(async move {
            while let Some(call) = waiting.recv().await {
                assert!(matches!(call.request, Request::Down));
                let _ = call.reply.send(Response::Done);
            }
        });
        let mut client = BufReader::new(UnixStream::connect(&path).await.expect("connects"));
        client
            .write_all(b"{\"request\":\"down\"}\nnonsense\n")
            .await
            .expect("writes");
        let mut lines = client.lines();
        let mut next = async || lines.next_line().await.expect("reads").expect("a line");
        assert_eq!(next().await, r#"{"response":"done"}"#);
        assert!(next().await.contains("cannot be read"));
    }

    #[tokio::test]
    async fn a_left_socket_is_replaced_and_a_served_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("meshd.sock");
        drop(bind(&path).expect("binds"));
        let _served = bind(&path).expect("replaces what is left");
        assert!(matches!(bind(&path), Err(Error::SocketTaken(_))));
    }

    #[tokio::test]
    async fn a_socket_that_is_seen_can_be_connected_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("meshd.sock");
        let seen = path.clone();
        let client = std::thread::spawn(move || {
            while !seen.exists() {
                std::hint::spin_loop();
            }
            StdUnixStream::connect(&seen).map(drop)
        });
        let _listener = bind(&path).expect("binds");
        client.join().expect("ends").expect("connects");
        let left = std::fs::read_dir(directory.path()).expect("lists");
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn states_are_written_as_words() {
        let word = serde_json::to_string(&State::LoggedOut).expect("is written");
        assert_eq!(word, "\"logged_out\"");
    }
}
