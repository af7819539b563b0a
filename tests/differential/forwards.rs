//! Forwards that do not come about: the client is told the same by both servers.

use meshd_lab::Mesh;

use crate::servers::{self, SERVER, Server};

/// The end of an ssh with these options, and what it said; the port of sshd is in no message.
fn failure(mesh: &Mesh, server: Server, options: &[&str]) -> (Option<i32>, String) {
    let quick = ["-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO"];
    let ssh = server.ssh(mesh, &[&quick[..], options].concat(), "alice");
    let ended = ssh.output().expect("an end");
    let known = |line: &&str| !line.starts_with("Warning: Permanently added");
    let said: Vec<&str> = ended.stderr.lines().filter(known).collect();
    (ended.status.code(), said.join("\n"))
}

#[test]
fn a_forward_fails_with_the_words_of_sshd() {
    let mesh = servers::start();
    let web1 = mesh.host(SERVER);
    web1.sh("touch /tmp/file; mkdir -m 700 /tmp/closed")
        .expect("files");
    let cases: [&[&str]; 6] = [
        &["-W", "127.0.0.1:9"],
        &["-W", "[::1]:9"],
        &["-W", "no-such-host.invalid:80"],
        &["-N", "-R", "80:localhost:1"],
        &["-N", "-R", "/tmp/file:localhost:1"],
        &["-N", "-R", "/tmp/closed/socket:localhost:1"],
    ];
    for options in cases {
        let theirs = failure(&mesh, Server::Sshd, options);
        assert_eq!(theirs.0, Some(255), "{options:?}: {theirs:?}");
        assert_eq!(
            failure(&mesh, Server::Meshd, options),
            theirs,
            "{options:?}"
        );
    }
}
