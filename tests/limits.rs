//! What one peer can take away from others.

use std::time::Duration;

use meshd_contract::broker::ConnectionLimits;
use meshd_contract::paths;
use meshd_lab::{DEADLINE, Mesh, Owner, wait_for};

/// Opens this many connections, says nothing on them, and tells when all are open; one that is
/// closed is opened again, without end.
const FLOOD: &str = r"
import socket, select, sys, time
most = int(sys.argv[1])
held = []
def connect():
    one = socket.create_connection(('web1', 22))
    held.append(one)
for _ in range(most):
    connect()
print('open', flush=True)
while True:
    ready, _, _ = select.select(held, [], [], 0.5)
    for one in ready:
        try:
            said = one.recv(4096)
        except OSError:
            said = b''
        if not said:
            held.remove(one)
            one.close()
            connect()
    time.sleep(0.05)
";

/// A mesh with a second peer, `guest`, whom no rule names.
fn with_guest() -> Mesh {
    let mut mesh = Mesh::start(&["laptop", "web1", "guest"]).expect("a mesh");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    mesh.meshd_control(&["users", "create", "mallory@example.com"])
        .expect("a user");
    mesh.set_policy(&meshd_lab::policy_for_alice(&["alice"]))
        .expect("a policy");
    mesh.host("web1").add_user("alice").expect("an account");
    mesh.join("laptop", Owner::User("alice@example.com"))
        .expect("joined");
    mesh.start_broker("web1").expect("SSH");
    mesh.join("web1", Owner::Tag("tag:web")).expect("joined");
    mesh.join("guest", Owner::User("mallory@example.com"))
        .expect("joined");
    for from in ["laptop", "guest"] {
        mesh.wait_until_reachable(from, "web1").expect("reachable");
    }
    mesh
}

fn count_of_unauthenticated(mesh: &Mesh) -> usize {
    let shown = mesh.host("web1").command("mesh").arg("sessions").succeed();
    let shown = shown.expect("sessions").stdout;
    shown.matches("(unauthenticated)").count()
}

#[test]
fn a_flood_of_one_peer_keeps_no_other_out() {
    let mesh = with_guest();
    let most = ConnectionLimits::default().unauthenticated_per_peer as usize;
    let flood = mesh.host("guest").command("python3");
    let flood = flood.args(["-c", FLOOD, &(most + 40).to_string()]);
    let _flood = flood.spawn().expect("a flood");
    wait_for("the limit", DEADLINE, || {
        (count_of_unauthenticated(&mesh) >= most - 4).then_some(())
    })
    .expect("connections");
    for _ in 0..5 {
        let login = mesh.ssh("laptop", &["alice@web1", "echo in"]).succeed();
        assert_eq!(login.expect("a login").stdout, "in\n");
        assert!(count_of_unauthenticated(&mesh) <= most);
    }
    let log = mesh.log("web1", "meshd");
    let lines = log.matches("SSH connections were closed").count();
    assert!((1..100).contains(&lines), "{lines} lines of a flood");
}

#[test]
fn a_login_in_time_counts_no_more_as_one_to_come() {
    let mesh = Mesh::of_two().expect("a mesh");
    let limits = "[limits]\nunauthenticated_per_peer = 2\nconnections_per_peer = 6\n";
    mesh.host("web1")
        .write(paths::SSH_CONFIG, limits)
        .expect("limits");
    let mut sessions = Vec::new();
    // The first connection brings root's limits.
    for number in 0..6 {
        let command = format!("touch /tmp/{number}; sleep 1000");
        sessions.push(
            mesh.ssh("laptop", &["alice@web1", &command])
                .spawn()
                .expect("ssh"),
        );
        mesh.wait_for_file("web1", &format!("/tmp/{number}"))
            .expect("a session");
    }
    let seventh = mesh.ssh("laptop", &["alice@web1", "true"]).output();
    assert_eq!(seventh.expect("an end").status.code(), Some(255));
    sessions.pop().expect("one").kill().expect("killed");
    wait_for("room for one more", DEADLINE, || {
        let more = mesh.ssh("laptop", &["alice@web1", "true"]).output().ok()?;
        more.status.success().then_some(())
    })
    .expect("a login");
}

#[test]
fn who_does_not_log_in_is_gone_after_the_time_for_it() {
    let mesh = Mesh::of_two().expect("a mesh");
    let grace = "[limits]\nlogin_grace = 3\n";
    mesh.host("web1")
        .write(paths::SSH_CONFIG, grace)
        .expect("limits");
    let wait = "exec 3<>/dev/tcp/web1/22; cat <&3 >/dev/null";
    let mut silent: Vec<_> = (0..5)
        .map(|_| {
            let bash = mesh.host("laptop").command("bash").args(["-c", wait]);
            bash.spawn().expect("a connection")
        })
        .collect();
    for one in &mut silent {
        one.wait(Duration::from_secs(60)).expect("is closed");
    }
    wait_for("nobody", DEADLINE, || {
        (count_of_unauthenticated(&mesh) == 0).then_some(())
    })
    .expect("nobody is left");
}

/// The kernel gives all programs of root together 128 instances of inotify(7), unless told otherwise.
#[test]
fn more_logins_than_root_has_inotify_instances_are_open_at_once() {
    const LOGINS: usize = 150;
    let mesh = Mesh::of_two().expect("a mesh");
    let mut held = Vec::new();
    for _ in 0..LOGINS {
        let login = mesh.ssh("laptop", &["alice@web1", "sleep 600"]);
        held.push(login.spawn().expect("ssh"));
        // As many at a time as a host takes that know nobody yet.
        wait_for("a login", DEADLINE, || {
            (held.len() < logged_in(&mesh) + 8).then_some(())
        })
        .expect("logged in");
    }
    wait_for("all logins", DEADLINE, || {
        (logged_in(&mesh) == LOGINS).then_some(())
    })
    .expect("all are in");
    assert!(held.iter_mut().all(|login| login.ended().is_none()));
    mesh.change_policy(&meshd_lab::policy_for_alice(&[]))
        .expect("another policy");
    wait_for("the end of all", DEADLINE, || {
        held.iter_mut()
            .all(|login| login.ended().is_some())
            .then_some(())
    })
    .expect("their right has ended");
}

fn logged_in(mesh: &Mesh) -> usize {
    let running = mesh.host("web1").processes().expect("processes");
    let sleeps = running.iter().filter(|process| process.user == "alice");
    sleeps.count()
}
