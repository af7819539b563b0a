//! Libraries, each by a small program in `tests/lab/clients`.

use meshd_lab::{HostCommand, Mesh};

use crate::stock::{
    assert_fetches, assert_runs_commands, assert_shows_denial, assert_transfers, bytes, prepared,
    program,
};

const HOST: &str = "web1";

pub(crate) fn python(mesh: &Mesh, script: &str, method: &str) -> HostCommand {
    let python = prepared(mesh, "python").join("venv/bin/python");
    mesh.host("laptop")
        .command(&python.to_string_lossy())
        .arg(program(mesh, &format!("python/{script}.py")))
        .args([method, HOST])
}

/// A client that takes every way to log in.
fn assert_python_client_works(script: &str) {
    let mesh = Mesh::of_two().expect("a mesh");
    for method in ["none", "password", "publickey"] {
        let client = python(&mesh, script, method).args(["alice", "exec", "echo in"]);
        assert_eq!(client.succeed().expect(method).stdout, "in\n");
    }
    let run = |login: &str, command: &str| {
        python(&mesh, script, "password").args([login, "exec", command])
    };
    assert_runs_commands(run);
    assert_shows_denial(run);
    assert_transfers(&mesh, |action, path| {
        python(&mesh, script, "none").args(["alice", action, path])
    });
}

#[test]
fn paramiko() {
    assert_python_client_works("paramiko_client");
}

#[test]
fn asyncssh() {
    assert_python_client_works("asyncssh_client");
}

#[test]
fn ssh_python() {
    let mesh = Mesh::of_two().expect("a mesh");
    for method in ["none", "password"] {
        let run = |login: &str, command: &str| {
            python(&mesh, "libssh_client", method).args([login, "exec", command])
        };
        let said = run("alice", "echo in; exit 7").output().expect("an end");
        assert_eq!(said.stdout, "in\n", "{said:?}");
        assert_eq!(said.status.code(), Some(7), "{said:?}");
        assert_shows_denial(run);
    }
    let get = |action: &str, path: &str| {
        python(&mesh, "libssh_client", "none").args(["alice", action, path])
    };
    assert_fetches(get, &bytes(100_000), &mesh);
}

#[test]
fn libssh() {
    let mesh = Mesh::of_two().expect("a mesh");
    let client = prepared(&mesh, "libssh").join("client");
    let command = |words: &[&str]| {
        let command = mesh.host("laptop").command(&client.to_string_lossy());
        command.arg(HOST).args(words.iter().copied())
    };
    // It is written for one direction at a time.
    let run = |login: &str, line: &str| {
        let line = line.replace("cat", "cat >/tmp/all; cat /tmp/all");
        command(&[login, "exec", &line])
    };
    assert_runs_commands(run);
    assert_shows_denial(run);
    let get = |action: &str, path: &str| command(&["alice", action, path]);
    assert_fetches(get, &bytes(1 << 20), &mesh);
}

#[test]
fn go_x_crypto_ssh() {
    let mesh = Mesh::of_two().expect("a mesh");
    let client = prepared(&mesh, "go").join("client");
    let run = |login: &str, line: &str| {
        let command = mesh.host("laptop").command(&client.to_string_lossy());
        command.args([HOST, login, "exec", line])
    };
    assert_runs_commands(run);
    assert_shows_denial(run);
}

#[test]
fn node_ssh2() {
    let mesh = Mesh::of_two().expect("a mesh");
    let modules = prepared(&mesh, "node").join("node_modules");
    let run = |login: &str, action: &str, argument: &str| {
        let node = mesh.host("laptop").command("node");
        node.env("NODE_PATH", modules.as_os_str())
            .arg(program(&mesh, "node/client.js"))
            .args([HOST, login, action, argument])
    };
    assert_runs_commands(|login, command| run(login, "exec", command));
    assert_shows_denial(|login, command| run(login, "exec", command));
    assert_transfers(&mesh, |action, path| run("alice", action, path));
}
