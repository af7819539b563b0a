//! Installation, upgrade and removal on a Debian with systemd, by apt.

use meshd_lab::{DEADLINE, Host, Kind, Mesh, Owner, wait_for};
use std::path::PathBuf;

use crate::building::{NEW_DEBS, OLD_DEBS};

/// `laptop`, and `web1` with the packages of the older version, joined and with SSH on; alice may
/// become alice and root there.
fn installed() -> Mesh {
    let hosts = [("laptop", Kind::Plain), ("web1", Kind::Bare)];
    let mut mesh = Mesh::start_with(&hosts).expect("a mesh");
    let web1 = mesh.host("web1");
    install(web1, &OLD_DEBS);
    assert_eq!(asked(web1, "is-active", "meshd"), "active");
    assert_eq!(asked(web1, "is-enabled", "meshd"), "enabled");
    assert_eq!(asked(web1, "is-active", "meshd-ssh"), "inactive");
    assert_eq!(asked(web1, "is-enabled", "meshd-ssh"), "disabled");
    web1.add_user("alice").expect("an account");

    let alice = ["users", "create", "alice@example.com"];
    mesh.meshd_control(&alice).expect("a user");
    let policy = meshd_lab::policy_for_alice(&["alice", "root"]);
    mesh.set_policy(&policy).expect("a policy");
    mesh.join("laptop", Owner::User("alice@example.com"))
        .expect("joined");
    mesh.join("web1", Owner::Tag("tag:web")).expect("joined");
    let enable = mesh.host("web1").sh("systemctl enable --now meshd-ssh");
    enable.expect("SSH turned on");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    mesh
}

pub(crate) fn install(host: &Host, packages: &[PathBuf]) {
    copy(host, packages);
    let apt = host.command("sh").args(["-c", INSTALL]);
    apt.deadline(4 * DEADLINE).succeed().expect("installed");
}

/// Keeps changed configuration files, as an administrator who is asked would; without a network
/// there are no lists of packages, and none are needed.
const INSTALL: &str = "DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades \
     -o Dpkg::Options::=--force-confold /root/packages/*.deb </dev/null";

fn copy(host: &Host, packages: &[PathBuf]) {
    host.sh("rm -rf /root/packages && mkdir /root/packages")
        .expect("a folder");
    for package in packages {
        let name = package.file_name().expect("a name").to_string_lossy();
        let content = std::fs::read(package).expect("a package");
        host.write(format!("/root/packages/{name}"), content)
            .expect("copied");
    }
}

pub(crate) fn asked(host: &Host, question: &str, unit: &str) -> String {
    let output = host.command("systemctl").args([question, unit]).output();
    output.expect("systemctl answers").stdout.trim().to_owned()
}

#[test]
fn installed_it_serves_logins_once_root_turns_ssh_on() {
    let mesh = installed();
    let login = mesh.ssh(
        "laptop",
        &[
            "alice@web1",
            "id -un; loginctl show-session $XDG_SESSION_ID -p Service",
        ],
    );
    let said = login.succeed().expect("a login").stdout;
    assert_eq!(said, "alice\nService=meshd-ssh\n");
}

#[test]
fn an_upgrade_over_a_session_of_its_own_ends_none_and_new_logins_use_the_new_code() {
    let mesh = installed();
    let web1 = mesh.host("web1");
    web1.sh("echo 'minimum_uid = 1' >>/etc/meshd/ssh.toml")
        .expect("a setting");
    let mut talk = mesh.talk();
    talk.assert_alive("before");

    for (packages, word) in [(&*NEW_DEBS, "upgraded"), (&*OLD_DEBS, "downgraded")] {
        copy(web1, packages);
        let script = format!("{INSTALL} && echo {word}");
        let session = mesh.ssh("laptop", &["root@web1", &script]);
        let said = session
            .deadline(4 * DEADLINE)
            .succeed()
            .expect("a session that lives")
            .stdout;
        assert!(said.ends_with(&format!("{word}\n")), "{said}");
        talk.assert_alive(word);
        mesh.wait_until_reachable("laptop", "web1")
            .expect("reachable");
        let place = "readlink /proc/$PPID/exe";
        let login = mesh.ssh("laptop", &["root@web1", place]);
        let worker = login.succeed().expect("a login").stdout;
        assert_eq!(
            worker, "/usr/sbin/meshd-broker\n",
            "a worker of the newer program"
        );
        let kept = web1.read_text("/etc/meshd/ssh.toml").expect("the settings");
        assert!(kept.ends_with("minimum_uid = 1\n"), "{kept}");
        assert_eq!(asked(web1, "is-enabled", "meshd-ssh"), "enabled");
    }
    let old = web1.sh("ls -l /proc/[0-9]*/exe 2>/dev/null | grep -c 'meshd-broker (deleted)'");
    assert_eq!(
        old.expect("workers").stdout,
        "1\n",
        "the first session's worker"
    );
}

#[test]
fn removed_and_purged_it_leaves_nothing_but_its_accounts() {
    let mesh = installed();
    let web1 = mesh.host("web1");
    let login = mesh.ssh("laptop", &["alice@web1", "true"]);
    login.succeed().expect("a login");

    let names = "meshd meshd-ssh meshd-control";
    web1.sh(&format!("apt-get remove -y {names}"))
        .expect("removed");
    wait_for("end of the daemons", DEADLINE, || {
        let all = web1.processes().ok()?;
        all.iter()
            .all(|process| !process.name.starts_with("mesh"))
            .then_some(())
    })
    .expect("no process stays");
    assert!(web1.sh("ip link show mesh0").is_err(), "the device stays");
    let rules = web1.sh("nft list ruleset").expect("the rules").stdout;
    assert_eq!(rules, "", "rules stay");
    assert!(
        web1.exists("/etc/meshd/ssh.toml"),
        "settings go before the purge"
    );
    assert!(
        web1.exists("/etc/meshd/trust.json"),
        "the membership goes before the purge"
    );

    web1.sh(&format!("apt-get purge -y {names}; rm -r /root/packages"))
        .expect("purged");
    let left = web1.sh("find / -xdev -iname '*meshd*' -not -path '/proc/*'; ls -d /etc/systemd/system/*/*mesh* || true");
    assert_eq!(left.expect("what is left").stdout, "");
}
