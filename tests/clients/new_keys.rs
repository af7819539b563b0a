//! New keys that the server asks for, in the middle of everything: not every client asks itself.

use meshd_contract::paths;
use meshd_lab::{HostCommand, Mesh};

use crate::libraries::python;
use crate::on_the_command_line::{putty, trust_in_file};
use crate::stock::{LONG, bytes, prepared};

/// A mesh whose server asks for new keys after each mebibyte.
fn mesh() -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    let limits = "[limits]\nrekey_bytes = 1048576\n";
    let web1 = mesh.host("web1");
    web1.write(paths::SSH_CONFIG, limits).expect("limits");
    mesh
}

fn assert_survives(client: HostCommand, mebibytes: usize) {
    let sent = bytes(mebibytes << 20);
    let back = client.input(sent.clone()).deadline(LONG).succeed();
    let back = back.expect("an end").bytes;
    assert!(back == sent, "{} bytes", back.len());
}

#[test]
fn openssh_takes_new_keys() {
    let mesh = mesh();
    let newest = prepared(&mesh, "openssh").join("bin/ssh");
    let newest = mesh.host("laptop").command(&newest.to_string_lossy());
    assert_survives(newest.args(["alice@web1", "cat"]), 104);
    let debians = mesh.ssh("laptop", &["-v", "alice@web1", "cat >/dev/null"]);
    let said = debians.input(bytes(8 << 20)).succeed().expect("an end");
    let exchanges = said.stderr.matches("SSH2_MSG_NEWKEYS received").count();
    assert!(exchanges > 2, "{exchanges} key exchanges");
}

#[test]
fn dbclient_takes_new_keys() {
    let mesh = mesh();
    trust_in_file(&mesh);
    let dbclient = mesh.host("laptop").command("dbclient");
    assert_survives(dbclient.args(["alice@web1", "cat"]), 104);
}

#[test]
fn plink_takes_new_keys() {
    let mesh = mesh();
    let plink = putty(&mesh, "plink");
    assert_survives(plink.args(["alice@web1", "cat"]), 32);
}

#[test]
fn paramiko_takes_new_keys() {
    let mesh = mesh();
    let paramiko = python(&mesh, "paramiko_client", "none");
    assert_survives(paramiko.args(["alice", "exec", "cat"]), 32);
}

#[test]
fn asyncssh_takes_new_keys() {
    let mesh = mesh();
    let asyncssh = python(&mesh, "asyncssh_client", "none");
    assert_survives(asyncssh.args(["alice", "exec", "cat"]), 32);
}
