//! A file of settings that is not in order.

use meshd_lab::{Mesh, Owner};

use crate::{refused, refused_for_good};

const FILE: &str = "/etc/meshd/meshd.toml";

fn write(mesh: &Mesh, text: &str) {
    let laptop = mesh.host("laptop");
    laptop.sh("mkdir -p /etc/meshd").expect("a folder");
    laptop.write(FILE, text).expect("settings");
}

#[test]
fn broken_settings_are_named_with_line_and_column() {
    let mesh = Mesh::start(&["laptop"]).expect("a host");
    let check = || {
        let meshd = mesh.host("laptop").command("/usr/sbin/meshd").arg("check");
        meshd.user("daemon")
    };
    for (text, fault) in [
        (
            "device = \"mesh0\"\nwireguard_prot = 1\n",
            "line 2, column 1: unknown field `wireguard_prot`",
        ),
        (
            "wireguard_port = \"51820\"\n",
            "line 1, column 18: invalid type",
        ),
        (
            "device = \"a/b\"\n",
            "line 1, column 10: a device's name is",
        ),
        ("[wireguard\n", "line 1, column 11: "),
    ] {
        write(&mesh, text);
        let sentence = format!("{FILE} is not in order: {fault}");
        refused_for_good(mesh.manager_command("laptop"), &sentence);
        refused_for_good(check(), &sentence);
    }
    write(&mesh, "device = \"mesh1\"\n");
    check().succeed().expect("it is in order");
    let elsewhere = check().args(["--config", "/nonexistent/meshd.toml"]);
    assert_eq!(refused(elsewhere, "unexpected argument"), Some(2));
}

#[test]
fn the_manager_takes_its_settings_from_the_file() {
    let mut mesh = Mesh::start(&["laptop"]).expect("a host");
    write(
        &mesh,
        "device = \"lan1\"\nwireguard_port = 51999\nmtu = 1300\n",
    );
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    mesh.join("laptop", Owner::User("alice@example.com"))
        .expect("joined");
    let status = mesh.host("laptop").command("mesh").arg("status").succeed();
    let status = status.expect("a status").stdout;
    assert!(
        status.contains("on lan1, UDP port 51999, MTU 1300"),
        "{status}"
    );
    let shown = mesh.host("laptop").sh("ip link show lan1; ss -lun");
    let shown = shown.expect("a device").stdout;
    assert!(
        shown.contains("mtu 1300") && shown.contains(":51999 "),
        "{shown}"
    );
}
