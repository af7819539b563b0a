//! The client's agent, on the host.

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::world::mesh_of_three;

/// Starts an agent with a new key, and runs ssh with these arguments there.
fn with_agent(mesh: &Mesh, arguments: &str) -> String {
    let script = format!(
        "rm -f /tmp/key /tmp/key.pub; ssh-keygen -q -t ed25519 -N '' -C throw-away -f /tmp/key && \
         ssh-agent sh -c 'ssh-add -q /tmp/key && ssh -o BatchMode=yes {arguments}'"
    );
    let laptop = mesh.host("laptop").command("sh").args(["-c", &script]);
    laptop.succeed().expect("a session").stdout
}

#[test]
fn a_session_finds_the_agent_in_a_directory_that_is_removed() {
    let mesh = Mesh::of_two().expect("a mesh");
    let look = "ssh-add -l; stat -c \"%U %a\" $(dirname $SSH_AUTH_SOCK); \
                stat -c \"%U %a\" $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK";
    let said = with_agent(
        &mesh,
        &format!(
            "-A alice@web1 \"{}\"",
            look.replace('"', "\\\"").replace('$', "\\$")
        ),
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[0].contains("throw-away"), "{said}");
    assert_eq!(lines[1], "alice 700");
    assert_eq!(lines[2], "alice 600");
    let directory = std::path::Path::new(lines[3]).parent().expect("a parent");
    wait_for("end of the directory", DEADLINE, || {
        (!mesh.host("web1").exists(directory)).then_some(())
    })
    .expect("nothing is left");
}

#[test]
fn a_session_without_the_agent_has_none() {
    let mesh = Mesh::of_two().expect("a mesh");
    let said = with_agent(&mesh, "-a alice@web1 \"echo [\\$SSH_AUTH_SOCK]\"");
    assert_eq!(said, "[]\n");
}

#[test]
fn the_directory_of_a_killed_helper_is_removed() {
    let mesh = Mesh::of_two().expect("a mesh");
    let look = "ssh-add -l; pkill -KILL -x meshd-helper; \
                while test -d \\$(dirname \\$SSH_AUTH_SOCK); do :; done; echo removed";
    let said = with_agent(&mesh, &format!("-A alice@web1 \"{look}\""));
    assert!(said.contains("throw-away"), "{said}");
    assert!(said.ends_with("removed\n"), "{said}");
}

#[test]
fn an_agent_is_reached_over_two_hosts() {
    let mesh = mesh_of_three();
    let said = with_agent(&mesh, "-A alice@web1 ssh -A alice@db1 ssh-add -l");
    assert!(said.contains("throw-away"), "{said}");
    for host in ["web1", "db1"] {
        wait_for("end of the directory", DEADLINE, || {
            let found = mesh.host(host).sh("ls -d /tmp/meshd-* 2>/dev/null || true");
            found.ok()?.stdout.is_empty().then_some(())
        })
        .expect("nothing is left");
    }
}
