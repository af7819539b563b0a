//! Whether SSH is on: whether the broker's socket is there; and when its host keys change.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshd_contract::paths;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::timeout;

use super::report::read_host_keys;
use super::socket;

/// Events can be lost where a directory is replaced between two looks.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// A broker that is being restarted takes its socket away for a moment.
const RESTART: Duration = Duration::from_secs(3);

/// Watches the socket for as long as somebody listens; tells also when the file of host keys beside
/// it has another content.
#[must_use]
pub fn watch(path: PathBuf) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(is_socket(&path));
    tokio::spawn(async move {
        tokio::select! {
            () = follow(&path, &sender) => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

/// Whether there is a socket of this name.
#[must_use]
pub fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

async fn follow(path: &Path, sender: &watch::Sender<bool>) {
    let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .map_err(std::io::Error::from)
        .and_then(Events::new);
    let events = events
        .inspect_err(|error| tracing::warn!(%error, "looking for the broker every 30 s only"))
        .ok();
    let mut host_keys = String::new();
    loop {
        if let Some(events) = &events {
            events.watch_around(path);
        }
        let there = is_socket(path) || *sender.borrow() && comes_back(path, events.as_ref()).await;
        let keys = read_host_keys(&beside(path));
        sender.send_if_modified(|known| {
            let is_new = (*known, &host_keys) != (there, &keys);
            (*known, host_keys) = (there, keys);
            is_new
        });
        // Without events this is the pause between two looks.
        let _ = timeout(LOOK_ANYWAY, next(events.as_ref())).await;
    }
}

/// Whether a socket that has gone is there again before SSH is taken for switched off.
async fn comes_back(path: &Path, events: Option<&Events>) -> bool {
    let there = async {
        while !is_socket(path) {
            next(events).await;
            if let Some(events) = events {
                events.watch_around(path);
            }
        }
    };
    timeout(RESTART, there).await.is_ok() || is_socket(path)
}

async fn next(events: Option<&Events>) {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn beside(socket: &Path) -> PathBuf {
    let name = Path::new(paths::HOST_KEYS).file_name().unwrap_or_default();
    socket.with_file_name(name)
}

struct Events {
    inotify: Inotify,
    /// A duplicate of the same descriptor.
    readiness: AsyncFd<OwnedFd>,
}

impl Events {
    fn new(inotify: Inotify) -> std::io::Result<Self> {
        let duplicate = inotify.as_fd().try_clone_to_owned()?;
        let readiness = socket::readiness(duplicate)?;
        Ok(Self { inotify, readiness })
    }

    /// Watches the socket's directory; where there is none yet, the one above it.
    fn watch_around(&self, path: &Path) {
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        for directory in path.ancestors().skip(1) {
            if self.inotify.add_watch(directory, flags).is_ok() {
                return;
            }
        }
    }

    /// Ends after at least one event, all of which are taken.
    async fn next(&self) {
        let Ok(mut ready) = self.readiness.readable().await else {
            return;
        };
        while self.inotify.read_events().is_ok() {}
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    async fn becomes(receiver: &mut watch::Receiver<bool>, wanted: bool) {
        let seen = timeout(
            Duration::from_secs(10),
            receiver.wait_for(|there| *there == wanted),
        );
        seen.await
            .expect("is seen in time")
            .expect("the watcher lives");
    }

    #[tokio::test]
    async fn the_socket_is_seen_to_come_and_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let run = directory.path().join("meshd-ssh");
        let socket = run.join("broker.sock");
        let mut receiver = watch(socket.clone());
        assert!(!*receiver.borrow());
        for _ in 0..2 {
            std::fs::create_dir(&run).expect("creates");
            let listener = UnixListener::bind(&socket).expect("binds");
            becomes(&mut receiver, true).await;
            drop(listener);
            std::fs::remove_dir_all(&run).expect("removes");
            becomes(&mut receiver, false).await;
        }
    }

    #[tokio::test]
    async fn new_host_keys_are_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("broker.sock");
        let keys = beside(&socket);
        let mut receiver = watch(socket);
        for content in ["one", "two"] {
            let new = keys.with_extension("new");
            std::fs::write(&new, content).expect("writes");
            std::fs::rename(&new, &keys).expect("renames");
            let told = timeout(Duration::from_secs(10), receiver.changed());
            told.await.expect("in time").expect("the watcher lives");
        }
    }

    #[test]
    fn a_file_is_no_socket() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(!is_socket(file.path()));
    }
}
