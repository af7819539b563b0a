//! A folder of RPM packages that dnf can install from, on a Debian.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::building::succeed;

/// What the packages ask of a system, beside shared libraries and their own kind.
const ASKED: [&str; 5] = ["/bin/sh", "nftables", "pam", "rtld(GNU_HASH)", "systemd"];

/// What authselect(8) makes on RHEL, as its profile `minimal` does in essence.
pub(crate) const PASSWORD_AUTH: &str = "\
auth     sufficient pam_unix.so nullok
auth     required   pam_deny.so
account  required   pam_unix.so
session  optional   pam_keyinit.so revoke
session  required   pam_limits.so
-session optional   pam_systemd.so
session  required   pam_unix.so
";

/// Nothing of what a login there may add.
pub(crate) const POSTLOGIN: &str = "session optional pam_permit.so\n";

/// Makes one of the folder that the packages are in; that folder.
pub(crate) fn make(packages: &[PathBuf]) -> PathBuf {
    let folder = packages[0].parent().expect("a folder");
    stand_in(packages);
    succeed(Command::new("createrepo_c").arg("--quiet").arg(folder));
    folder.to_owned()
}

/// Makes a package that says that the Debian below has what the packages ask for.
fn stand_in(packages: &[PathBuf]) {
    let asked = succeed(
        Command::new("rpm")
            .args(["-qp", "--requires"])
            .args(packages),
    );
    let asked: BTreeSet<_> = asked
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("rpmlib(") && !line.starts_with("config(meshd"))
        .filter(|line| !line.starts_with("meshd = "))
        .collect();
    let named: Vec<_> = asked
        .iter()
        .filter(|line| !line.contains(".so"))
        .copied()
        .collect();
    assert_eq!(named, ASKED);
    let folder = packages[0].parent().expect("a folder");
    let specification = folder.join("debian.spec");
    let provided = asked.iter().map(|name| format!("Provides: {name}\n"));
    let text = format!(
        "Name: debian\nVersion: 1\nRelease: 1\nSummary: What Debian has\nLicense: MIT\n\
         BuildArch: noarch\n{}%description\nNothing.\n%files\n",
        provided.collect::<String>()
    );
    fs::write(&specification, text).expect("written");
    let top = folder.join("debian");
    succeed(
        Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define"])
            .arg(format!("_topdir {}", top.display()))
            .arg(&specification),
    );
    let made = top.join("RPMS/noarch/debian-1-1.noarch.rpm");
    fs::rename(made, folder.join("debian-1-1.noarch.rpm")).expect("moved");
    fs::remove_dir_all(top).expect("cleared");
    fs::remove_file(specification).expect("cleared");
}
