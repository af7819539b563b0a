//! What ssh-audit says of the server.

use meshd_lab::Mesh;

use crate::stock::{LONG, prepared};

/// Without these, clients that know no post-quantum exchange (OpenSSH before 9.9, PuTTY 0.78, dbclient
/// 2022, paramiko, libssh, Go) could not log in. WireGuard's own exchange is around each of them.
const CLASSICAL: [&str; 2] = [
    "(kex) curve25519-sha256 ",
    "(kex) curve25519-sha256@libssh.org ",
];
const NO_QUANTUM: &str = "does not provide protection against post-quantum attacks";

#[test]
fn ssh_audit_fails_nothing_and_warns_only_of_the_classical_key_exchange() {
    let mesh = Mesh::of_two().expect("a mesh");
    let ssh_audit = prepared(&mesh, "python").join("venv/bin/ssh-audit");
    let audit = mesh.host("laptop").command(&ssh_audit.to_string_lossy());
    let audit = audit.args(["--no-colors", "--skip-rate-test", "-l", "warn", "web1"]);
    let found = audit.deadline(LONG).output().expect("an end").stdout;
    let lines = found.lines().filter(|line| line.starts_with('('));
    let unexpected: Vec<&str> = lines
        .filter(|line| {
            let classical = CLASSICAL.iter().any(|name| line.starts_with(name));
            !(classical && line.ends_with(NO_QUANTUM))
        })
        .collect();
    assert!(unexpected.is_empty(), "{found}");
    assert!(!found.contains("[fail]"), "{found}");
    assert!(
        found.contains(CLASSICAL[0]),
        "it has spoken to no server: {found}"
    );
}
