//! What this machine must have for the lab.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::error::Doing;
use crate::programs;
use crate::{LabError, Result};

const TOOLS: [(&str, &str); 10] = [
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("ps", "procps"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("useradd", "passwd"),
    ("patch", "patch"),
];

/// Checks that the lab can run here.
///
/// # Errors
/// [`LabError::Unfit`] with a sentence that says what is missing and what to do.
pub fn check() -> Result<()> {
    if !geteuid().is_root() {
        return Err(unfit(
            "the lab makes namespaces and accounts in them, so it must run as root",
        ));
    }
    if let Some((tool, package)) = TOOLS.iter().find(|(tool, _)| !is_installed(tool)) {
        return Err(unfit(&format!(
            "the program {tool} is missing: apt-get install --no-install-recommends {package}"
        )));
    }
    if OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_err()
    {
        return Err(unfit(
            "this machine has no TUN device (/dev/net/tun), which userspace WireGuard needs",
        ));
    }
    let namespaces = Command::new(programs::lab_init()?)
        .arg("check")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !namespaces.is_ok_and(|status| status.success()) {
        return Err(unfit(
            "this machine does not let root make namespaces with an overlay of /",
        ));
    }
    Ok(())
}

/// Makes the Debian that booted hosts run, unless it is there.
///
/// # Errors
/// [`LabError::Unfit`] with what failed.
pub fn prepare_debian() -> Result<()> {
    let prepare = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/debian/prepare");
    let output = Command::new(prepare)
        .output()
        .doing(|| "prepare a Debian for booted hosts".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(LabError::Unfit(why.trim().to_owned()))
}

fn is_installed(tool: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(tool).exists())
}

fn unfit(reason: &str) -> LabError {
    LabError::Unfit(format!(
        "{reason}; a virtual machine needs none of that: make demo VM=1"
    ))
}
