//! Makes the host that systemd then runs, and becomes systemd.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::{DEBIAN, PROGRAMS, READY, accounts, announce, cgroup, root};
use crate::error::{Doing, LabError};
use crate::{Result, programs};

/// The units that the packages bring.
const UNITS: [(&str, &str); 3] = [
    (
        "meshd.service",
        include_str!("../../../packaging/systemd/meshd.service"),
    ),
    (
        "meshd-ssh.service",
        include_str!("../../../packaging/systemd/meshd-ssh.service"),
    ),
    (
        "meshd-control.service",
        include_str!("../../../packaging/systemd/meshd-control.service"),
    ),
];

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// Units that would work on this machine's kernel or on what the network has, or on a clock; and
/// sshd, for tests to start.
const MASKED: [&str; 15] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "proc-sys-fs-binfmt_misc.automount",
    "ssh.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "systemd-tmpfiles-clean.timer",
];

/// `CGROUP NAME`: becomes the first process of the host of this name.
pub(super) fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "bind the host to the test".to_owned())?;
    let [own_cgroup, name] = arguments.as_slice() else {
        return Err(LabError::Unfit("lab-init boot CGROUP NAME".to_owned()));
    };
    cgroup::join(Path::new(own_cgroup))?;
    unshare(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS)
        .doing(|| "make namespaces".to_owned())?;
    let programs = std::env::var_os(PROGRAMS).unwrap_or_default();
    let programs = programs::decode(&programs);
    root::make(DEBIAN.as_ref(), &programs)?;
    protect_kernel()?;
    root::mount_new("cgroup2", "/sys/fs/cgroup".as_ref(), None)?;
    accounts::name_host(&name.to_string_lossy())?;
    if !programs.is_empty() {
        accounts::install()?;
        install()?;
    }
    make_files()?;
    // In a container systemd leaves this to whoever has made it; without it a service's credentials
    // are mounted where the service does not see them.
    root::mount_over("/", None, MsFlags::MS_REC | MsFlags::MS_SHARED, None)?;
    announce(READY)?;
    let error = Command::new("/lib/systemd/systemd")
        .env_clear()
        .env("container", "meshd-lab")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .exec();
    Err(LabError::system("become systemd", error))
}

/// The kernel's switches are this machine's, but for the network's.
fn protect_kernel() -> Result<()> {
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    let read_only = remount | MsFlags::MS_RDONLY;
    root::mount_over("/sys", None, read_only, None)?;
    for (directory, flags) in [("/proc/sys", read_only), ("/proc/sys/net", remount)] {
        root::mount_over(directory, Some(directory.as_ref()), MsFlags::MS_BIND, None)?;
        root::mount_over(directory, None, flags, None)?;
    }
    Ok(())
}

/// What the packages put on a system for systemd.
fn install() -> Result<()> {
    let write =
        |path: &str, content: &str| fs::write(path, content).doing(|| format!("write {path}"));
    for (unit, content) in UNITS {
        write(&format!("/usr/lib/systemd/system/{unit}"), content)?;
    }
    write(
        "/usr/lib/sysusers.d/meshd.conf",
        &accounts::SYSUSERS.concat(),
    )?;
    write(
        "/usr/lib/tmpfiles.d/meshd.conf",
        &accounts::TMPFILES.concat(),
    )
}

fn make_files() -> Result<()> {
    for unit in MASKED {
        let link = Path::new("/etc/systemd/system").join(unit);
        symlink("/dev/null", link).doing(|| format!("mask {unit}"))?;
    }
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid");
    random
        .and_then(|uuid| fs::write("/etc/machine-id", uuid.replace('-', "")))
        .doing(|| "number the host".to_owned())?;
    make_host_key()
}

/// A host with sshd has it from the installation on.
fn make_host_key() -> Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", HOST_KEY])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .doing(|| "make a host key".to_owned())?;
    if made.success() {
        return Ok(());
    }
    Err(LabError::Failed("ssh-keygen failed".to_owned()))
}
