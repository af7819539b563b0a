//! Upgrade and downgrade by apt, in sessions of the mesh.

use crate::building::{NEW, NEW_DEBS, OLD, OLD_DEBS};
use crate::site::{APT, Site, packages_in_share, site};

/// The device and its key: the same from before to after.
const DEVICE: &str = "cat /sys/class/net/mesh0/ifindex; wg show mesh0 public-key";

fn version(site: &Site) -> String {
    let ask = "dpkg-query --show --showformat '${Version}' meshd-ssh";
    let version = site.on("web1", ask).stdout;
    version.split('-').next().expect("a version").to_owned()
}

#[test]
fn an_upgrade_within_a_session_ends_none_and_new_logins_use_the_new_code() {
    let site = site();
    let mut talk = site.talk();
    let device = site.on("web1", DEVICE).stdout;
    site.on("web1", "echo '# kept' >>/etc/meshd/ssh.toml");
    for (packages, number) in [(&*NEW_DEBS, NEW), (&*OLD_DEBS, OLD)] {
        let files = packages_in_share(packages, &["meshd", "meshd-ssh"]);
        let upgrade = format!("root@web1 '{APT} {files} </dev/null && echo done in $PPID'");
        let said = site.ssh(&upgrade).succeed().expect("a session that lives");
        let last = said.stdout.lines().last().expect("words").to_owned();
        let worker = last
            .strip_prefix("done in ")
            .expect("the end of the upgrade");
        assert_eq!(version(&site), number);
        talk.assert_alive(number);
        site.wait_until_reachable();
        let login = site.ssh("root@web1 'readlink /proc/$PPID/exe'").succeed();
        let code = login.expect("a login").stdout;
        assert_eq!(
            code, "/usr/sbin/meshd-broker\n",
            "of the worker of a new login"
        );
        let is_gone = format!("[ ! -e /proc/{worker} ] && echo gone");
        assert_eq!(
            site.said("web1", &is_gone),
            "gone\n",
            "the worker of the upgrade"
        );
        let settings = site.on("web1", "cat /etc/meshd/ssh.toml").stdout;
        assert!(settings.ends_with("# kept\n"), "{settings}");
        let units = "systemctl is-active meshd meshd-ssh; systemctl is-enabled meshd meshd-ssh";
        assert_eq!(
            site.on("web1", units).stdout,
            "active\nactive\nenabled\nenabled\n"
        );
    }
    let replaced = "ls -l /proc/[0-9]*/exe 2>/dev/null | grep -c 'meshd-broker (deleted)'";
    assert_eq!(
        site.on("web1", replaced).stdout,
        "1\n",
        "the first session's worker"
    );
    assert_eq!(
        site.on("web1", DEVICE).stdout,
        device,
        "the device was made anew"
    );
}
