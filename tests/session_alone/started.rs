//! A session process, started as its worker starts it.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use meshd_contract::wire;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Nobody's: the tests need no account for it.
const USER: u32 = 65534;

/// What a test changes about the start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// As the worker does it.
    Right,
    /// With user id 0.
    AsRoot,
    /// Without the capability to change the root directory.
    WithoutCapability,
    /// Where there is no empty root.
    WithoutEmptyRoot,
    /// Without the worker's socket.
    WithoutWorker,
    /// With a connection on which little is under way, as on a slow network.
    WithSmallSendBuffer,
    /// With a log, a pipe, that takes nothing.
    WithFullPipeForLog,
    /// With a log, a socket as the journal's, that takes nothing.
    WithFullSocketForLog,
}

/// A session process that runs.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) worker: OwnedFd,
    pub(crate) manager: OwnedFd,
}

/// Starts one for an accepted connection; its log goes to this test's.
#[expect(clippy::print_stdout, reason = "shown when a test fails")]
pub(crate) fn start(connection: OwnedFd, how: Start) -> Started {
    let (worker, theirs) = wire::pair().expect("a pair");
    let (manager, link) = wire::pair().expect("a pair");
    let fds = [connection.as_raw_fd(), link.as_raw_fd(), theirs.as_raw_fd()];
    let (mut log, theirs_to_log) = log(how);
    if how == Start::WithSmallSendBuffer {
        setsockopt(&connection, sockopt::SndBuf, &(64 << 10)).expect("a size");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshd-session"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(theirs_to_log);
    // SAFETY: between fork and exec, only system calls on prepared memory.
    unsafe { command.pre_exec(move || become_session(fds, how)) };
    let child = command.spawn().expect("starts, as root");
    // The command has the log's other side.
    drop(command);
    thread::spawn(move || {
        if how == Start::WithFullPipeForLog || how == Start::WithFullSocketForLog {
            let mut end = [PollFd::new(log.as_fd(), PollFlags::empty())];
            let _ = poll(&mut end, PollTimeout::NONE);
        }
        let mut text = String::new();
        let _ = log.read_to_string(&mut text);
        print!("{text}");
    });
    Started {
        child,
        worker,
        manager,
    }
}

/// Where the log comes out, and where it goes in.
fn log(how: Start) -> (File, OwnedFd) {
    let (out, into): (OwnedFd, OwnedFd) = if how == Start::WithFullSocketForLog {
        let (out, into) = UnixStream::pair().expect("a pair");
        (out.into(), into.into())
    } else {
        nix::unistd::pipe().expect("a pipe")
    };
    if how == Start::WithFullPipeForLog || how == Start::WithFullSocketForLog {
        fill(&into);
    }
    (out.into(), into)
}

fn fill(into: &OwnedFd) {
    let set = |flags| fcntl(into, FcntlArg::F_SETFL(flags)).expect("is open");
    set(OFlag::O_NONBLOCK);
    for piece in [4096, 1] {
        while nix::unistd::write(into, &vec![b'.'; piece]).is_ok() {}
    }
    set(OFlag::empty());
}

/// A connected pair of TCP sockets: the client's port, and the accepted side.
pub(crate) fn accepted() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Accepts one connection.
pub(crate) fn accept(listener: &TcpListener) -> OwnedFd {
    let (stream, _): (TcpStream, _) = listener.accept().expect("a client");
    stream.into()
}

fn become_session(fds: [RawFd; 3], how: Start) -> std::io::Result<()> {
    // Nothing that is mounted here is seen by any other process.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    if how != Start::WithoutEmptyRoot {
        for directory in ["/run/meshd-ssh", "/run/meshd-ssh/empty"] {
            nix::unistd::mkdir(directory, nix::sys::stat::Mode::from_bits_truncate(0o755))?;
        }
    }
    place(fds, how)?;
    if how == Start::AsRoot {
        return Ok(());
    }
    // SAFETY: prctl with numbers only.
    unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) };
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    if how != Start::WithoutCapability {
        raise_chroot()?;
    }
    Ok(())
}

/// The descriptors 3 to 5, wherever they are now.
fn place(fds: [RawFd; 3], how: Start) -> std::io::Result<()> {
    let high: Vec<RawFd> = fds
        .iter()
        // SAFETY: fcntl on descriptors that the parent holds open.
        .map(|fd| unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 100) })
        .collect();
    for (target, fd) in (3..).zip(high) {
        // SAFETY: dup2 of descriptors made just now; the targets are this child's own.
        unsafe { libc::dup2(fd, target) };
    }
    if how == Start::WithoutWorker {
        // SAFETY: closes this child's own copy.
        unsafe { libc::close(5) };
    }
    Ok(())
}

fn raise_chroot() -> std::io::Result<()> {
    use caps::{CapSet, Capability::CAP_SYS_CHROOT, CapsHashSet};
    let one: CapsHashSet = [CAP_SYS_CHROOT].into();
    for set in [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Ambient,
    ] {
        caps::set(None, set, &one).map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// Whether a descriptor is at its end, within a while.
pub(crate) fn ends(fd: &impl AsFd) -> bool {
    let mut ready = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::from(10_000_u16)) == Ok(1)
}
