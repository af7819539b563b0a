//! The drop-in of the packages, for both releases of OpenSSH.

use std::path::Path;

use meshd_lab::Mesh;

use crate::stock::prepared;

fn assert_asks_nothing(mesh: &Mesh, directory: &Path) {
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    let v6 = web1.command("mesh").args(["ip", "-6"]).succeed();
    let v6 = v6.expect("an address").stdout.trim().to_owned();
    let v4 = mesh.address("web1").to_string();
    for name in ["web1", "web1.mesh.internal", &v4, &v6] {
        for name in [
            name.to_owned(),
            name.to_ascii_uppercase(),
            format!("{name}."),
        ] {
            // An address has no final dot.
            if name.ends_with('.') && !name.starts_with("web1") {
                continue;
            }
            let ssh = laptop.command(&directory.join("ssh").to_string_lossy());
            let ssh = ssh.args(["-oBatchMode=yes", "-oUpdateHostKeys=yes", "-l", "alice"]);
            let output = ssh.args([&*name, "id -un"]).output().expect("an end");
            assert_eq!(output.stdout, "alice\n", "{name}: {output:?}");
        }
    }
    assert!(!laptop.exists("/root/.ssh/known_hosts"));
}

#[test]
fn openssh_asks_nothing_about_the_host_key_of_a_node() {
    let mesh = Mesh::of_two().expect("a mesh");
    assert_asks_nothing(&mesh, Path::new("/usr/bin"));
    assert_asks_nothing(&mesh, &prepared(&mesh, "openssh").join("bin"));
}
