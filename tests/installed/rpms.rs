//! What removal leaves, and the same machine with RPM packages: scripts and files are as on Fedora and
//! RHEL, the system below is Debian's.

use meshd_lab::wait_for;

use crate::building::{NEW_RPMS, OLD_DEBS, OLD_RPMS};
use crate::repository::{self, PASSWORD_AUTH, POSTLOGIN};
use crate::site::{PATIENCE, SHARE, Site, WEB1, site};

const NAMES: &str = "meshd meshd-ssh";

/// Nothing of the project runs, and the kernel has nothing of the mesh.
fn assert_gone(site: &Site) {
    let look =
        "pgrep -l '^mesh'; ip -brief link show dev mesh0; nft list ruleset; wg show interfaces";
    let gone = wait_for("end of the daemons", PATIENCE, || {
        let left = site.said("web1", look);
        (left.trim().is_empty()).then_some(())
    });
    gone.unwrap_or_else(|error| panic!("{error}: {}", site.said("web1", look)));
}

#[test]
fn purged_nothing_is_left_and_rpm_packages_take_the_place() {
    let site = site();
    site.on("web1", &format!("apt-get remove -y {NAMES}"));
    assert_gone(&site);
    site.on(
        "web1",
        "test -e /etc/meshd/ssh.toml && test -e /etc/meshd/trust.json",
    );
    site.on(
        "web1",
        &format!("apt-get purge -y {NAMES}; umount {SHARE} || true"),
    );
    let find = "find / -xdev -iname '*meshd*' -not -path '/proc/*'; ls -d /etc/systemd/system/*/*mesh* || true";
    assert_eq!(site.on("web1", find).stdout, "");

    by_rpm(&site);

    site.on("web1", "rm /etc/pam.d/password-auth /etc/pam.d/postlogin");
    site.install("web1", &OLD_DEBS, WEB1.1);
    join_anew(&site);
    assert_eq!(site.login("id -un"), "alice\n");
}

fn by_rpm(site: &Site) {
    let machine = site.machine("web1");
    for (name, content) in [("password-auth", PASSWORD_AUTH), ("postlogin", POSTLOGIN)] {
        let path = format!("/etc/pam.d/{name}");
        machine.write(&path, content).expect("written");
    }
    site.on("web1", "mkdir -p /etc/yum.repos.d; rpm --initdb");
    dnf(site, "install", "rpm-old");
    let units = "systemctl is-active meshd meshd-ssh; systemctl is-enabled meshd-ssh";
    assert_eq!(site.said("web1", units), "inactive\ninactive\ndisabled\n");
    site.on(
        "web1",
        &format!("rpm --verify {NAMES}; systemctl enable --now meshd"),
    );
    join_anew(site);
    assert_eq!(site.login("id -un; cat /proc/self/loginuid"), "alice\n1000");

    let mut talk = site.talk();
    let listener = "systemctl show meshd-ssh --property MainPID --value";
    let before = site.on("web1", listener).stdout;
    dnf(site, "upgrade", "rpm-new");
    assert_ne!(
        site.on("web1", listener).stdout,
        before,
        "the listener is the old one"
    );
    talk.assert_alive("after the upgrade");
    site.wait_until_reachable();
    assert_eq!(site.login("id -un"), "alice\n");
    drop(talk);

    site.on("web1", &format!("dnf -y remove {NAMES}"));
    assert_gone(site);
    let left = "ls -d /usr/sbin/meshd* /usr/lib/meshd /usr/lib/systemd/system/meshd* 2>/dev/null";
    assert_eq!(site.said("web1", left), "");
    site.on("web1", "rm -rf /var/lib/meshd* /etc/meshd /run/meshd*");
}

/// As a node of the same name, with SSH.
fn join_anew(site: &Site) {
    site.on("control", "meshd-control nodes delete web1");
    site.join("web1", WEB1.2);
    site.on("web1", "systemctl enable --now meshd-ssh");
    site.wait_until_reachable();
}

fn dnf(site: &Site, action: &str, folder: &str) {
    let packages = if folder == "rpm-old" {
        &*OLD_RPMS
    } else {
        &*NEW_RPMS
    };
    assert!(repository::make(packages).ends_with(folder));
    site.mount_share("web1");
    let list = format!("[packages]\nname=packages\nbaseurl=file://{SHARE}/{folder}\ngpgcheck=0\n");
    let machine = site.machine("web1");
    machine
        .write("/etc/yum.repos.d/packages.repo", list)
        .expect("written");
    let dnf = format!("dnf -y --refresh --releasever=9 {action} {NAMES} </dev/null");
    let said = site.on("web1", &dnf).stdout;
    assert!(!said.contains("scriptlet failed"), "{said}");
}
