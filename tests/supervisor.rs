//! Without systemd: the daemons under runit's runsv(8), by the scripts in `packaging/runit`.

use std::path::Path;

use meshd_contract::paths;
use meshd_lab::{DEADLINE, Host, Kind, Mesh, Owner, Running, policy_for_alice, wait_for};

const SERVICES: &str = "/etc/meshd-services";

const ALICE: &str = "alice@example.com";

/// Puts a service's scripts where runsvdir(8) finds them.
fn add(host: &Host, service: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/runit");
    let place = format!("/etc/sv/{service}");
    host.sh(&format!("mkdir -p {place} {SERVICES}"))
        .expect("folders");
    let run = scripts.join(service).join("run");
    for (script, source) in [("run", run), ("finish", scripts.join("finish"))] {
        let text = std::fs::read(source).expect("a script");
        host.write(format!("{place}/{script}"), text)
            .expect("written");
    }
    host.sh(&format!("chmod +x {place}/* && ln -s {place} {SERVICES}/"))
        .expect("a service");
}

const LOG: &str = "/var/log/runsvdir";

fn log(host: &Host) -> String {
    host.read_text(LOG).expect("the log")
}

fn supervise(host: &Host) -> Running {
    let log = host.append(LOG).expect("a log");
    let runsvdir = host.command("runsvdir").arg(SERVICES);
    let hint = "apt-get install --no-install-recommends runit";
    assert!(host.exists("/usr/bin/runsvdir"), "{hint}");
    runsvdir.spawn_into(&log).expect("runsvdir")
}

/// The number of the process that a service runs now; none while it does not.
fn pid(host: &Host, service: &str) -> Option<String> {
    let asked = host.sh(&format!("sv status {SERVICES}/{service}")).ok()?;
    let up = asked.stdout.strip_prefix("run: ")?.to_owned();
    let (_, rest) = up.split_once("(pid ")?;
    Some(rest.split_once(')')?.0.to_owned())
}

fn wait_for_another(host: &Host, service: &str, old: Option<&str>) -> String {
    wait_for(&format!("start of {service}"), DEADLINE, || {
        pid(host, service).filter(|new| old != Some(new))
    })
    .expect("it runs")
}

#[test]
fn logins_and_sessions_under_a_plain_supervisor() {
    let hosts = [("laptop", Kind::Plain), ("web1", Kind::Plain)];
    let mut mesh = Mesh::start_with(&hosts).expect("a mesh");
    mesh.meshd_control(&["users", "create", ALICE])
        .expect("a user");
    mesh.set_policy(&policy_for_alice(&["alice"]))
        .expect("a policy");
    mesh.join("laptop", Owner::User(ALICE)).expect("joined");
    let key = mesh.auth_key(Owner::Tag("tag:web")).expect("a key");
    let web1 = mesh.host("web1");
    web1.add_user("alice").expect("an account");
    for service in ["meshd", "meshd-ssh"] {
        add(web1, service);
    }
    let _runsvdir = supervise(web1);
    let manager = wait_for_another(web1, "meshd", None);
    let broker = wait_for_another(web1, "meshd-ssh", None);
    for socket in [paths::MANAGER_SOCKET, paths::BROKER_SOCKET] {
        mesh.wait_for_file("web1", socket).expect("it serves");
    }
    web1.write("/root/key", key).expect("written");
    let up = web1.command("mesh").args(["up", "--ssh"]);
    up.args(["--control", &mesh.control_url()])
        .args(["--auth-key-file", "/root/key"])
        .succeed()
        .expect("joined");
    mesh.wait_until_reachable("laptop", "web1")
        .unwrap_or_else(|error| panic!("{error}\n{}", log(web1)));
    let privilege = web1.sh(&format!(
        "grep -E '^(Uid|CapEff|CapBnd)' /proc/{manager}/status"
    ));
    let privilege = privilege.expect("the manager").stdout;
    assert!(!privilege.contains("Uid:\t0"), "{privilege}");
    for set in ["CapEff", "CapBnd"] {
        let only_net_admin = format!("{set}:\t0000000000001000");
        assert!(privilege.contains(&only_net_admin), "{privilege}");
    }

    let mut talk = mesh.talk();
    talk.assert_alive("first");
    web1.sh(&format!("sv restart {SERVICES}/meshd {SERVICES}/meshd-ssh"))
        .expect("restarted");
    let manager = wait_for_another(web1, "meshd", Some(&manager));
    let broker = wait_for_another(web1, "meshd-ssh", Some(&broker));
    talk.assert_alive("after a restart");
    web1.sh(&format!("kill -KILL {manager} {broker}"))
        .expect("killed");
    wait_for_another(web1, "meshd", Some(&manager));
    wait_for_another(web1, "meshd-ssh", Some(&broker));
    talk.assert_alive("after a crash");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let login = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(login.expect("a login").stdout, "alice\n");
}

#[test]
fn what_a_person_has_to_put_right_is_not_tried_again() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    laptop
        .write(paths::SSH_CONFIG, "no_such_setting = 1\n")
        .expect("written");
    add(laptop, "meshd-ssh");
    let _runsvdir = supervise(laptop);
    wait_for("the end of tries", DEADLINE, || {
        let status = laptop.sh(&format!("sv status {SERVICES}/meshd-ssh")).ok()?;
        status.stdout.starts_with("down: ").then_some(())
    })
    .expect("it stays down");
    // The service's logger may be a little behind.
    let tries = wait_for("its words", DEADLINE, || {
        let tries = log(laptop).matches("is not in order").count();
        (tries > 0).then_some(tries)
    });
    assert_eq!(tries.expect("its words"), 1, "{}", log(laptop));
}
