//! What systemd keeps for a service over its restarts, for hosts that have no systemd
//! (sd_notify(3), sd_listen_fds(3)).

use std::fs::Permissions;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::error::{Doing, Result};
use crate::{Host, HostCommand};

/// The socket of the host that the service tells what to keep.
const NOTIFY: &str = "/run/notify.sock";

/// Gives the service the number that it is known by: the shell becomes the service.
const BECOME: &str = r#"LISTEN_PID=$$; export LISTEN_PID; exec "$@""#;

/// How soon the thread notices that nobody has the store any more, in milliseconds.
const TURN: u16 = 100;

/// Keeps descriptors for one service of a host.
#[derive(Debug)]
pub(crate) struct FdStore {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    socket: UnixDatagram,
    fds: Vec<(String, OwnedFd)>,
}

impl FdStore {
    /// Listens in the host.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let doing = || format!("listen at {NOTIFY} on {}", host.name());
        let path = format!("/proc/{}/root{NOTIFY}", host.pid());
        let socket = UnixDatagram::bind(&path).doing(doing)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).doing(doing)?;
        let waiting = socket.try_clone().doing(doing)?;
        let fds = Vec::new();
        let kept = Arc::new(Mutex::new(Kept { socket, fds }));
        let weak = Arc::downgrade(&kept);
        thread::spawn(move || serve(&waiting, &weak));
        Ok(Self { kept })
    }

    /// The command with everything that was kept, as systemd starts a service.
    pub(crate) fn supervise(&self, command: HostCommand) -> Result<HostCommand> {
        let mut kept = lock(&self.kept);
        kept.take_messages();
        kept.fds.retain(|(_, fd)| !is_over(fd));
        let names: Vec<&str> = kept.fds.iter().map(|(name, _)| name.as_str()).collect();
        let command = command.env("NOTIFY_SOCKET", NOTIFY);
        if names.is_empty() {
            return Ok(command);
        }
        let command = command
            .under(&["sh", "-c", BECOME, "sh"])
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let copies = kept.fds.iter().map(|(_, fd)| fd.try_clone());
        let copies: std::io::Result<Vec<OwnedFd>> = copies.collect();
        Ok(command.pass(copies.doing(|| "copy descriptors".to_owned())?))
    }
}

fn serve(socket: &UnixDatagram, kept: &Weak<Mutex<Kept>>) {
    loop {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(TURN));
        let Some(kept) = kept.upgrade() else {
            return;
        };
        lock(&kept).take_messages();
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether systemd would have let go of it: the other side is closed.
fn is_over(fd: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    poll(&mut ready, PollTimeout::ZERO) == Ok(1)
}

impl Kept {
    fn take_messages(&mut self) {
        while let Some((text, fds)) = receive(&self.socket) {
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
            let name = value("FDNAME=").unwrap_or("stored").to_owned();
            if value("FDSTOREREMOVE=") == Some("1") {
                self.fds.retain(|(kept, _)| *kept != name);
            } else if value("FDSTORE=") == Some("1") {
                self.fds
                    .extend(fds.into_iter().map(|fd| (name.clone(), fd)));
            }
        }
    }
}

fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut control = nix::cmsg_space!([RawFd; 16]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags);
    let received = received.ok()?;
    let mut fds = Vec::new();
    for message in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing
            // else in it knows their numbers.
            fds.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    let length = received.bytes;
    Some((String::from_utf8_lossy(&bytes[..length]).into_owned(), fds))
}
