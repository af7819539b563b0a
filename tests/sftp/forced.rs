//! A rule's forced command runs in place of what was asked for, and is told what that was.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use meshd_lab::{HostCommand, Mesh, policy_with};

/// A mesh in which alice gets this command, whatever she asks for.
fn forced(command: &str) -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    let rule = format!(
        r#"{{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"],
             "users": ["alice"], "command": "{command}"}}"#
    );
    mesh.change_policy(&policy_with(&rule)).expect("a policy");
    mesh
}

fn sftp(mesh: &Mesh, batch: &str) -> HostCommand {
    let laptop = mesh.host("laptop");
    let sftp = laptop.command("sftp").args(["-b", "-", "alice@web1"]);
    sftp.input(batch)
}

#[test]
fn the_command_line_that_was_asked_for_is_told_byte_for_byte() {
    let mesh = forced("printf %s \\\"$SSH_ORIGINAL_COMMAND\\\"");
    let asked = b"printf '\xff\xfe\xc3\x28 \xe2\x82\xac'\n# \"$HOME\" $(id) \\\\ ";
    let ssh = mesh.ssh("laptop", &["alice@web1"]);
    let told = ssh.arg(OsString::from_vec(asked.to_vec())).succeed();
    assert_eq!(told.expect("a session").bytes, asked);
}

#[test]
fn nothing_is_told_where_a_shell_was_asked_for() {
    let mesh = forced("echo ${SSH_ORIGINAL_COMMAND-unset}");
    let told = mesh.ssh("laptop", &["alice@web1"]).succeed();
    assert_eq!(told.expect("a session").stdout, "unset\n");
}

#[test]
fn a_forced_command_runs_in_place_of_the_file_server() {
    let mesh = forced("echo $SSH_ORIGINAL_COMMAND >/tmp/asked; echo forced >&2; exit 7");
    let refused = sftp(&mesh, "put /etc/hostname /tmp/put\n").output();
    let refused = refused.expect("an end");
    assert!(!refused.status.success());
    assert_eq!(refused.stderr.lines().next(), Some("forced"));
    let web1 = mesh.host("web1");
    assert!(!web1.exists("/tmp/put"));
    let asked = web1.read_text("/tmp/asked").expect("what was asked for");
    assert_eq!(asked, "/usr/lib/meshd/meshd-helper sftp\n");
}

#[test]
fn a_forced_command_that_runs_what_was_asked_for_serves_files() {
    let mesh = forced("exec $SSH_ORIGINAL_COMMAND");
    let laptop = mesh.host("laptop");
    laptop.write("/tmp/file", "content\n").expect("a file");
    let batch = "put /tmp/file put\nget put /tmp/back\n";
    sftp(&mesh, batch).succeed().expect("a transfer");
    let scp = laptop
        .command("scp")
        .args(["-B", "/tmp/file", "alice@web1:copied"]);
    scp.succeed().expect("another one");
    assert_eq!(laptop.read_text("/tmp/back").expect("it came"), "content\n");
    for name in ["put", "copied"] {
        let path = format!("/home/alice/{name}");
        assert_eq!(
            mesh.host("web1").read_text(path).expect("it went"),
            "content\n"
        );
    }
}
