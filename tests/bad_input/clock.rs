//! A host whose clock is far off.

use meshd_lab::{DEADLINE, Mesh, wait_for};

/// Gives the clock of one process another time.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Puts a script in the place of the manager, by which its clock alone is wrong by what the file
/// /run/difference says.
fn with_a_clock_of_its_own(mesh: &Mesh) {
    let laptop = mesh.host("laptop");
    assert!(laptop.exists(LIBRARY), "install the package libfaketime");
    let script = format!(
        "#!/bin/sh\n\
         export LD_PRELOAD={LIBRARY} FAKETIME=\"$(cat /run/difference)\" \
             FAKETIME_DONT_FAKE_MONOTONIC=1\n\
         exec /usr/local/sbin/meshd \"$@\"\n"
    );
    laptop.write("/tmp/meshd", script).expect("a script");
    laptop
        .sh("chmod 1777 /dev/shm; cp /usr/sbin/meshd /usr/local/sbin/meshd")
        .expect("moved");
    laptop
        .replace_program("/usr/sbin/meshd", "/tmp/meshd")
        .expect("replaced");
}

fn status(mesh: &Mesh) -> String {
    let status = mesh.host("laptop").command("mesh").arg("status").succeed();
    status.expect("a status").stdout
}

#[test]
fn a_clock_that_is_far_off_is_named_and_nothing_is_lost() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.take_manager("laptop").stop().expect("stopped");
    with_a_clock_of_its_own(&mesh);
    let set = |mesh: &Mesh, difference: &str| {
        let laptop = mesh.host("laptop");
        laptop.write("/run/difference", difference).expect("a file");
    };
    for difference in ["+400d", "-400d"] {
        set(&mesh, difference);
        mesh.start_manager("laptop").expect("a manager");
        let said = wait_for("its word on the clock", DEADLINE, || {
            Some(status(&mesh)).filter(|said| said.contains("the clocks of this node"))
        });
        let said = said.expect("mesh status says it");
        assert!(said.contains("set the clock"), "{said}");
        mesh.take_manager("laptop").stop().expect("stopped");
    }
    set(&mesh, "+0");
    mesh.start_manager("laptop").expect("a manager");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
    let said = status(&mesh);
    assert!(!said.contains("problem"), "{said}");
}
