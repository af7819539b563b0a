//! Ansible, which runs the stock ssh with ControlPersist.

use meshd_lab::Mesh;

use crate::stock::{LONG, prepared};

#[test]
fn ansible_pings_and_copies_with_and_without_pipelining() {
    let mesh = Mesh::of_two().expect("a mesh");
    let program = prepared(&mesh, "python").join("venv/bin/ansible");
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    laptop.write("/tmp/sent", "content\n").expect("a file");
    for pipelining in ["True", "False"] {
        let run = |module: &[&str]| {
            let ansible = laptop.command(&program.to_string_lossy());
            ansible
                .env("HOME", "/root")
                .env("LC_ALL", "C.UTF-8")
                .env("ANSIBLE_PIPELINING", pipelining)
                .args(["all", "-i", "web1,", "-u", "alice"])
                .args(["-e", "ansible_python_interpreter=/usr/bin/python3", "-m"])
                .args(module.iter().copied())
                .deadline(LONG)
                .succeed()
                .expect("an end")
                .stdout
        };
        assert!(run(&["ping"]).contains("\"pong\""));
        let place = format!("/tmp/copied-{pipelining}");
        run(&["copy", "-a", &format!("src=/tmp/sent dest={place}")]);
        assert_eq!(web1.read_text(&place).expect("a file"), "content\n");
    }
}
