//! Installation, upgrade and removal by dnf, on a Debian with systemd: scripts, files and names of
//! dependencies are as on Fedora and RHEL, the system below is not.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use meshd_lab::{DEADLINE, Host, Kind, Mesh, Owner};

use crate::building::{NEW_RPMS, OLD_RPMS, succeed};
use crate::debian::asked;
use crate::repository::{self, PASSWORD_AUTH, POSTLOGIN};

#[test]
fn dnf_installs_upgrades_and_erases_and_logins_work_in_between() {
    let hosts = [("laptop", Kind::Plain), ("web1", Kind::Bare)];
    let mut mesh = Mesh::start_with(&hosts).expect("a mesh");
    let web1 = mesh.host("web1");
    prepare(web1);
    dnf(web1, "install", &OLD_RPMS);
    web1.sh("rpm --verify meshd meshd-ssh meshd-control")
        .expect("as packed");
    for unit in ["meshd", "meshd-ssh", "meshd-control"] {
        assert_eq!(asked(web1, "is-active", unit), "inactive", "{unit}");
    }
    assert_eq!(asked(web1, "is-enabled", "meshd-ssh"), "disabled");
    web1.sh("systemctl enable --now meshd meshd-ssh")
        .expect("turned on");
    web1.add_user("alice").expect("an account");

    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    mesh.set_policy(&meshd_lab::policy_for_alice(&["alice"]))
        .expect("a policy");
    mesh.join("laptop", Owner::User("alice@example.com"))
        .expect("joined");
    mesh.join("web1", Owner::Tag("tag:web")).expect("joined");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let look = ["alice@web1", "id -un; cat /proc/self/loginuid"];
    let login = || {
        let done = mesh.ssh("laptop", &look).succeed();
        let done =
            done.unwrap_or_else(|error| panic!("{error}\n{}", mesh.log("web1", "meshd-broker")));
        done.stdout
    };
    assert_eq!(login(), "alice\n1000");

    let web1 = mesh.host("web1");
    web1.sh("echo '# kept' >>/etc/meshd/ssh.toml")
        .expect("a setting");
    let before = main_process(web1);
    dnf(web1, "upgrade", &NEW_RPMS);
    assert_ne!(main_process(web1), before, "the listener is the old one");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_eq!(login(), "alice\n1000");
    let settings = web1.read_text("/etc/meshd/ssh.toml").expect("the settings");
    assert!(settings.ends_with("# kept\n"), "{settings}");

    web1.sh("dnf -y remove meshd meshd-ssh meshd-control")
        .expect("erased");
    assert!(web1.sh("ip link show mesh0").is_err(), "the device stays");
    assert_eq!(
        web1.sh("nft list ruleset").expect("rules").stdout,
        "",
        "rules stay"
    );
    for place in [
        "/usr/sbin/meshd",
        "/usr/lib/meshd",
        "/usr/lib/systemd/system/meshd.service",
    ] {
        assert!(!web1.exists(place), "{place} stays");
    }
}

fn main_process(host: &Host) -> String {
    let shown = host.sh("systemctl show meshd-ssh --property MainPID --value");
    shown.expect("the listener").stdout
}

/// What a system of that family has, as far as the packages ask for it.
fn prepare(host: &Host) {
    host.write("/etc/pam.d/password-auth", PASSWORD_AUTH)
        .expect("written");
    host.write("/etc/pam.d/postlogin", POSTLOGIN)
        .expect("written");
    let repository = "[packages]\nname=packages\nbaseurl=file:///root/packages\ngpgcheck=0\n";
    host.sh("mkdir -p /etc/yum.repos.d && rpm --initdb")
        .expect("a database");
    host.write("/etc/yum.repos.d/packages.repo", repository)
        .expect("written");
}

fn dnf(host: &Host, action: &str, packages: &[PathBuf]) {
    let folder = repository::make(packages);
    let archive = folder.with_extension("tar");
    succeed(
        Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .args([folder.as_path(), ".".as_ref()]),
    );
    let content = fs::read(archive).expect("an archive");
    host.write("/root/packages.tar", content).expect("copied");
    let unpack =
        "rm -rf /root/packages; mkdir /root/packages; tar -xf /root/packages.tar -C /root/packages";
    host.sh(unpack).expect("unpacked");
    let words = ["-y", "--refresh", "--releasever=9", action];
    let dnf = host
        .command("dnf")
        .args(words)
        .args(["meshd", "meshd-ssh", "meshd-control"]);
    let said = dnf.deadline(2 * DEADLINE).succeed().expect("dnf").stdout;
    assert!(!said.contains("scriptlet failed"), "{said}");
}
