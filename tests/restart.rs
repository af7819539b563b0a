//! Sessions outlive the daemons that began them; logins outlive control.

use std::io::{BufRead, BufReader};

use meshd_lab::{DEADLINE, Mesh, wait_for};

#[path = "restart/traffic.rs"]
mod traffic;
#[path = "restart/units.rs"]
mod units;

use traffic::Loop;

/// What `mesh sessions` shows on `web1`, without its head.
fn sessions(mesh: &Mesh) -> Vec<String> {
    let shown = mesh.host("web1").command("mesh").arg("sessions").succeed();
    let shown = shown.expect("sessions").stdout;
    shown.lines().skip(1).map(str::to_owned).collect()
}

fn assert_complete(mesh: &Mesh, count: usize) {
    let shown = sessions(mesh);
    assert_eq!(shown.len(), count, "{shown:#?}");
    for line in &shown {
        let words = ["laptop", "alice@example.com", " alice ", "exec pid"];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert!(!line.contains("busy"), "{line}");
    }
}

/// Ends a daemon, by a signal that it handles or by one that it cannot, and starts it again.
fn restart(mesh: &mut Mesh, round: usize) {
    let is_manager = round.is_multiple_of(2);
    let daemon = if is_manager {
        mesh.take_manager("web1")
    } else {
        mesh.take_broker("web1")
    };
    let ended = if round % 4 < 2 {
        daemon.stop()
    } else {
        daemon.crash()
    };
    ended.expect("has ended");
    let started = if is_manager {
        mesh.start_manager("web1")
    } else {
        mesh.start_broker("web1")
    };
    started.expect("started");
}

#[test]
fn two_hundred_restarts_end_no_session_and_lose_no_byte() {
    const SESSIONS: usize = 20;
    const RESTARTS: usize = 200;
    let mut mesh = Mesh::of_two().expect("a mesh");
    let loops: Vec<Loop> = (0..SESSIONS).map(|_| Loop::begin(&mesh)).collect();
    for each in &loops {
        each.wait_for_more_than(0);
    }
    assert_complete(&mesh, SESSIONS);
    for round in 0..RESTARTS {
        restart(&mut mesh, round);
        // While the manager was away, so was its WireGuard.
        let one = &loops[round % SESSIONS];
        one.wait_for_more_than(one.round());
    }
    let before: Vec<u64> = loops.iter().map(Loop::round).collect();
    for (each, before) in loops.iter().zip(before) {
        each.wait_for_more_than(before);
    }
    assert_complete(&mesh, SESSIONS);
    assert_login(&mesh);
    let blocks: u64 = loops.into_iter().map(Loop::end).sum();
    assert!(blocks as usize > SESSIONS * RESTARTS / 2, "{blocks} blocks");
}

#[test]
fn the_listeners_miss_no_connection_while_the_manager_is_away() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.take_manager("web1").crash().expect("killed");
    let early = mesh.ssh("laptop", &["alice@web1", "echo early"]).spawn();
    let mut early = early.expect("ssh");
    mesh.start_manager("web1").expect("started");
    let mut said = String::new();
    let mut output = BufReader::new(early.stdout.take().expect("its output"));
    output.read_line(&mut said).expect("an answer");
    assert_eq!(said, "early\n");
    assert_eq!(early.wait(DEADLINE).expect("an end").code(), Some(0));
}

fn assert_login(mesh: &Mesh) {
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

#[test]
fn a_session_goes_on_over_restarts_of_the_manager() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    mesh.take_manager("web1").stop().expect("stopped");
    mesh.start_manager("web1").expect("started");
    talk.assert_alive("after a restart");
    mesh.take_manager("web1").crash().expect("killed");
    mesh.start_manager("web1").expect("started");
    talk.assert_alive("after a crash");
    mesh.take_manager("laptop").stop().expect("stopped");
    mesh.start_manager("laptop").expect("started");
    talk.assert_alive("after the other side's restart");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
}

#[test]
fn a_session_goes_on_over_restarts_of_the_broker() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    mesh.take_broker("web1").stop().expect("stopped");
    talk.assert_alive("without a broker");
    mesh.start_broker("web1").expect("started");
    talk.assert_alive("after a restart");
    assert_login(&mesh);
    mesh.take_broker("web1").crash().expect("killed");
    mesh.start_broker("web1").expect("started");
    talk.assert_alive("after a crash");
    assert_login(&mesh);
}

#[test]
fn ssh_that_root_has_stopped_is_off_and_its_sessions_go_on() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    mesh.take_broker("web1").stop().expect("stopped");
    let web1 = mesh.host("web1");
    wait_for("word that SSH is off", DEADLINE, || {
        let status = web1.sh("mesh status").ok()?.stdout;
        let line = status.lines().find(|line| line.starts_with("ssh"))?;
        line.ends_with("off").then_some(())
    })
    .expect("the manager notices");
    let rules = web1.sh("nft list chain inet meshd to_ssh");
    let rules = rules.expect("the chain").stdout;
    assert!(!rules.contains("redirect"), "{rules}");
    talk.assert_alive("with SSH off");
    mesh.start_broker("web1").expect("started");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
}

#[test]
fn logins_go_on_without_control() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.take_control().crash().expect("killed");
    assert_login(&mesh);
    for host in ["web1", "laptop"] {
        mesh.take_manager(host).stop().expect("stopped");
        mesh.start_manager(host).expect("started");
    }
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    mesh.start_control().expect("started");
    let nodes = mesh
        .meshd_control(&["nodes", "list"])
        .expect("nodes")
        .stdout;
    assert!(
        nodes.contains("laptop") && nodes.contains("web1"),
        "{nodes}"
    );
    assert_login(&mesh);
}
