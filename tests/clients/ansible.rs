//! Ansible, which runs the stock ssh with ControlPersist.

use meshd_lab::{HostCommand, Mesh};

use crate::stock::{LONG, prepared};

/// `ansible` on `laptop`, for all hosts of an inventory, as alice.
fn ansible(mesh: &Mesh, inventory: &str, pipelining: bool) -> HostCommand {
    let program = prepared(mesh, "python").join("venv/bin/ansible");
    let ansible = mesh.host("laptop").command(&program.to_string_lossy());
    let pipelining = if pipelining { "True" } else { "False" };
    ansible
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_PIPELINING", pipelining)
        .args(["all", "-i", inventory, "-u", "alice"])
        .args(["-e", "ansible_python_interpreter=/usr/bin/python3"])
        .deadline(LONG)
}

#[test]
fn ansible_pings_copies_and_fetches_with_and_without_pipelining() {
    let mesh = Mesh::of_two().expect("a mesh");
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    laptop.write("/tmp/sent", "content\n").expect("a file");
    for pipelining in [true, false] {
        let run = |module: &str, words: &str| {
            let ansible = ansible(&mesh, "web1,", pipelining);
            let said = ansible.args(["-m", module, "-a", words]).succeed();
            said.expect("an end").stdout
        };
        assert!(run("ping", "").contains("\"pong\""));
        let place = format!("/tmp/copied-{pipelining}");
        run("copy", &format!("src=/tmp/sent dest={place}"));
        assert_eq!(web1.read_text(&place).expect("a file"), "content\n");
        let back = format!("/tmp/back-{pipelining}");
        run("fetch", &format!("src={place} dest={back} flat=yes"));
        assert_eq!(laptop.read_text(&back).expect("a file"), "content\n");
    }
}

#[test]
fn ansible_becomes_root_by_sudo() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    assert!(
        web1.exists("/usr/bin/sudo"),
        "sudo is missing: apt-get install --no-install-recommends sudo"
    );
    web1.sh("echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/alice; chmod 440 /etc/sudoers.d/alice")
        .expect("a right");
    for pipelining in [true, false] {
        let ansible = ansible(&mesh, "web1,", pipelining);
        let words = ["--become", "-m", "command", "-a", "id -un"];
        let said = ansible.args(words).succeed().expect("an end").stdout;
        assert_eq!(said, "web1 | CHANGED | rc=0 >>\nroot\n");
    }
}

#[test]
fn ansible_runs_fifty_forks_over_several_names_of_a_host() {
    let mesh = Mesh::of_two().expect("a mesh");
    let address = mesh.address("web1").to_string();
    let names = ["web1", "web1.mesh.internal", &address];
    let host = |number: usize| format!("host{number} ansible_host={}\n", names[number % 3]);
    let inventory: String = (0..50).map(host).collect();
    let laptop = mesh.host("laptop");
    laptop
        .write("/tmp/inventory", inventory)
        .expect("an inventory");
    let ansible = ansible(&mesh, "/tmp/inventory", true);
    let words = ["--forks", "50", "--one-line", "-m", "ping"];
    let said = ansible.args(words).deadline(4 * LONG).succeed();
    let said = said.expect("an end").stdout;
    assert_eq!(said.matches("SUCCESS").count(), 50, "{said}");
    assert_eq!(said.matches("\"pong\"").count(), 50, "{said}");
}
