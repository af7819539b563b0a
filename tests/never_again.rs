//! Faults that others shipped and that no other test is about: see `docs/never-again.md`.

use std::io::Read;
use std::thread;
use std::time::Duration;

use meshd_lab::{DEADLINE, Mesh, policy_for_alice, wait_for};

#[test]
fn variables_never_stand_in_an_argv() {
    let mesh = Mesh::of_two().expect("a mesh");
    let read = "touch /tmp/there; read line; echo $LC_SECRET";
    let ssh = mesh.ssh("laptop", &["-o", "SendEnv=LC_SECRET", "alice@web1", read]);
    let mut ssh = ssh.env("LC_SECRET", "xyzzy").spawn().expect("ssh");
    mesh.wait_for_file("web1", "/tmp/there").expect("a session");
    let seen = mesh.host("web1").processes().expect("processes");
    let told = seen
        .iter()
        .find(|process| process.command.contains("xyzzy"));
    assert_eq!(told, None);
    drop(ssh.stdin.take());
    let mut said = String::new();
    let mut output = ssh.stdout.take().expect("its output");
    output.read_to_string(&mut said).expect("text");
    assert_eq!(said, "xyzzy\n");
}

#[test]
fn a_link_to_a_secret_hushes_nobody() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.write("/etc/motd", "news of the day\n")
        .expect("a file");
    let link = "touch /root/secret; ln -s /root/secret /home/alice/.hushlogin";
    web1.sh(link).expect("a link");
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let ssh = mesh.ssh("laptop", &["alice@web1"]);
    let _ssh = ssh.spawn_on(&terminal).expect("ssh");
    // As root, the file would be there.
    terminal
        .expect("news of the day", DEADLINE)
        .expect("the news");
}

#[test]
fn output_at_the_end_waits_for_a_client_that_reads_slowly() {
    let mesh = Mesh::of_two().expect("a mesh");
    let burst = "for i in $(seq 33); do head -c 65536 /dev/zero >&2; done; exit 3";
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1", burst])
        .spawn()
        .expect("ssh");
    let mut errors = ssh.stderr.take().expect("its errors");
    let (mut length, mut piece) = (0, vec![0; 64 << 10]);
    loop {
        // Slower than they come, so that the window is empty most of the time.
        thread::sleep(Duration::from_millis(20));
        match errors.read(&mut piece).expect("bytes") {
            0 => break,
            some => length += some,
        }
    }
    assert_eq!(length, 33 * 65_536);
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(3));
}

#[test]
fn a_host_key_that_cannot_be_read_closes_the_connection_with_a_word() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    let key = "/etc/ssh/ssh_host_ed25519_key";
    web1.sh(&format!("echo nonsense >{key}; chmod 600 {key}"))
        .expect("a bad key");
    let output = mesh.ssh("laptop", &["alice@web1", "true"]).output();
    let output = output.expect("an end");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(
        output.stderr.contains("this host has no host key"),
        "{output:?}"
    );
    web1.sh(&format!("rm {key}")).expect("removed");
    mesh.ssh("laptop", &["alice@web1", "true"])
        .succeed()
        .expect("a login");
}

#[test]
fn a_rule_that_is_removed_while_pam_decides_lets_nobody_in() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    let module = "mkfifo /root/gate && \
        printf '#!/bin/sh\\ntouch /tmp/asked\\nread line </root/gate\\n' >/root/wait && \
        chmod +x /root/wait && \
        echo 'account required pam_exec.so /root/wait' >>/etc/pam.d/meshd-ssh";
    web1.sh(module).expect("a PAM module");
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1", "touch /tmp/in"])
        .spawn()
        .expect("ssh");
    mesh.wait_for_file("web1", "/tmp/asked")
        .expect("PAM is asked");
    mesh.change_policy(&policy_for_alice(&["bob"]))
        .expect("saved");
    web1.sh("echo go >/root/gate").expect("PAM answers");
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(255));
    assert!(!web1.exists("/tmp/in"));
    wait_for("the end of the worker", DEADLINE, || {
        let left = web1.processes().ok()?;
        let worker = left
            .iter()
            .any(|p| p.command.contains("meshd-broker worker"));
        (!worker).then_some(())
    })
    .expect("it ends");
}
