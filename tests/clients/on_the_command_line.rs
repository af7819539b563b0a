//! Clients that people type.

use std::path::Path;

use meshd_lab::{HostCommand, Mesh};

use crate::stock::{
    DENIAL, LONG, assert_runs_commands, assert_shows_denial, assert_transfers, bytes, prepared,
};

fn openssh(mesh: &Mesh, directory: &Path) {
    let ssh = directory.join("ssh").to_string_lossy().into_owned();
    let batch = ["-o", "BatchMode=yes"];
    let run = |login: &str, line: &str| {
        let command = mesh.host("laptop").command(&ssh).args(batch);
        command.args(["-l", login, "web1", line])
    };
    assert_runs_commands(run);
    assert_shows_denial(run);
    assert_copies(mesh, |from, to| {
        let sftp = directory.join("sftp").to_string_lossy().into_owned();
        let sftp = mesh.host("laptop").command(&sftp).args(["-S", &ssh]);
        let (action, first, second) = direction(from, to);
        let line = format!("{action} {first} {second}\n");
        sftp.args(["-b", "-", "alice@web1"]).input(line)
    });
}

/// What sftp and psftp call a copy between here and `there:`.
fn direction<'a>(from: &'a str, to: &'a str) -> (&'static str, &'a str, &'a str) {
    match (from.strip_prefix("there:"), to.strip_prefix("there:")) {
        (None, Some(to)) => ("put", from, to),
        (Some(from), None) => ("get", from, to),
        _ => panic!("{from} to {to} is no transfer"),
    }
}

/// Copies a file there and back with a client that has them by name.
fn assert_copies(mesh: &Mesh, copy: impl Fn(&str, &str) -> HostCommand) {
    let (laptop, web1, content) = (mesh.host("laptop"), mesh.host("web1"), bytes(5 << 20));
    web1.sh("rm -f /tmp/copied").expect("room");
    laptop.write("/tmp/sent", &content).expect("a file");
    let put = copy("/tmp/sent", "there:/tmp/copied").deadline(LONG);
    put.succeed().expect("sent");
    assert!(web1.read("/tmp/copied").expect("a file") == content);
    let get = copy("there:/tmp/copied", "/tmp/returned").deadline(LONG);
    get.succeed().expect("fetched");
    assert!(laptop.read("/tmp/returned").expect("a file") == content);
}

#[test]
fn openssh_of_debian_12() {
    openssh(&Mesh::of_two().expect("a mesh"), Path::new("/usr/bin"));
}

#[test]
fn openssh_of_debian_sid() {
    let mesh = Mesh::of_two().expect("a mesh");
    let directory = prepared(&mesh, "openssh").join("bin");
    openssh(&mesh, &directory);
    let ssh = directory.join("ssh").to_string_lossy().into_owned();
    let verbose = mesh.host("laptop").command(&ssh).args(["-v", "alice@web1"]);
    let said = verbose.arg("true").succeed().expect("a login").stderr;
    assert!(
        said.contains("kex: algorithm: mlkem768x25519-sha256"),
        "{said}"
    );
}

#[test]
fn dbclient() {
    let mesh = Mesh::of_two().expect("a mesh");
    trust_in_file(&mesh);
    let run = |login: &str, line: &str| {
        let command = mesh.host("laptop").command("dbclient");
        command.args([&format!("{login}@web1"), line])
    };
    assert_runs_commands(run);
    assert_shows_denial(run);
}

/// What a client without KnownHostsCommand is given once.
pub(crate) fn trust_in_file(mesh: &Mesh) {
    let script =
        "mkdir -p /root/.ssh; mesh known-hosts web1 | sed 's/^[^ ]*/web1/' >/root/.ssh/known_hosts";
    mesh.host("laptop").sh(script).expect("host keys");
}

/// PuTTY keeps host keys by their fingerprint, and takes one from the command line.
pub(crate) fn putty(mesh: &Mesh, program: &str) -> HostCommand {
    let script = "mesh known-hosts web1 | ssh-keygen -lf - | grep ED25519 | cut -d' ' -f2";
    let fingerprint = mesh
        .host("laptop")
        .sh(script)
        .expect("a fingerprint")
        .stdout;
    let command = mesh.host("laptop").command(program);
    command.args(["-batch", "-hostkey", fingerprint.trim()])
}

#[test]
fn plink_and_psftp() {
    let mesh = Mesh::of_two().expect("a mesh");
    let plink = putty(&mesh, "plink");
    let run = |login: &str, line: &str| plink.clone().args([&format!("{login}@web1"), line]);
    assert_runs_commands(run);
    assert_shows_denial(run);
    let psftp = putty(&mesh, "psftp");
    assert_copies(&mesh, |from, to| {
        let (action, first, second) = direction(from, to);
        mesh.host("laptop")
            .write("/tmp/batch", format!("{action} {first} {second}\n"))
            .expect("a batch");
        let psftp = psftp.clone();
        psftp.args(["-b", "/tmp/batch", "alice@web1"])
    });
}

#[test]
fn curl_by_libssh2() {
    let mesh = Mesh::of_two().expect("a mesh");
    trust_in_file(&mesh);
    let curl = |login: &str| {
        let curl = mesh.host("laptop").command("curl");
        curl.args(["--silent", "--show-error", "--user", &format!("{login}:")])
    };
    assert_transfers(&mesh, |action, path| {
        let url = format!("sftp://web1{path}");
        match action {
            "put" => curl("alice").args(["--upload-file", "-", &url]),
            _ => curl("alice").arg(url),
        }
    });
    // libssh2 1.10 hands its user no banner and no reason of a disconnection.
    let denied = curl("bob").arg("sftp://web1/etc/hostname").output();
    let denied = denied.expect("an end");
    assert_eq!(denied.status.code(), Some(67), "{denied:?}");
    assert!(!denied.stderr.contains(DENIAL) && denied.stdout.is_empty());
}
