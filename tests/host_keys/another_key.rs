//! Host keys that are not, or no longer, those of a node.

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::world::{WHO, assert_logs_in, new_key, write_own};

const CHANGED: &str = "REMOTE HOST IDENTIFICATION HAS CHANGED";

/// An sshd of another key takes the connections to `web1`, as whoever has its address could.
const IMPOSTOR: &str = "
set -e
mkdir -p /run/sshd
/usr/sbin/sshd -p 2223 -h /root/impostor -o PidFile=none -o HostKeyAlgorithms=ssh-ed25519
nft 'add table inet impostor
add chain inet impostor in { type nat hook prerouting priority -150; }
add rule inet impostor in iifname mesh0 tcp dport 22 redirect to :2223'
";

#[test]
fn another_host_on_the_address_is_refused() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    assert_logs_in(&mesh, &["alice@web1"]);
    let key = new_key(mesh.host("web1"), "impostor");
    mesh.host("web1").sh(IMPOSTOR).expect("an impostor");
    // Whoever has once believed the other key is not deceived either.
    write_own(&mesh, "known_hosts", &format!("web1 {key}\n"));
    let v4 = mesh.address("web1").to_string();
    for host in ["web1", &v4] {
        let output = mesh.ssh("laptop", &["-l", "alice", host, WHO]).output();
        let output = output.expect("an end");
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        assert!(output.stderr.contains(CHANGED), "{output:?}");
    }
    let by_mesh = mesh.host("laptop").command("mesh");
    let output = by_mesh.args(["ssh", "alice@web1", WHO]).output();
    let output = output.expect("an end");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(output.stderr.contains(CHANGED), "{output:?}");
}

#[test]
fn on_another_port_a_nodes_own_key_is_trusted_and_any_other_is_asked_about() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    new_key(web1, "other");
    let keys = "mkdir -p /run/sshd; for key in /etc/ssh/ssh_host_ed25519_key /root/other; do \
                port=$((port ? port + 1 : 2222)); \
                /usr/sbin/sshd -p $port -h $key -o PidFile=none; done";
    web1.sh(keys).expect("two servers");
    let asked = |port: &str, checking: &str| {
        let ssh = mesh.ssh("laptop", &["-p", port, "-o", checking, "alice@web1"]);
        let output = ssh.output().expect("an end");
        assert!(!output.stderr.contains(CHANGED), "{output:?}");
        // Without a key of its own, no client gets further than this.
        output.stderr.contains("Permission denied")
    };
    assert!(asked("2222", "StrictHostKeyChecking=ask"));
    assert!(!laptop.exists("/root/.ssh/known_hosts"));
    assert!(!asked("2223", "StrictHostKeyChecking=ask"));
    assert!(asked("2223", "StrictHostKeyChecking=accept-new"));
    let file = laptop.read_text("/root/.ssh/known_hosts").expect("a file");
    assert!(file.lines().count() == 1, "{file}");
    assert!(asked("2223", "StrictHostKeyChecking=yes"));
}

#[test]
fn replaced_host_keys_are_trusted_within_moments() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    assert_logs_in(&mesh, &["alice@web1"]);
    for _ in 0..3 {
        let key = new_key(web1, "new");
        web1.sh("mv /root/new /etc/ssh/ssh_host_ed25519_key")
            .expect("replaced");
        wait_for("the new key's line", DEADLINE, || {
            let asked = mesh.host("laptop").command("mesh");
            let lines = asked.args(["known-hosts", "web1"]).output().ok()?.stdout;
            let is_alone = lines.lines().count() == 1;
            (is_alone && lines.trim_end().ends_with(&key)).then_some(())
        })
        .expect("known");
        assert_logs_in(&mesh, &["alice@web1"]);
    }
    assert!(!mesh.host("laptop").exists("/root/.ssh/known_hosts"));
}
