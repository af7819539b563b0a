//! Many bytes, both ways.

use std::time::Duration;

use meshd_lab::{DEADLINE, Mesh};

const LONG: Duration = Duration::from_secs(300);

#[test]
fn what_arrives_is_what_was_sent() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    laptop
        .sh("head -c 64M /dev/urandom >/tmp/file")
        .expect("a file");
    let hashes = laptop
        .command("sh")
        .args([
            "-c",
            "sha256sum </tmp/file; \
             ssh -o BatchMode=yes alice@web1 'tee /tmp/copy | sha256sum' </tmp/file; \
             ssh -o BatchMode=yes alice@web1 cat /tmp/copy | sha256sum",
        ])
        .deadline(LONG)
        .succeed()
        .expect("three hashes")
        .stdout;
    let hashes: Vec<&str> = hashes.lines().collect();
    assert_eq!(hashes.len(), 3, "{hashes:?}");
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn much_through_cat_comes_back() {
    let mesh = Mesh::of_two().expect("a mesh");
    let counted = mesh
        .host("laptop")
        .command("sh")
        .args([
            "-c",
            "head -c 512M /dev/zero | ssh -o BatchMode=yes alice@web1 cat | wc -c",
        ])
        .deadline(LONG)
        .succeed()
        .expect("an end");
    assert_eq!(counted.stdout, "536870912\n");
}

#[test]
fn a_session_that_reads_nothing_holds_up_no_other() {
    let mesh = Mesh::of_two().expect("a mesh");
    let master = ["-M", "-S", "/tmp/mux", "-N", "alice@web1"];
    let _master = mesh.ssh("laptop", &master).spawn().expect("a master");
    mesh.wait_for_file("laptop", "/tmp/mux").expect("a socket");
    let unread = "head -c 100M /dev/zero | ssh -S /tmp/mux web1 'echo deaf >/tmp/deaf; sleep 1000'";
    let _unread = mesh
        .host("laptop")
        .command("sh")
        .args(["-c", unread])
        .spawn()
        .expect("ssh");
    mesh.wait_for_file("web1", "/tmp/deaf").expect("a session");
    for _ in 0..5 {
        let other = mesh.ssh("laptop", &["-S", "/tmp/mux", "web1", "echo alive"]);
        let other = other.deadline(DEADLINE).succeed().expect("an answer");
        assert_eq!(other.stdout, "alive\n");
    }
}
