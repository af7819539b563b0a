//! A disk without room: nothing is half done, and it goes on when there is room.

use meshd_contract::paths;
use meshd_lab::{DEADLINE, Host, Mesh, Owner, wait_for};

use crate::{SPARE, assert_not_joined, refused, up};

const NO_ROOM: &str = "No space left on device";

/// Puts the manager's state on a disk of its own, with what is there.
fn onto_a_small_disk(host: &Host) {
    host.sh("mkdir -p /var/lib/meshd; cp -a /var/lib/meshd /tmp/state; \
         mount -t tmpfs -o size=256k small /var/lib/meshd; \
         cp -a /tmp/state/. /var/lib/meshd/; chown meshd: /var/lib/meshd")
        .expect("a small disk");
}

fn fill(host: &Host) {
    host.sh("! cat /dev/zero >/var/lib/meshd/filler 2>&1")
        .expect("a full disk");
}

fn make_room(host: &Host) {
    host.sh("rm /var/lib/meshd/filler").expect("room");
}

fn status(mesh: &Mesh) -> String {
    let status = mesh.host("web1").command("mesh").arg("status").succeed();
    status.expect("a status").stdout
}

#[test]
fn a_join_without_room_changes_nothing() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let spare = mesh.lan().add(SPARE).expect("a host");
    onto_a_small_disk(spare);
    fill(spare);
    mesh.start_manager(SPARE).expect("a manager");
    let key = mesh.auth_key(Owner::Tag("tag:web")).expect("a key");
    let spare = mesh.host(SPARE);
    spare.write("/run/key", key).expect("a file");
    refused(up(&mesh, "/run/key"), NO_ROOM);
    assert_not_joined(&mesh);
    let left = spare.sh("ls /var/lib/meshd").expect("files").stdout;
    assert_eq!(left, "filler\n");
    make_room(spare);
    up(&mesh, "/run/key").succeed().expect("the key is unused");
}

#[test]
fn a_document_without_room_is_taken_when_there_is_some() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.take_manager("web1").stop().expect("stopped");
    onto_a_small_disk(mesh.host("web1"));
    mesh.start_manager("web1").expect("started");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let web1 = mesh.host("web1");
    let files = || web1.sh("ls /var/lib/meshd").expect("files").stdout;
    let before = (
        files(),
        web1.read(paths::PEER_DOCUMENT).expect("a document"),
    );
    fill(web1);
    mesh.set_policy(&meshd_lab::policy_for_alice(&["bob"]))
        .expect("saved");
    let said = wait_for("the fault", DEADLINE, || {
        Some(status(&mesh)).filter(|said| said.contains(NO_ROOM))
    });
    let said = said.expect("mesh status says it");
    assert!(said.contains(paths::PEER_DOCUMENT), "{said}");
    assert!(said.contains("state      up"), "{said}");
    let login = mesh.ssh("laptop", &["alice@web1", "true"]).succeed();
    login.expect("the last document counts");

    make_room(web1);
    wait_for("the document", DEADLINE, || {
        (web1.read(paths::PEER_DOCUMENT).ok()? != before.1).then_some(())
    })
    .expect("it is taken");
    assert_eq!(files(), before.0);
    let denied = mesh.ssh("laptop", &["alice@web1", "true"]).output();
    assert_eq!(denied.expect("an end").status.code(), Some(255));
    let login = mesh.ssh("laptop", &["bob@web1", "id -un"]).succeed();
    assert_eq!(login.expect("a login").stdout, "bob\n");
    let log = mesh.log("web1", "meshd");
    let lines = log.lines().filter(|line| line.contains(NO_ROOM)).count();
    assert!((1..=2).contains(&lines), "{log}");
    let said = status(&mesh);
    assert!(!said.contains("problem"), "{said}");
}
