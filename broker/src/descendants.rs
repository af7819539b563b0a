//! Everything that came out of this connection: the worker is the subreaper of its sessions
//! (PR_SET_CHILD_SUBREAPER, prctl(2)), so that a process that has left its group and session is
//! still below it.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Makes orphaned descendants children of this process.
///
/// # Errors
/// What the kernel said.
pub fn become_subreaper() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// The living descendants of this process, `spared` and its own left out.
#[must_use]
pub fn living(spared: Option<Pid>) -> BTreeSet<Pid> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    let mut zombies = BTreeSet::new();
    for (pid, parent, state) in processes() {
        children.entry(parent).or_default().push(pid);
        if matches!(state, b'Z' | b'X') {
            zombies.insert(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![Pid::this()];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if Some(*child) != spared && found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found.difference(&zombies).copied().collect()
}

/// Pid, parent and state of every process (proc_pid_stat(5)).
fn processes() -> impl Iterator<Item = (Pid, Pid, u8)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let (parent, state) = parent_and_state(&stat)?;
        Some((Pid::from_raw(pid), Pid::from_raw(parent), state))
    })
}

/// The fields after the command's name, which may itself hold blanks and parentheses.
fn parent_and_state(stat: &[u8]) -> Option<(i32, u8)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Sends a signal to a process group that may be gone already.
pub fn signal_group(leader: Pid, signal: Signal) {
    match nix::sys::signal::killpg(leader, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => crate::log::line(&format!("cannot signal group {leader}: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_cannot_forge_its_parent() {
        assert_eq!(parent_and_state(b"7 (a) S 1 (x) R 42 1"), Some((42, b'R')));
        assert_eq!(parent_and_state(b"7 (sh) S 6 7 7"), Some((6, b'S')));
        assert_eq!(parent_and_state(b"7 (sh"), None);
    }
}
