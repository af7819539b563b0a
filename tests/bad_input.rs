//! What people get wrong: one sentence that says what to do, a failure, and nothing changed.

use std::time::{Duration, Instant};

use meshd_contract::paths;
use meshd_lab::{DEADLINE, HostCommand, Mesh, Output, Owner, wait_for};

#[path = "bad_input/clock.rs"]
mod clock;
#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/settings.rs"]
mod settings;
#[path = "bad_input/units.rs"]
mod units;

/// What a person has to put right first (EX_CONFIG, sysexits.h).
const NEEDS_A_PERSON: i32 = 78;

const SPARE: &str = "spare";
const OTHER_KEY: &str = "d95HWGmx8QkYrG8jr4bdFOTKmtpCBFaALADr7Az6SEQ=";

/// A mesh of two, and a third host with a manager that has not joined.
fn mesh_with_spare() -> Mesh {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.lan().add(SPARE).expect("a host");
    mesh.start_manager(SPARE).expect("a manager");
    mesh
}

fn refused(command: HostCommand, sentence: &str) -> Option<i32> {
    let line = command.line();
    let output: Output = command.output().expect("an end");
    assert_ne!(output.status.code(), Some(0), "{line}: {output:?}");
    assert!(output.stderr.contains(sentence), "{line}: {output:?}");
    assert_eq!(output.stdout, "", "{line}");
    output.status.code()
}

/// Refused, and systemd does not try it again (RestartPreventExitStatus=).
fn refused_for_good(command: HostCommand, sentence: &str) {
    assert_eq!(refused(command, sentence), Some(NEEDS_A_PERSON));
}

fn up(mesh: &Mesh, key_file: &str) -> HostCommand {
    mesh.host(SPARE)
        .command("mesh")
        .args(["up", "--control", &mesh.control_url()])
        .args(["--auth-key-file", key_file])
}

fn assert_not_joined(mesh: &Mesh) {
    let spare = mesh.host(SPARE);
    let status = spare.command("mesh").arg("status").succeed();
    let status = status.expect("a status").stdout;
    assert!(status.contains("logged out"), "{status}");
    assert!(!spare.exists(paths::TRUST));
    let devices = spare.sh("ls /sys/class/net").expect("devices").stdout;
    assert!(!devices.contains(paths::DEVICE), "{devices}");
    let nodes = mesh.meshd_control(&["nodes", "list"]).expect("nodes");
    assert!(!nodes.stdout.contains(SPARE), "{}", nodes.stdout);
}

#[test]
fn a_join_that_fails_changes_nothing() {
    let mesh = mesh_with_spare();
    let spare = mesh.host(SPARE);
    let key = mesh.auth_key(Owner::Tag("tag:web")).expect("a key");
    let used = mesh.host("web1").read("/run/auth-key").expect("a key");
    spare.write("/run/key", key).expect("a file");
    spare.write("/run/used", used).expect("a file");
    spare.write("/run/wrong", "nonsense\n").expect("a file");

    let to = |url: &str| {
        let options = ["up", "--auth-key-file", "/run/key", "--control", url];
        spare.command("mesh").args(options)
    };
    refused(to("https://192.0.2.2:8443"), "cannot be reached");
    refused(to("https://192.0.2.77:8443"), "cannot be reached");
    refused(
        up(&mesh, "/run/key").args(["--control-key", OTHER_KEY]),
        "does not have the expected key",
    );
    refused(
        up(&mesh, "/run/key").args(["--control-key", "x"]),
        "a key is 32 bytes in base64",
    );
    refused(up(&mesh, "/run/none"), "/run/none cannot be read");
    refused(up(&mesh, "/run/wrong"), "meshd-control authkeys create");
    refused(up(&mesh, "/run/used"), "this auth key has been used");
    refused(
        up(&mesh, "/run/key").args(["--name", "laptop"]),
        "the name laptop belongs to another node",
    );
    refused(
        up(&mesh, "/run/key").arg("--ssh"),
        "systemctl enable --now meshd-ssh",
    );
    refused(up(&mesh, "/run/key").user("daemon"), "needs root");
    assert_not_joined(&mesh);
    up(&mesh, "/run/key").succeed().expect("the key is unused");
}

#[test]
fn an_expired_key_is_refused() {
    let mesh = mesh_with_spare();
    let created = Instant::now();
    let key = mesh
        .meshd_control(&["authkeys", "create", "--tag", "tag:web", "--expires", "1s"])
        .expect("a key");
    mesh.host(SPARE)
        .write("/run/key", key.stdout)
        .expect("a file");
    wait_for("end of the key", DEADLINE, || {
        (created.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .expect("it ends");
    refused(up(&mesh, "/run/key"), "expired");
    assert_not_joined(&mesh);
}

#[test]
fn a_policy_with_a_fault_is_refused_with_its_place() {
    let mesh = Mesh::start(&[]).expect("control");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    mesh.set_policy(&meshd_lab::policy_for_alice(&["alice"]))
        .expect("saved");
    let before = mesh.meshd_control(&["policy", "get"]).expect("a policy");
    let control = mesh.host("control");
    control
        .write(
            "/tmp/faulty",
            "{\n  \"ssh\": [\n    {\"action\": }\n  ],\n}\n",
        )
        .expect("a file");
    let set = mesh.control_command(&["policy", "set", "/tmp/faulty"]);
    refused(set, "line 3, column 16");
    let set = mesh.control_command(&["policy", "set", "/tmp/none"]);
    refused(set, "/tmp/none");
    let after = mesh.meshd_control(&["policy", "get"]).expect("a policy");
    assert_eq!(after.stdout, before.stdout);
}

#[test]
fn a_manager_says_what_it_lacks() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    let meshd = || laptop.command("/usr/sbin/meshd");
    refused_for_good(meshd(), "meshd does not run as root");
    refused_for_good(meshd().user("meshd"), "AmbientCapabilities=CAP_NET_ADMIN");
    let unknown = meshd().arg("--no-such-flag");
    assert_eq!(refused(unknown, "unexpected argument"), Some(2));
    refused(mesh.manager_command("laptop"), "another meshd answers");
    mesh.take_manager("laptop").stop().expect("stopped");
    let state = format!("{}/state.json", paths::MANAGER_STATE);
    let laptop = mesh.host("laptop");
    let whole = laptop.read(&state).expect("a state");
    laptop.write(&state, "{\"half").expect("written");
    let sentence = format!("the state file {state} cannot be read (line 1");
    refused_for_good(mesh.manager_command("laptop"), &sentence);
    assert_eq!(laptop.read_text(&state).expect("a state"), "{\"half");
    laptop.write(&state, whole).expect("written");
    mesh.start_manager("laptop").expect("it starts again");
}

#[test]
fn without_a_tun_device_userspace_wireguard_says_so() {
    let mut mesh = Mesh::start(&["laptop"]).expect("a mesh");
    mesh.host("laptop").sh("rm /dev/net/tun").expect("removed");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    let joined = mesh.join("laptop", Owner::User("alice@example.com"));
    let said = joined.expect_err("a failure").to_string();
    assert!(said.contains("/dev/net/tun"), "{said}");
}

#[test]
fn without_nft_a_host_does_not_join() {
    let mesh = mesh_with_spare();
    let key = mesh.auth_key(Owner::Tag("tag:web")).expect("a key");
    let spare = mesh.host(SPARE);
    spare.write("/run/key", key).expect("a file");
    spare
        .sh("mv /usr/sbin/nft /usr/sbin/nft-away")
        .expect("moved");
    refused(up(&mesh, "/run/key"), "install the package nftables");
    assert_not_joined(&mesh);
    spare
        .sh("mv /usr/sbin/nft-away /usr/sbin/nft")
        .expect("moved back");
    up(&mesh, "/run/key").succeed().expect("the key is unused");
}

#[test]
fn without_a_manager_the_command_says_how_to_start_it() {
    let mesh = Mesh::start(&["laptop"]).expect("a mesh");
    let status = mesh.host("laptop").command("mesh").arg("status");
    refused(status, "systemctl enable --now meshd");
}

#[test]
fn a_port_in_use_is_named() {
    let mut mesh = Mesh::start(&["laptop"]).expect("a mesh");
    let control = mesh.host("control");
    let second = control
        .command("/usr/sbin/meshd-control")
        .args([
            "--socket",
            "/tmp/second.sock",
            "serve",
            "--state",
            "/tmp/second",
        ])
        .user("meshd-control");
    refused(second, "port 8443 is in use");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    let laptop = mesh.host("laptop");
    let hold = "use Socket; socket(S, AF_INET, SOCK_DGRAM, 0) or die; \
                bind(S, sockaddr_in(51820, INADDR_ANY)) or die; \
                open(F, '>', '/tmp/held'); close(F); sleep 1000";
    let _held = laptop
        .command("perl")
        .args(["-e", hold])
        .spawn()
        .expect("perl");
    mesh.wait_for_file("laptop", "/tmp/held").expect("a port");
    let joined = mesh.join("laptop", Owner::User("alice@example.com"));
    let said = joined.expect_err("a failure").to_string();
    assert!(said.contains("51820"), "{said}");
}
