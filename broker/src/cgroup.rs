//! The cgroup that holds everything of one session (cgroups(7), version 2).
//!
//! Where pam_systemd is, it is the scope that logind makes; elsewhere the worker makes one below
//! its own. A process cannot leave it by fork, setsid or a changed group, so it is what is killed
//! when a right ends.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One cgroup, by its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// That of this process; none where the hierarchy is not there or not whole to be seen.
    #[must_use]
    pub fn own() -> Option<Self> {
        let table = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own_path(&table)?;
        let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        Some(Self(mount.join(path)))
    }

    /// One that was found before.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Makes one below this one, which must not be the whole hierarchy's.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn make_below(&self, name: &str) -> io::Result<Self> {
        if !self.0.join("cgroup.type").exists() {
            let text = "the root of the hierarchy is nobody's to divide";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let directory = self.0.join(name);
        fs::create_dir(&directory)?;
        Ok(Self(directory))
    }

    /// Moves this process here.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// Removes it; it must be empty.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.0)
    }

    /// Every process here and below.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<Pid> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.0.clone()];
        while let Some(directory) = open.pop() {
            let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            // 0 stands for a process of another namespace.
            let pids = listed.lines().filter_map(|line| line.parse().ok());
            found.extend(pids.filter(|pid| *pid != 0).map(Pid::from_raw));
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            open.extend(below.map(|entry| entry.path()));
        }
        found
    }

    /// Sends SIGKILL to every process here and below, also to one that is just being forked
    /// (`cgroup.kill`); before Linux 5.14 to those that are listed.
    pub fn kill(&self) {
        if fs::write(self.0.join("cgroup.kill"), "1").is_err() {
            for pid in self.processes() {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// The path below the hierarchy's root. One that begins with `..` is outside this namespace.
fn own_path(table: &str) -> Option<&str> {
    let path = table.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.split('/').any(|part| part == "..")).then_some(path)
}

/// Where the whole hierarchy is mounted (proc_pid_mountinfo(5): the fourth field is the root
/// within it, the fifth the mount point; the type follows a lone dash).
fn mount_point(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let whole = fields.next()? == "/" && kind.starts_with("cgroup2 ");
        whole.then(|| fields.next().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_beside_others() {
        let mounts = "\
29 23 0:26 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd
30 23 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw
";
        let mount = mount_point(mounts);
        assert_eq!(mount.as_deref(), Some("/sys/fs/cgroup/unified".as_ref()));
        let own = "9:name=systemd:/a\n0::/user.slice/user-1000.slice/session-2.scope\n";
        assert_eq!(
            own_path(own),
            Some("user.slice/user-1000.slice/session-2.scope")
        );
    }

    #[test]
    fn what_is_outside_the_namespace_is_not_touched() {
        assert_eq!(own_path("0::/../../init.scope\n"), None);
        assert_eq!(own_path("3:cpu:/x\n"), None);
        let part = "30 23 0:27 /../x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(part), None);
    }
}
