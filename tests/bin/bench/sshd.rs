//! Debian's sshd on web1, on a port of its own, so that its connections go through the same
//! tunnel.

use std::path::Path;
use std::process::Command;

use meshd_lab::{Daemon, Host, Kind, LabError, Mesh, Result};

pub(crate) const PORT: &str = "2222";
/// The client's key, on the laptop.
pub(crate) const KEY: &str = "/root/key";

const CONFIG: &str = "UsePAM=yes\nPasswordAuthentication=no\nPidFile=/run/sshd/pid\n\
                      HostKey=/run/sshd/host_key\nMaxStartups=100\nPrintMotd=no\n\
                      Port=2222\nAuthorizedKeysFile=/run/sshd/keys\n\
                      Subsystem sftp /usr/lib/openssh/sftp-server\n";

const PREPARE: &str = "mkdir -p /run/sshd
    cp /etc/pam.d/meshd-ssh /etc/pam.d/sshd
    ssh-keygen -q -t ed25519 -N '' -f /run/sshd/host_key";

/// Starts it; both servers' sessions open with the same PAM stack.
pub(crate) fn start(mesh: &Mesh) -> Result<Daemon> {
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    if web1.kind() == Kind::Plain {
        install(web1)?;
    }
    web1.sh(PREPARE)?;
    laptop.sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {KEY}"))?;
    web1.write("/run/sshd/keys", laptop.read(format!("{KEY}.pub"))?)?;
    web1.write("/run/sshd/config", CONFIG)?;
    match web1.kind() {
        Kind::Plain => {
            let options = ["-D", "-e", "-f", "/run/sshd/config"];
            let command = web1.command("/usr/sbin/sshd").args(options);
            Daemon::start(web1, "sshd", command, "/run/sshd/pid")
        }
        Kind::Booted | Kind::Bare => {
            web1.write("/etc/default/ssh", "SSHD_OPTS=-f /run/sshd/config\n")?;
            let keep = "[Service]\nRuntimeDirectoryPreserve=yes\n";
            web1.sh("systemctl unmask ssh; mkdir /etc/systemd/system/ssh.service.d")?;
            web1.write("/etc/systemd/system/ssh.service.d/keep.conf", keep)?;
            web1.sh("systemctl daemon-reload")?;
            Daemon::start_unit(web1, "ssh", "/run/sshd/pid")
        }
    }
}

/// Unpacks sshd where this machine's programs are what a host has.
fn install(web1: &Host) -> Result<()> {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
    let cache = lab.join("../../.lab/sshd");
    let fetched = Command::new(lab.join("fetch-sshd")).status();
    if !fetched.is_ok_and(|status| status.success()) {
        return Err(LabError::Failed(
            "there is no sshd to compare with".to_owned(),
        ));
    }
    let tree = Command::new("tar")
        .arg("-C")
        .arg(cache)
        .args(["-c", "usr/sbin/sshd", "usr/lib/x86_64-linux-gnu"])
        .output()
        .map_err(|error| LabError::system("pack sshd", error))?;
    web1.command("tar")
        .args(["-C", "/", "-x"])
        .input(tree.stdout)
        .succeed()?;
    web1.sh("ldconfig; useradd -r -d /run/sshd sshd; sed -i /pam_systemd/d /etc/pam.d/common-*")
        .map(drop)
}
