//! Who gets in, and as whom.

use meshd_lab::{DEADLINE, Mesh, Output, policy_for_alice, policy_with, wait_for};

const OTHER_LOGIN: &str = "meshd: policy does not permit you to SSH as user";

fn log_in(mesh: &Mesh, login: &str) -> Output {
    let ssh = mesh.ssh("laptop", &["-l", login, "web1", "id -un; id -u"]);
    ssh.output().expect("an end")
}

fn assert_accepted(mesh: &Mesh, login: &str) {
    let uid = mesh.host("web1").command("id").args(["-u", login]);
    let uid = uid.succeed().expect("an account").stdout;
    let output = log_in(mesh, login);
    assert!(output.status.success(), "{login}: {output:?}");
    assert_eq!(output.stdout, format!("{login}\n{uid}"));
}

fn assert_denied(mesh: &Mesh, login: &str) {
    let output = log_in(mesh, login);
    assert_eq!(output.status.code(), Some(255), "{login}: {output:?}");
    assert_eq!(output.stdout, "", "{login}");
    let banner = format!("{OTHER_LOGIN} {login:?}");
    assert!(output.stderr.contains(&banner), "{login}: {output:?}");
}

#[test]
fn the_policy_says_who_may_become_whom() {
    let mesh = Mesh::of_two().expect("a mesh");
    assert_accepted(&mesh, "alice");
    for login in ["bob", "root", "nobody-of-this-name", "daemon"] {
        assert_denied(&mesh, login);
    }
    mesh.change_policy(&policy_for_alice(&["bob", "root"]))
        .expect("saved");
    assert_accepted(&mesh, "bob");
    assert_accepted(&mesh, "root");
    assert_denied(&mesh, "alice");
    mesh.change_policy(&policy_with("")).expect("saved");
    let output = log_in(&mesh, "bob");
    let banner = "meshd: policy does not permit you to SSH to this node";
    assert!(output.stderr.contains(banner), "{output:?}");
}

#[test]
fn nonroot_is_a_matter_of_the_user_id() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.sh(
        "useradd --non-unique --uid 0 --gid 0 --no-create-home --home-dir /root -s /bin/bash toor",
    )
    .expect("an account");
    mesh.change_policy(&policy_for_alice(&["autogroup:nonroot"]))
        .expect("saved");
    assert_accepted(&mesh, "alice");
    assert_accepted(&mesh, "bob");
    assert_denied(&mesh, "toor");
    assert_denied(&mesh, "root");
}

#[test]
fn a_number_or_an_option_is_no_login() {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.change_policy(&policy_for_alice(&["autogroup:nonroot", "root"]))
        .expect("saved");
    assert_accepted(&mesh, "root");
    for login in [
        "-i",
        "0",
        "00",
        " 0",
        "+0",
        "0+password",
        "1000",
        "alice ",
        "ALICE",
    ] {
        let output = log_in(&mesh, login);
        assert_eq!(output.status.code(), Some(255), "{login:?}: {output:?}");
        assert_eq!(output.stdout, "", "{login:?}");
    }
}

#[test]
fn the_accounts_own_limits_count() {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.change_policy(&policy_for_alice(&["alice", "bob", "carol"]))
        .expect("saved");
    let web1 = mesh.host("web1");
    web1.sh("useradd -m -s /usr/sbin/nologin carol; chage --expiredate 1 bob")
        .expect("accounts");
    assert_accepted(&mesh, "alice");
    for login in ["bob", "carol"] {
        let output = log_in(&mesh, login);
        assert_eq!(output.status.code(), Some(255), "{login}: {output:?}");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("meshd: "), "{login}: {output:?}");
    }
    web1.sh("usermod --lock alice").expect("locked");
    assert_accepted(&mesh, "alice");
}

#[test]
fn plain_ssh_trusts_the_host_keys_of_the_mesh_by_name_and_by_address() {
    let mesh = Mesh::of_two().expect("a mesh");
    let v4 = mesh.address("web1").to_string();
    for name in ["web1", "web1.mesh.internal", &v4] {
        let output = mesh.ssh("laptop", &[&format!("alice@{name}"), "hostname"]);
        assert_eq!(output.succeed().expect("a login").stdout, "web1\n");
    }
    assert!(!mesh.host("laptop").exists("/root/.ssh/known_hosts"));
    let elsewhere = mesh.ssh("laptop", &["alice@192.0.2.1", "true"]).output();
    let elsewhere = elsewhere.expect("an end");
    assert!(
        elsewhere.stderr.contains("Connection refused"),
        "{elsewhere:?}"
    );
}

#[test]
fn both_addresses_serve() {
    let mesh = Mesh::of_two().expect("a mesh");
    for family in ["-4", "-6"] {
        let output = mesh.ssh("laptop", &[family, "alice@web1", "echo $SSH_CONNECTION"]);
        let connection = output.succeed().expect("a login").stdout;
        assert_eq!(connection.contains(':'), family == "-6", "{connection}");
        assert!(connection.trim_end().ends_with(" 22"), "{connection}");
    }
}

#[test]
fn a_client_that_insists_on_a_password_gets_in_with_any() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    laptop
        .write("/root/ask", "#!/bin/sh\necho whatever\n")
        .expect("a file");
    laptop.sh("chmod +x /root/ask").expect("a program");
    let output = laptop
        .command("ssh")
        .args([
            "-o",
            "PreferredAuthentications=password",
            "alice+password@web1",
        ])
        .arg("id -un")
        .env("SSH_ASKPASS", "/root/ask")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .succeed()
        .expect("a login");
    assert_eq!(output.stdout, "alice\n");
}

/// As when sshd is installed after meshd.
#[test]
fn a_host_key_that_comes_later_is_served_and_soon_known() {
    let mesh = Mesh::of_two().expect("a mesh");
    assert_accepted(&mesh, "alice");
    mesh.host("web1")
        .sh("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
        .expect("a key");
    let key = mesh
        .host("web1")
        .sh("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub");
    let key = key.expect("a key").stdout.trim().to_owned();
    wait_for("the new key's line", DEADLINE, || {
        let known = mesh.host("laptop").command("mesh");
        let known = known.args(["known-hosts", "web1"]).output().ok()?;
        known.stdout.contains(&key).then_some(())
    })
    .expect("known");
    assert_accepted(&mesh, "alice");
}
