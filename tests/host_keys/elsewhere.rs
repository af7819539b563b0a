//! What the drop-in does to hosts that are no nodes: nothing.

use std::time::Duration;

use meshd_lab::{Host, Mesh};
use nix::sys::signal::Signal;

use crate::world::{DROP_IN, is_node};

const OTHERS: [&str; 6] = [
    "example.com",
    "web1.example.com",
    "nobody",
    "192.0.2.1",
    "2001:db8::1",
    "100.127.255.254",
];

/// Far less than a login takes, and far more than a busy machine needs.
const SOON: Duration = Duration::from_secs(10);

/// What ssh would do for the [`OTHERS`], and what it says.
type Plans = Vec<(String, String)>;

fn plans(mesh: &Mesh) -> Plans {
    let ask = |host: &&str| {
        let asked = mesh.ssh("laptop", &["-G", host]).deadline(SOON);
        let output = asked.succeed().expect("in time");
        (output.stdout, output.stderr)
    };
    OTHERS.iter().map(ask).collect()
}

fn without_drop_in(mesh: &Mesh) -> Plans {
    let laptop = mesh.host("laptop");
    laptop.sh(&format!("mv {DROP_IN} /root/")).expect("moved");
    let plans = plans(mesh);
    laptop
        .sh(&format!("mv /root/50-meshd.conf {DROP_IN}"))
        .expect("moved back");
    plans
}

fn assert_knows_nothing_of(host: &Host, name: &str) {
    let asked = host.command("mesh").args(["known-hosts", name]);
    let output = asked.deadline(SOON).output().expect("in time");
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&*output.stdout, &*output.stderr), ("", ""));
}

#[test]
fn a_manager_that_is_wedged_stopped_or_gone_delays_and_fails_no_other_login() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let others = without_drop_in(&mesh);
    assert_eq!(plans(&mesh), others, "while the mesh is in use");
    let manager = mesh.take_manager("laptop");
    manager.signal(Signal::SIGSTOP).expect("stopped");
    assert_eq!(plans(&mesh), others, "while the manager is wedged");
    assert_knows_nothing_of(mesh.host("laptop"), "example.com");
    assert!(is_node(&mesh, "web1"));
    manager.signal(Signal::SIGCONT).expect("goes on");
    manager.stop().expect("ended");
    assert_eq!(plans(&mesh), others, "while the manager is stopped");
    assert_knows_nothing_of(mesh.host("laptop"), "example.com");
    assert!(is_node(&mesh, "web1"));
    mesh.host("laptop")
        .sh("umount /usr/bin/mesh; rm -f /usr/bin/mesh")
        .expect("removed");
    assert_eq!(plans(&mesh), others, "where mesh is not installed");
    assert!(!is_node(&mesh, "web1"));
}

#[test]
fn a_host_that_uses_no_mesh_has_no_nodes() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    let mesh_says = |words: &[&str]| {
        let command = laptop.command("mesh").args(words.iter().copied());
        command.output().expect("an end")
    };
    for (end, begin) in [("down", Some("up")), ("logout", None)] {
        assert!(is_node(&mesh, "web1"), "before {end}");
        assert!(mesh_says(&[end]).status.success());
        assert!(!is_node(&mesh, "web1"), "after {end}");
        assert_knows_nothing_of(laptop, "web1");
        for words in [&["known-hosts"][..], &["ssh", "web1"]] {
            let said = mesh_says(words);
            assert!(!said.status.success(), "{said:?}");
            assert_eq!(said.stderr, "mesh: this host uses no mesh: sudo mesh up\n");
        }
        if let Some(begin) = begin {
            assert!(mesh_says(&[begin]).status.success());
        }
    }
}

/// An sshd there is none of the mesh's: it has keys that control does not know.
#[test]
fn a_node_without_ssh_is_a_host_like_any_other() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    let asked = web1
        .command("mesh")
        .args(["known-hosts", "--quiet", "laptop"]);
    assert_eq!(asked.output().expect("an end").status.code(), Some(1));
    let said = web1.command("mesh").args(["ssh", "laptop"]).output();
    let said = said.expect("an end").stderr;
    assert_eq!(
        said,
        "mesh: SSH through the mesh is off on laptop: systemctl enable --now meshd-ssh there\n"
    );
}

/// What is on this host the manager has written, and the manager may have been taken over.
#[test]
fn a_host_key_counts_only_as_control_has_signed_it() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    laptop
        .sh("echo github.com >>/run/meshd/ssh-hosts")
        .expect("written");
    assert_knows_nothing_of(laptop, "github.com");
    let document = laptop.read_text("/var/lib/meshd/network.signed");
    let document = document.expect("a document");
    let forged = document.replace("ssh-ed25519 AAAA", "ssh-ed25519 AAAB");
    assert_ne!(forged, document);
    for text in [&*forged, "", "x"] {
        laptop
            .write("/var/lib/meshd/network.signed", text)
            .expect("written");
        let asked = laptop.command("mesh").args(["known-hosts", "web1"]);
        let said = asked.output().expect("an end");
        assert_eq!(said.stdout, "", "{said:?}");
        assert!(said.status.success(), "{said:?}");
        assert!(
            said.stderr.contains("network.signed cannot be used"),
            "{said:?}"
        );
    }
}
