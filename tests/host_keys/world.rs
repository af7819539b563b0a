//! What the tests share.

use meshd_lab::{Host, Mesh};

/// The drop-in of the packages.
pub(crate) const DROP_IN: &str = "/etc/ssh/ssh_config.d/50-meshd.conf";

/// What a login is asked to say.
pub(crate) const WHO: &str = "id -un";

/// A host's IPv6 address in the mesh.
pub(crate) fn v6(host: &Host) -> String {
    let shown = host.command("mesh").args(["ip", "-6"]).succeed();
    shown.expect("an address").stdout.trim().to_owned()
}

/// Runs a command line of ssh's kind on `laptop`, which must log in and say so.
pub(crate) fn assert_logs_in(mesh: &Mesh, arguments: &[&str]) {
    let output = mesh.ssh("laptop", arguments).arg(WHO).output();
    let output = output.expect("an end");
    assert_eq!(output.stdout, "alice\n", "{arguments:?}: {output:?}");
}

/// Writes a file of root's own ssh on `laptop`.
pub(crate) fn write_own(mesh: &Mesh, name: &str, content: &str) {
    let laptop = mesh.host("laptop");
    laptop
        .sh("mkdir -p -m 700 /root/.ssh")
        .expect("a directory");
    laptop
        .write(format!("/root/.ssh/{name}"), content)
        .expect("a file");
}

/// A new key pair in `/root/NAME` on a host; the public half.
pub(crate) fn new_key(host: &Host, name: &str) -> String {
    host.sh(&format!(
        "rm -f /root/{name}*; ssh-keygen -q -t ed25519 -N '' -C '' -f /root/{name}"
    ))
    .expect("a key");
    let key = host.read_text(format!("/root/{name}.pub")).expect("a key");
    key.trim().to_owned()
}

/// What ssh on `laptop` would do for this host.
pub(crate) fn plan(mesh: &Mesh, host: &str) -> String {
    let asked = mesh.ssh("laptop", &["-G", host]);
    asked.succeed().expect("a configuration").stdout
}

/// Whether ssh on `laptop` takes this host for a node.
pub(crate) fn is_node(mesh: &Mesh, host: &str) -> bool {
    plan(mesh, host).contains("knownhostscommand /usr/bin/mesh")
}
