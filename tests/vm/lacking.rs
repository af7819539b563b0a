//! A kernel that lacks something: one sentence that says what, before the auth key is used.

use std::process::Command;

use meshd_contract::paths;
use meshd_lab::{Daemon, Mesh, Owner};

use crate::is_inside;

/// Takes a module from the kernel; nothing here can load it again by itself.
fn unload(module: &str) {
    let output = Command::new("rmmod").arg(module).output();
    let output = output.expect("rmmod of the package kmod");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{module}: {said}");
}

/// `mesh up` on laptop is refused by a manager that was told to use this WireGuard.
fn assert_refused(mesh: &Mesh, wireguard: &str, words: &str) {
    let laptop = mesh.host("laptop");
    let only_net_admin = "-all,+net_admin";
    let user = paths::MANAGER_USER;
    let command = laptop
        .command("setpriv")
        .args(["--reuid", user, "--regid", user, "--init-groups"])
        .args(["--inh-caps", only_net_admin, "--ambient-caps"])
        .args([only_net_admin, "--bounding-set", only_net_admin])
        .args(["/usr/sbin/meshd", "--wireguard", wireguard]);
    let manager = Daemon::start(laptop, "meshd", command, paths::MANAGER_SOCKET);
    let manager = manager.expect("a manager");
    let up = laptop
        .command("mesh")
        .args(["up", "--control", &mesh.control_url()])
        .args(["--control-key", &mesh.control_key().expect("a key")])
        .args(["--auth-key-file", "/run/key"]);
    let output = up.output().expect("an end");
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stderr.contains(words), "{output:?}");
    manager.stop().expect("stopped");
}

#[test]
fn what_the_kernel_lacks_is_named() {
    if !is_inside("lacking::what_the_kernel_lacks_is_named") {
        return;
    }
    let mesh = Mesh::start(&["laptop"]).expect("a mesh");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    let key = mesh.auth_key(Owner::User("alice@example.com"));
    let laptop = mesh.host("laptop");
    laptop
        .write("/run/key", key.expect("a key"))
        .expect("a file");
    unload("wireguard");
    assert_refused(&mesh, "kernel", "this kernel has no WireGuard");
    laptop.sh("rm /dev/net/tun").expect("removed");
    assert_refused(
        &mesh,
        "auto",
        "this host has no WireGuard: its kernel has none, and /dev/net/tun",
    );
    unload("nft_nat");
    assert_refused(&mesh, "auto", "modprobe -a nft_chain_nat nft_nat");
    let nodes = mesh.meshd_control(&["nodes", "list"]).expect("nodes");
    assert!(!nodes.stdout.contains("laptop"), "{}", nodes.stdout);
}
