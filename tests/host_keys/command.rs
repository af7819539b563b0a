//! `mesh ssh`.

use meshd_lab::{HostCommand, Mesh};

use crate::world::{DROP_IN, v6};

/// The drop-in is not there, and no resolver knows the mesh.
fn alone() -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.host("laptop")
        .sh(&format!("rm {DROP_IN} /etc/resolv.conf"))
        .expect("removed");
    mesh
}

fn mesh_ssh(mesh: &Mesh, arguments: &[&str]) -> HostCommand {
    let command = mesh.host("laptop").command("mesh").arg("ssh");
    command.args(arguments.iter().copied())
}

#[test]
fn mesh_ssh_needs_neither_the_drop_in_nor_a_resolver() {
    let mesh = alone();
    let (v4, v6) = (mesh.address("web1").to_string(), v6(mesh.host("web1")));
    for host in ["web1", "WEB1", "web1.mesh.internal", "web1.", &v4, &v6] {
        let login = mesh_ssh(&mesh, &[&format!("alice@{host}"), "id -un"]);
        assert_eq!(
            login.succeed().expect("a login").stdout,
            "alice\n",
            "{host}"
        );
    }
    let by_v6 = mesh_ssh(&mesh, &["-6", "alice@web1", "echo $SSH_CONNECTION"]);
    let connection = by_v6.succeed().expect("a login").stdout;
    assert!(connection.contains(&v6), "{connection}");
    assert!(!mesh.host("laptop").exists("/root/.ssh/known_hosts"));
}

#[test]
fn mesh_ssh_hands_every_word_to_ssh() {
    let mesh = alone();
    let says = |arguments: &[&str]| {
        mesh_ssh(&mesh, arguments)
            .succeed()
            .expect("a login")
            .stdout
    };
    assert_eq!(says(&["web1", "-l", "alice", "id", "-un"]), "alice\n");
    assert_eq!(
        says(&["-oUser=alice", "-p", "22", "web1", "id -un"]),
        "alice\n"
    );
    assert_eq!(
        says(&["-p22", "ssh://alice@web1/", "id", "-u", "-n"]),
        "alice\n"
    );
    assert_eq!(says(&["--", "alice@web1", "id", "-un"]), "alice\n");
    let quoted = r#"printf '%s|' "a  b" '$HOME' --socket -6"#;
    assert_eq!(says(&["alice@web1", quoted]), "a  b|$HOME|--socket|-6|");
    assert_eq!(says(&["alice@web1", "--", "echo", "--help"]), "--help\n");
    let ended = mesh_ssh(&mesh, &["alice@web1", "exit 7"]).output();
    assert_eq!(ended.expect("an end").status.code(), Some(7));
    let typed = mesh_ssh(&mesh, &["-tt", "alice@web1", "tty"]).succeed();
    let typed = typed.expect("a login").stdout;
    assert!(typed.starts_with("/dev/pts/"), "{typed}");
}

#[test]
fn a_host_that_begins_with_a_hyphen_is_no_option() {
    let mesh = alone();
    let script = "-oProxyCommand=touch /run/ran";
    let output = mesh_ssh(&mesh, &["--", script]).output().expect("an end");
    assert!(!output.status.success(), "{output:?}");
    assert!(!mesh.host("laptop").exists("/run/ran"));
}

#[test]
fn mesh_ssh_becomes_ssh() {
    let mesh = alone();
    let mut session = mesh_ssh(&mesh, &["alice@web1", "cat"])
        .spawn()
        .expect("ssh");
    let running = || {
        let all = mesh.host("laptop").processes().expect("processes");
        let is_it = |name: &str| all.iter().any(|process| process.name == name);
        (is_it("ssh"), is_it("mesh"))
    };
    let seen = meshd_lab::wait_for("ssh", meshd_lab::DEADLINE, || {
        let (ssh, mesh) = running();
        (ssh && !mesh).then_some(())
    });
    seen.expect("ssh in place of mesh");
    drop(session.stdin.take());
    assert!(session.wait(meshd_lab::DEADLINE).expect("an end").success());
}
