//! Descriptors that the service manager keeps while this process is away (sd_notify(3), FDSTORE;
//! sd_listen_fds(3)).

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::socket;

/// How long the service manager may take to have room for a message.
const ROOM: Duration = Duration::from_secs(5);

/// A descriptor that an earlier process of this service has left, and its name.
pub type Left = (String, OwnedFd);

/// What the earlier process has left. To be called once, before anything else opens a descriptor.
#[must_use]
pub fn left() -> Vec<Left> {
    match sd_notify::listen_fds_with_names() {
        Ok(left) => left
            .map(|(fd, name)| {
                // SAFETY: the service manager has put these descriptors here for this process
                // (sd_listen_fds(3)), and nothing else in it has taken them.
                (name, unsafe { OwnedFd::from_raw_fd(fd) })
            })
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "what an earlier meshd has left cannot be used");
            Vec::new()
        }
    }
}

/// The way to the service manager; one that leads nowhere where there is none.
#[derive(Debug, Clone, Default)]
pub struct FdStore {
    socket: Option<Arc<AsyncFd<OwnedFd>>>,
}

impl FdStore {
    /// To the service manager that has started this process. Needs the runtime.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        Self::at(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "nothing is kept over a restart of meshd");
            Self::default()
        })
    }

    /// To the service manager that listens there; `@` begins an abstract name.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn at(path: &OsString) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            path => UnixAddr::new(path)?,
        };
        let notify = nix::sys::socket::socket(
            AddressFamily::Unix,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        connect(notify.as_raw_fd(), &address)?;
        Ok(Self {
            socket: Some(Arc::new(socket::readiness(notify)?)),
        })
    }

    /// Has a descriptor kept under this name, beside others of the same name. It is let go when
    /// its other side closes, or by [`Self::forget`].
    pub async fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        self.say(&format!("FDSTORE=1\nFDNAME={name}\n"), &[fd])
            .await;
    }

    /// Has all descriptors of this name let go.
    pub async fn forget(&self, name: &str) {
        self.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])
            .await;
    }

    /// What the service manager does not take is lost at the next restart, and nothing worse.
    async fn say(&self, text: &str, fds: &[BorrowedFd<'_>]) {
        let Some(socket) = &self.socket else {
            return;
        };
        let sent = socket.async_io(Interest::WRITABLE, |socket| send(socket, text, fds));
        let error = match timeout(ROOM, sent).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        tracing::warn!(%error, "the service manager was not told what to keep");
    }
}

fn send(socket: &OwnedFd, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[] } else { &control[..] };
    let text = [IoSlice::new(text.as_bytes())];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &text, control, flags, None)?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A service manager of a test: takes messages, and counts the descriptors that came with
    /// each.
    pub(crate) struct Keeper {
        socket: UnixDatagram,
        _directory: tempfile::TempDir,
        pub(crate) store: FdStore,
    }

    impl Keeper {
        pub(crate) fn start() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("notify");
            let socket = UnixDatagram::bind(&path).expect("binds");
            let store = FdStore::at(&path.into_os_string()).expect("connects");
            Self {
                socket,
                _directory: directory,
                store,
            }
        }

        /// The next message, and what came with it.
        pub(crate) async fn next(&self) -> (String, Vec<OwnedFd>) {
            loop {
                if let Some(message) = self.take() {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        fn take(&self) -> Option<(String, Vec<OwnedFd>)> {
            let mut bytes = [0; 1024];
            let mut control = nix::cmsg_space!([std::os::fd::RawFd; 4]);
            let mut slices = [io::IoSliceMut::new(&mut bytes)];
            let received = nix::sys::socket::recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT,
            )
            .ok()?;
            let mut fds = Vec::new();
            for message in received.cmsgs().expect("is whole") {
                if let nix::sys::socket::ControlMessageOwned::ScmRights(raw) = message {
                    // SAFETY: the kernel has just made them for this process.
                    fds.extend(
                        raw.into_iter()
                            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                    );
                }
            }
            let length = received.bytes;
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            Some((text, fds))
        }
    }

    #[tokio::test]
    async fn a_descriptor_is_kept_by_its_name_and_forgotten() {
        let keeper = Keeper::start();
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        keeper.store.keep("a-name", one.as_fd()).await;
        keeper.store.forget("a-name").await;
        let (text, fds) = keeper.next().await;
        assert_eq!(text, "FDSTORE=1\nFDNAME=a-name\n");
        drop(one);
        let kept = std::os::unix::net::UnixStream::from(fds.into_iter().next().expect("one"));
        io::Write::write_all(&mut &kept, b"x").expect("writes");
        io::Read::read_exact(&mut &other, &mut [0]).expect("is connected");
        let (text, fds) = keeper.next().await;
        assert_eq!(
            (text.as_str(), fds.len()),
            ("FDSTOREREMOVE=1\nFDNAME=a-name\n", 0)
        );
    }

    #[tokio::test]
    async fn without_a_service_manager_nothing_is_kept() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        FdStore::default().keep("name", one.as_fd()).await;
        assert!(FdStore::at(&"/nonexistent/notify".into()).is_err());
    }
}
