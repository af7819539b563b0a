//! A booted host's part of this machine's cgroup tree.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::error::{Doing, LabError};

/// Before the number of the process that holds the host.
const PREFIX: &str = "meshd-lab.";

/// Where the first process of a booted host goes by itself (systemd.special(7)).
const INIT: &str = "init.scope";

/// Where commands of the tests run in a booted host.
const COMMANDS: &str = "system.slice/lab.service";

const PROCESSES: &str = "cgroup.procs";

/// How long the kernel may take to forget the processes of a cgroup that has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a cgroup named after this process; removes those that a crash has left.
pub(super) fn make() -> Result<PathBuf> {
    let tree = tree()?;
    remove_stale(&tree);
    let own = tree.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&own).doing(|| format!("make the cgroup {}", own.display()))?;
    Ok(own)
}

/// Moves this process into a cgroup.
pub(super) fn join(cgroup: &Path) -> Result<()> {
    File::options()
        .write(true)
        .open(cgroup.join(PROCESSES))
        .and_then(|mut processes| enter(&mut processes))
        .doing(|| format!("enter the cgroup {}", cgroup.display()))
}

/// Moves the calling process; makes system calls only.
pub(super) fn enter(mut processes: impl Write) -> io::Result<()> {
    processes.write_all(b"0")
}

/// What [`enter`] brings a command of a booted host where it belongs with; none for another host.
pub(super) fn of_commands(first_process: i32) -> Result<Option<File>> {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/cgroup"));
    let doing = || "look at the host's cgroup".to_owned();
    if namespace("self").doing(doing)? == namespace(&first_process.to_string()).doing(doing)? {
        return Ok(None);
    }
    let listed = fs::read_to_string(format!("/proc/{first_process}/cgroup")).doing(doing)?;
    let path = listed.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| LabError::Unfit("the host is in no cgroup".to_owned()))?;
    let host = path.trim_end_matches(INIT);
    let commands = tree()?.join(host).join(COMMANDS);
    fs::create_dir_all(&commands).doing(doing)?;
    let processes = commands.join(PROCESSES);
    let file = File::options().write(true).open(processes).doing(doing)?;
    Ok(Some(file))
}

/// Removes a cgroup with all below it, once the processes in it have ended.
pub(super) fn remove(cgroup: &Path) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match remove_all(cgroup) {
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(3)),
            Ok(()) => return Ok(()),
        }
    }
}

fn remove_all(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_all(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn remove_stale(tree: &Path) {
    for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let holder = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_gone = holder.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if is_gone && is_empty(&entry.path()) {
            let _ = remove_all(&entry.path());
        }
    }
}

fn is_empty(cgroup: &Path) -> bool {
    let events = fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 0")
}

/// Where the tree of all cgroups (cgroups(7), version 2) is mounted.
fn tree() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").doing(|| "list mounts".to_owned())?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (place, kind) = (words.nth(1)?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    });
    found.ok_or_else(|| {
        LabError::Unfit("this machine has no cgroups of version 2 for a booted host".to_owned())
    })
}
