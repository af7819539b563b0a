//! What a session process in wrong hands tries on the host around it, without its sandbox.
//!
//! Every attempt is one line: `WHAT: refused ERRNO`, or `WHAT: DONE` where it succeeded.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use meshd_contract::paths::BROKER_SOCKET;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setresuid, setuid};

/// What tells of one process of the host.
const SECRETS: [&str; 9] = [
    "mem", "environ", "maps", "fd", "cwd", "root", "auxv", "stack", "io",
];

/// Files that are not the session process's business.
const PRIVATE: [&str; 6] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/ssh/ssh_host_ed25519_key",
    "/var/lib/meshd-ssh",
    "/root/secret",
    "/dev/tty",
];

/// Where it must not leave anything.
const PLACES: [&str; 14] = [
    "/",
    "/etc",
    "/etc/meshd",
    "/etc/pam.d",
    "/etc/ssh",
    "/home",
    "/home/alice",
    "/root",
    "/run",
    "/run/meshd",
    "/run/meshd-ssh",
    "/usr/lib/meshd",
    "/var/lib/meshd",
    "/var/lib/meshd-ssh",
];

/// Programs that root lends to everybody; each is asked for something that is only root's.
const LENT: [&[&str]; 5] = [
    &["su", "--command", "id -u", "root"],
    &["su", "--command", "id -u", "alice"],
    &["passwd", "--delete", "root"],
    &["chsh", "--shell", "/bin/sh", "root"],
    &["mount", "-t", "tmpfs", "none", "/mnt"],
];

/// Tries everything; `other` is the session process of another connection.
pub(crate) fn run(other: Option<i32>, mut write: impl FnMut(&str)) {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    for line in status.lines().filter(|line| line.starts_with("Cap")) {
        write(line);
    }
    give_up_capabilities();
    let mut tell = |what: &str, outcome: Result<(), Errno>| match outcome {
        Ok(()) => write(&format!("{what}: DONE")),
        Err(errno) => write(&format!("{what}: refused {errno:?}")),
    };
    inherited(&mut tell);
    for path in PRIVATE {
        tell(&format!("open {path}"), read(path.as_ref()));
    }
    let worker = getppid().as_raw();
    for (name, pid) in [
        ("worker", Some(worker)),
        ("init", Some(1)),
        ("other", other),
    ] {
        if let Some(pid) = pid {
            process(name, pid, &mut tell);
        }
    }
    identity(&mut tell);
    for place in PLACES {
        leave(Path::new(place), &mut tell);
    }
    for path in terminals().into_iter().chain(sockets()) {
        let what = format!("reach {}", path.display());
        tell(&what, reach(&path));
    }
    for words in LENT {
        tell(&words.join(" "), lent(words));
    }
}

/// As the real program does right after it has entered its root; what it does before that, it does
/// before it has read a byte of its client's.
fn give_up_capabilities() {
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [[0u32; 3]; 2];
    // SAFETY: header and data have the layout of capset(2), version 3, and outlive the call; prctl
    // takes integers.
    unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        );
        let done = libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr());
        assert_eq!(done, 0, "capset");
    }
}

/// Nothing is there but the three streams and the three sockets.
fn inherited(tell: &mut impl FnMut(&str, Result<(), Errno>)) {
    for number in 6..1024 {
        // SAFETY: only asks whether the descriptor is open.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } != -1 {
            let name = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
            // The log that the puppet has opened itself.
            if !name.starts_with("/var/lib/puppet") {
                tell(&format!("inherit {}", name.display()), Ok(()));
            }
        }
    }
}

fn read(path: &Path) -> Result<(), Errno> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return fs::read_dir(path).map(drop).map_err(errno);
    }
    let mut byte = [0];
    let read = File::open(path).and_then(|mut file| file.read(&mut byte));
    read.map(drop).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn process(name: &str, pid: i32, tell: &mut impl FnMut(&str, Result<(), Errno>)) {
    let number = Pid::from_raw(pid);
    for secret in SECRETS {
        let path = PathBuf::from(format!("/proc/{pid}/{secret}"));
        let outcome = if matches!(secret, "cwd" | "root") {
            fs::read_link(&path).map(drop).map_err(errno)
        } else {
            read(&path)
        };
        tell(&format!("{name} {secret}"), outcome);
    }
    let seized = ptrace::seize(number, ptrace::Options::empty());
    tell(&format!("{name} ptrace"), seized);
    let mut bytes = [0; 8];
    let remote = [RemoteIoVec {
        base: 0x1000,
        len: 8,
    }];
    let mut local = [IoSliceMut::new(&mut bytes)];
    let copied = process_vm_readv(number, &mut local, &remote);
    // EFAULT would mean that the memory could be read, if only that address were one.
    let copied = match copied {
        Err(Errno::EFAULT) => Ok(()),
        other => other.map(drop),
    };
    tell(&format!("{name} process_vm_readv"), copied);
    tell(&format!("{name} descriptors"), take_descriptors(pid));
    tell(&format!("{name} signal"), kill(number, None));
    // SAFETY: the pointers are null, which asks for nothing but the right to.
    let limited = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_NOFILE,
            std::ptr::null(),
            std::ptr::null_mut(),
        )
    };
    tell(&format!("{name} prlimit"), Errno::result(limited).map(drop));
}

fn take_descriptors(pid: i32) -> Result<(), Errno> {
    // SAFETY: takes integers and returns a new descriptor or -1.
    let raw = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let raw = i32::try_from(raw).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made it, and nothing else knows its number.
    let pidfd = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut last = Errno::EBADF;
    for number in 0..16 {
        // SAFETY: as before.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
        match Errno::result(taken) {
            Ok(_) => return Ok(()),
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

fn identity(tell: &mut impl FnMut(&str, Result<(), Errno>)) {
    let root = Uid::from_raw(0);
    let keep = Uid::from_raw(u32::MAX);
    tell("setuid", setuid(root));
    tell("setresuid", setresuid(keep, root, keep));
    tell("setgid", setgid(Gid::from_raw(0)));
    tell("setgroups", setgroups(&[Gid::from_raw(0)]));
    tell("chroot", nix::unistd::chroot("/tmp"));
    tell("nice", {
        // SAFETY: takes integers.
        Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) }).map(drop)
    });
    let low = std::net::TcpListener::bind(("127.0.0.1", 22));
    tell("bind port 22", low.map(drop).map_err(errno));
}

/// A new file, and every file that is there already.
fn leave(place: &Path, tell: &mut impl FnMut(&str, Result<(), Errno>)) {
    let new = place.join("left-behind");
    let made = OpenOptions::new().write(true).create_new(true).open(new);
    let what = format!("make a file in {}", place.display());
    tell(&what, made.map(drop).map_err(errno));
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let path = entry.path();
            let opened = OpenOptions::new().append(true).open(&path);
            let what = format!("write to {}", path.display());
            tell(&what, opened.map(drop).map_err(errno));
        }
    }
}

fn terminals() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/pts").into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| !path.ends_with("ptmx")).collect()
}

/// Every Unix socket that has a name.
fn sockets() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/net/unix").expect("the kernel's table");
    let names = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7));
    let paths = names
        .filter(|name| name.starts_with('/'))
        .map(PathBuf::from);
    // The broker's has been renamed since it was bound, which the table does not know.
    let mut paths: Vec<PathBuf> = paths.chain([BROKER_SOCKET.into()]).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn reach(path: &Path) -> Result<(), Errno> {
    let is_socket = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return OpenOptions::new()
            .write(true)
            .open(path)
            .map(drop)
            .map_err(errno);
    }
    let address = UnixAddr::new(path)?;
    let mut last = Errno::EPROTOTYPE;
    for kind in [SockType::SeqPacket, SockType::Stream, SockType::Datagram] {
        let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(()),
            Err(Errno::EPROTOTYPE) => {}
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

fn lent(words: &[&str]) -> Result<(), Errno> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Errno::EPERM),
        Err(error) => Err(errno(error)),
    }
}
