//! Which workers have a session open, and in which cgroup: so that nothing of a session outlives
//! a worker that was killed, unseen and out of any policy's reach.
//!
//! A worker leaves one file while its session is open; the listener, also one that was started
//! later, ends what belongs to a worker that died without taking its file away.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use meshd_contract::paths;
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::{log, state_file};

/// The directory of these files, root's own; gone after a reboot, as the sessions are.
fn directory() -> PathBuf {
    Path::new(paths::BROKER_RUN).join("sessions")
}

fn file(worker: Pid) -> PathBuf {
    directory().join(worker.to_string())
}

/// What a worker leaves while its session is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    connection: String,
    /// The worker's start, in ticks since boot: its number alone may be another's later.
    started: u64,
    cgroup: PathBuf,
}

/// Makes the directory.
///
/// # Errors
/// What the system said.
pub fn prepare() -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory())
}

/// Leaves this worker's file; taken away when dropped.
#[derive(Debug)]
pub struct OpenSession(PathBuf);

impl OpenSession {
    /// For the session of this process, all of whose processes are in `cgroup`.
    ///
    /// # Errors
    /// What the system said.
    pub fn note(connection: &str, cgroup: &Cgroup) -> io::Result<Self> {
        let this = Pid::this();
        let entry = Entry {
            connection: connection.to_owned(),
            started: start_time(this).ok_or(io::ErrorKind::NotFound)?,
            cgroup: cgroup.directory().to_owned(),
        };
        let path = file(this);
        state_file::replace(&path, &serde_json::to_vec(&entry)?, 0o600)?;
        Ok(Self(path))
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Ends what a worker has left that is gone.
pub fn clean_after(worker: Pid) {
    let path = file(worker);
    let Ok(entry) = read(&path) else {
        return;
    };
    let cgroup = Cgroup::at(entry.cgroup);
    let left = cgroup.processes().len();
    cgroup.kill();
    let _ = fs::remove_file(&path);
    let text = format!("its worker {worker} was killed; so were {left} processes of its session");
    log::connection(&entry.connection, &text);
}

/// Workers of an earlier listener that still serve; what those have left that do not is ended.
#[must_use]
pub fn inherited() -> Vec<(Pid, OwnedFd)> {
    let entries = fs::read_dir(directory()).into_iter().flatten().flatten();
    let workers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let serving = workers.map(Pid::from_raw).filter_map(|worker| {
        // Opened before the start is compared, so that both speak of the same process.
        let handle = pidfd(worker);
        if read(&file(worker)).is_ok_and(|entry| start_time(worker) == Some(entry.started)) {
            return Some((worker, handle.ok()?));
        }
        clean_after(worker);
        None
    });
    serving.collect()
}

fn read(path: &Path) -> io::Result<Entry> {
    const MAX_BYTES: usize = 16 << 10;
    Ok(serde_json::from_slice(&state_file::read_roots(
        path, MAX_BYTES,
    )?)?)
}

/// In ticks since boot (proc_pid_stat(5), the field 22; the third follows the command's name).
fn start_time(process: Pid) -> Option<u64> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Becomes readable when the process ends (pidfd_open(2)).
fn pidfd(process: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: takes two integers and returns a new descriptor or -1.
    let raw = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as libc::c_int) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_and_a_handle() {
        let this = Pid::this();
        assert!(start_time(this).is_some_and(|ticks| ticks > 0));
        assert!(pidfd(this).is_ok());
        assert_eq!(start_time(Pid::from_raw(i32::MAX)), None);
    }
}
