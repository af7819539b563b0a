//! `mesh policy` beside a running control server.

use meshd_lab::{Mesh, policy_for_alice};

#[test]
fn the_saved_policy_is_explained_and_compared() {
    let mesh = Mesh::of_two().expect("a mesh");
    let control = mesh.host("control");
    let policy = |arguments: &[&str]| {
        let command = control.command("mesh").arg("policy");
        command
            .args(arguments.iter().copied())
            .output()
            .expect("an end")
    };
    let explain = |login| {
        let on = [
            "explain",
            "--control",
            "--src",
            "laptop",
            "--dst",
            "web1",
            "--login",
            login,
        ];
        policy(&on)
    };
    let permitted = explain("alice");
    assert!(permitted.status.success(), "{permitted:?}");
    assert!(permitted.stdout.contains("ssh[0]"), "{permitted:?}");
    let denied = explain("root");
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");

    control
        .write("/root/new.hujson", policy_for_alice(&[]))
        .expect("a file");
    let lost = policy(&["diff", "--control", "/root/new.hujson"]);
    assert!(lost.status.success(), "{lost:?}");
    assert!(
        lost.stdout.contains("laptop") && lost.stdout.contains("alice"),
        "{lost:?}"
    );
    let checked = policy(&["check", "--control", "/root/new.hujson"]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_stranger_to_control_is_told_where_to_ask() {
    let mesh = Mesh::of_two().expect("a mesh");
    let test = mesh
        .host("laptop")
        .command("mesh")
        .args(["policy", "test", "--control"]);
    let output = test.output().expect("an end");
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stderr.contains("meshd-control"), "{output:?}");
}
