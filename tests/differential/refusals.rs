//! Accounts that nobody may use now: the client reads why, by kind, and never waits.

use std::time::Duration;

use meshd_lab::{Mesh, Output};

use crate::servers::{self, SERVER, Server};

/// No refusal may take that long, on a slow machine either.
const SOON: Duration = Duration::from_secs(30);

fn try_to_log_in(mesh: &Mesh, server: Server, account: &str, option: &str) -> Output {
    let command = server.ssh(mesh, &[option, "-o", "LogLevel=INFO"], account);
    let ended = command.arg("echo in").deadline(SOON).output();
    ended.unwrap_or_else(|late| panic!("{account} by {server:?}: {late}"))
}

fn assert_refused(mesh: &Mesh, account: &str, sentences: &[&str]) {
    for option in ["-T", "-tt"] {
        let output = try_to_log_in(mesh, Server::Meshd, account, option);
        assert_eq!(output.status.code(), Some(255), "{account}: {output:?}");
        assert_eq!(output.stdout, "", "{account}");
        for sentence in sentences {
            assert!(output.stderr.contains(sentence), "{account}: {output:?}");
        }
    }
}

#[test]
fn a_refused_account_is_told_why_by_kind() {
    let mesh = servers::start();
    let expired = "Your account has expired; please contact your system administrator.";
    assert_refused(
        &mesh,
        "expired",
        &["meshd: this host does not let expired log in", expired],
    );
    let changing = "the password of changing has expired and must be changed on the host first";
    assert_refused(&mesh, "changing", &[changing]);
    let closed = "the account closed is not for logging in: its shell is /usr/sbin/nologin";
    assert_refused(&mesh, "closed", &[closed]);
    let nobody = "policy does not permit you to SSH as user \"nobody-there\"";
    assert_refused(&mesh, "nobody-there", &[nobody]);

    // What sshd refuses, meshd does, and with the same words of PAM's.
    let theirs = try_to_log_in(&mesh, Server::Sshd, "expired", "-T");
    assert_eq!(theirs.status.code(), Some(255), "{theirs:?}");
    assert!(theirs.stderr.contains(expired), "{theirs:?}");
}

#[test]
fn a_closed_host_lets_root_in_alone_and_says_why() {
    let mesh = servers::start();
    let web1 = mesh.host(SERVER);
    web1.write("/etc/nologin", "Repairs until six.\n")
        .expect("closed");
    assert_refused(&mesh, "alice", &["Repairs until six."]);
    let theirs = try_to_log_in(&mesh, Server::Sshd, "alice", "-T");
    assert!(theirs.stderr.contains("Repairs until six."), "{theirs:?}");
    let root = try_to_log_in(&mesh, Server::Meshd, "root", "-T");
    assert_eq!(root.stdout, "in\n", "{root:?}");
    web1.sh("rm /etc/nologin").expect("opened");
    let alice = try_to_log_in(&mesh, Server::Meshd, "alice", "-T");
    assert_eq!(alice.stdout, "in\n", "{alice:?}");
}
