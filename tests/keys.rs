//! Control's key is replaced: hosts follow, and the old key is worth nothing afterwards.

use std::path::Path;
use std::time::Duration;

use meshd_contract::key::PrivateKey;
use meshd_contract::keyring::{KeyRotation, write_rotations};
use meshd_contract::paths;
use meshd_contract::time::Timestamp;
use meshd_lab::{CONTROL, DEADLINE, Mesh, Owner, policy_for_alice, wait_for};

mod site;

use site::Site;

/// Where the lab's control keeps everything.
const CONTROL_STATE: &str = "/var/lib/meshd-control";
/// Where a thief keeps a copy of it.
const COPY: &str = "/tmp/copy";

fn rotate(mesh: &Mesh, arguments: &[&str]) -> String {
    let rotate = ["keys", "rotate"].iter().chain(arguments);
    let arguments: Vec<&str> = rotate.copied().collect();
    mesh.meshd_control(&arguments).expect("a new key");
    mesh.control_key().expect("a key")
}

fn status(mesh: &Mesh, host: &str) -> serde_json::Value {
    let status = mesh.host(host).command("mesh").args(["status", "--json"]);
    let status = status.succeed().expect("a status").stdout;
    serde_json::from_str(&status).expect("JSON")
}

/// Waits until a host is connected to control and knows it by its present key.
fn wait_until_followed(mesh: &Mesh, host: &str) {
    let printed = mesh.meshd_control(&["key"]).expect("a key").stdout;
    let fingerprint = printed.split_whitespace().last().expect("a fingerprint");
    wait_for("the new key", DEADLINE, || {
        let control = &status(mesh, host)["control"];
        (control["fingerprint"] == fingerprint && control["connected"] == true).then_some(())
    })
    .expect("followed");
}

fn assert_login(mesh: &Mesh) {
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

/// `mesh up` as a person or a program of the operator's runs it again.
fn up_again(mesh: &Mesh, key: &str) -> meshd_lab::Result<meshd_lab::Output> {
    let up = mesh.host("web1").command("mesh").arg("up");
    let up = up.args(["--control", &mesh.control_url()]);
    up.args(["--control-key", key]).succeed()
}

#[test]
fn a_rotation_ends_no_session_and_refuses_no_login() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    let old = mesh.control_key().expect("a key");
    let new = rotate(&mesh, &[]);
    assert_login(&mesh);
    for host in ["laptop", "web1"] {
        wait_until_followed(&mesh, host);
    }
    talk.assert_alive("after the rotation");
    assert_login(&mesh);

    for host in ["laptop", "web1"] {
        mesh.take_manager(host).stop().expect("stopped");
        mesh.start_manager(host).expect("started");
        wait_until_followed(&mesh, host);
    }
    mesh.take_broker("web1").stop().expect("stopped");
    mesh.start_broker("web1").expect("started");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    talk.assert_alive("after restarts");

    let pinned = |mesh: &Mesh| mesh.host("web1").read_text(paths::TRUST).expect("a pin");
    let pin = pinned(&mesh);
    assert!(pin.contains(&old), "{pin}");
    for key in [&old, &new] {
        up_again(&mesh, key).expect("the same mesh");
        assert_eq!(pinned(&mesh), pin);
    }
    let other = PrivateKey::from_seed(&[9; 32]).public().to_string();
    let refused = up_again(&mesh, &other)
        .expect_err("another mesh")
        .to_string();
    assert!(refused.contains("trusts the control key"), "{refused}");
    mesh.host("web1")
        .command("mesh")
        .arg("up")
        .succeed()
        .expect("up");

    // Whoever puts the pin in place by hand may put the new key there.
    mesh.host("web1")
        .write(paths::TRUST, pin.replace(&old, &new))
        .expect("a pin");
    assert_login(&mesh);
    up_again(&mesh, &new).expect("the same mesh");
    assert_login(&mesh);
    talk.assert_alive("to the end");
}

#[test]
fn a_host_that_was_away_follows_all_rotations() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    assert_login(&mesh);
    for host in ["laptop", "web1"] {
        mesh.take_manager(host).stop().expect("stopped");
    }
    for _time in 0..3 {
        rotate(&mesh, &["--overlap", "none"]);
    }
    for host in ["laptop", "web1"] {
        mesh.start_manager(host).expect("started");
        wait_until_followed(&mesh, host);
    }
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    let known = mesh
        .host("laptop")
        .command("mesh")
        .args(["known-hosts", "web1"]);
    assert!(
        known
            .succeed()
            .expect("keys")
            .stdout
            .contains("ssh-ed25519")
    );
}

#[test]
fn how_far_a_host_followed_is_written_down_though_nobody_logs_in() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let seen = Path::new(paths::BROKER_STATE).join("seen.json");
    let has = |mesh: &Mesh, key: &str| {
        let text = mesh.host("web1").read_text(&seen);
        text.is_ok_and(|text| text.contains(key))
    };
    let wait_until_written = |mesh: &Mesh, key: &str| {
        let written = wait_for("the key in root's file", DEADLINE, || {
            has(mesh, key).then_some(())
        });
        written.unwrap_or_else(|error| panic!("{error}: {key}"));
    };
    let while_on = rotate(&mesh, &[]);
    wait_until_written(&mesh, &while_on);

    mesh.take_broker("web1").stop().expect("SSH is off");
    let while_off = rotate(&mesh, &[]);
    wait_until_followed(&mesh, "web1");
    assert!(!has(&mesh, &while_off));
    mesh.start_broker("web1").expect("SSH is on");
    wait_until_written(&mesh, &while_off);
    assert_login(&mesh);
}

#[test]
fn a_new_host_joins_by_the_key_of_before() {
    let mesh = Mesh::of_two().expect("a mesh");
    let old = mesh.control_key().expect("a key");
    rotate(&mesh, &["--overlap", "none"]);
    mesh.host("web1")
        .command("mesh")
        .arg("logout")
        .succeed()
        .expect("left");
    let key = mesh
        .auth_key(Owner::User("alice@example.com"))
        .expect("an auth key");
    mesh.host("web1")
        .write("/tmp/auth-key", key)
        .expect("a file");
    let up = mesh.host("web1").command("mesh").arg("up");
    let up = up.args(["--control", &mesh.control_url()]);
    let up = up.args(["--control-key", &old, "--auth-key-file", "/tmp/auth-key"]);
    up.succeed().expect("joins");
    wait_until_followed(&mesh, "web1");
}

#[test]
fn a_thief_of_the_old_key_is_believed_by_no_host() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let control = mesh.host(CONTROL);
    control
        .sh(&format!("cp -a {CONTROL_STATE} {COPY}"))
        .expect("a copy");
    rotate(&mesh, &["--overlap", "none"]);
    for host in ["laptop", "web1"] {
        wait_until_followed(&mesh, host);
    }
    assert_login(&mesh);

    mesh.take_control().stop().expect("stopped");
    let swap = format!("mv {CONTROL_STATE} /tmp/own; mv {COPY} {CONTROL_STATE}");
    mesh.host(CONTROL).sh(&swap).expect("swapped");
    mesh.start_control().expect("the thief's");
    mesh.set_policy(&policy_for_alice(&["root"]))
        .expect("a policy");
    for host in ["laptop", "web1"] {
        wait_for("a refusal", Duration::from_secs(90), || {
            let problem = status(&mesh, host)["problem"].to_string();
            problem
                .contains("does not have the expected key")
                .then_some(())
        })
        .expect("refused");
    }
    assert_login(&mesh);
    let root = mesh
        .ssh("laptop", &["root@web1", "id"])
        .output()
        .expect("ssh");
    assert!(!root.status.success(), "{}", root.stdout);

    mesh.take_control().stop().expect("stopped");
    let back = format!("rm -r {CONTROL_STATE}; mv /tmp/own {CONTROL_STATE}");
    mesh.host(CONTROL).sh(&back).expect("swapped back");
    mesh.start_control().expect("control");
    for host in ["laptop", "web1"] {
        wait_until_followed(&mesh, host);
    }
    assert_login(&mesh);
}

/// The manager is the thief's: it may write what it likes into the files that root's worker reads.
#[test]
fn a_manager_with_the_old_key_lets_nobody_in() {
    let mut site = Site::start("");
    let next = PrivateKey::from_seed(&[2; 32]);
    let thief = PrivateKey::from_seed(&[3; 32]);
    let old = site.control.clone();
    let rotate = |site: &Site, list: &[(&PrivateKey, &PrivateKey)]| {
        let sealed = list.iter().map(|(from, to)| {
            let rotation = KeyRotation {
                old_key: from.public(),
                new_key: to.public(),
                issued_at: Timestamp(1),
                old_ends_at: Timestamp(2),
            };
            rotation.seal(from).expect("seals")
        });
        let list = write_rotations(&sealed.collect::<Vec<_>>()).expect("a list");
        site.lan
            .host("web1")
            .write(paths::KEY_ROTATIONS, list)
            .expect("a file");
    };
    let answer = |site: &Site| {
        let _ = site.lan.host("web1").sh("rm -f /tmp/offer.log");
        site.call().0
    };
    assert!(answer(&site).starts_with("Bound"));

    rotate(&site, &[(&old, &next)]);
    assert!(
        answer(&site).contains("signature"),
        "the old key's time is over"
    );
    site.control = next.clone();
    let mut document = site::document();
    document.header.version.0 += 1;
    site.bring(&document);
    assert!(answer(&site).starts_with("Bound"));

    document.header.version.0 += 1;
    for (rotations, signer) in [
        (vec![(&old, &next)], &old),
        (vec![(&old, &thief)], &thief),
        (vec![(&old, &next), (&old, &thief)], &thief),
        (vec![], &old),
    ] {
        rotate(&site, &rotations);
        site.control = signer.clone();
        site.bring(&document);
        let refused = answer(&site);
        assert!(
            refused.starts_with("Refused") && refused.contains("signature"),
            "{refused}"
        );
    }
    site.control = next;
    site.bring(&document);
    assert!(
        answer(&site).starts_with("Bound"),
        "the new key is known even with no list"
    );
}
