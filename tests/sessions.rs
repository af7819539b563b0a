//! `mesh sessions`: who is here, and how to end it.

use meshd_lab::{DEADLINE, HostCommand, Mesh, wait_for};

fn mesh_sessions(mesh: &Mesh, arguments: &[&str]) -> HostCommand {
    let command = mesh.host("web1").command("mesh").arg("sessions");
    command.args(arguments.iter().copied())
}

fn listed(mesh: &Mesh) -> Vec<String> {
    let shown = mesh_sessions(mesh, &[]).succeed().expect("sessions").stdout;
    shown.lines().skip(1).map(str::to_owned).collect()
}

/// Waits until one line has all these words.
fn wait_for_line(mesh: &Mesh, words: &[&str]) -> String {
    let mut last = Vec::new();
    let found = wait_for("a line of mesh sessions", DEADLINE, || {
        last = listed(mesh);
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        last.iter().find(fits).cloned()
    });
    found.unwrap_or_else(|late| panic!("{late}: {words:?} in {last:#?}"))
}

#[test]
fn a_session_is_listed_with_all_that_runs_in_it() {
    let mesh = Mesh::of_two().expect("a mesh");
    wait_for("nobody", DEADLINE, || {
        listed(&mesh).is_empty().then_some(())
    })
    .expect("nobody");
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let ssh = mesh.ssh("laptop", &["alice@web1"]).spawn_on(&terminal);
    let mut ssh = ssh.expect("ssh");
    terminal.expect("alice@web1", DEADLINE).expect("a prompt");
    let line = wait_for_line(&mesh, &["shell pts/0 pid "]);
    for word in ["laptop", "alice@example.com", " alice ", " s ago"] {
        assert!(line.contains(word), "{line}");
    }
    let pid = line.split("shell pts/0 pid ").nth(1);
    let pid = pid
        .and_then(|rest| rest.split(' ').next())
        .expect("a number");
    let name = mesh.host("web1").sh(&format!("ps -o comm= -p {pid}"));
    assert_eq!(name.expect("it runs").stdout, "bash\n");
    let json = mesh_sessions(&mesh, &["--json"]).user("bob").succeed();
    let json = json.expect("anybody may ask").stdout;
    for field in [
        "\"login\": \"alice\"",
        "\"kind\": \"shell\"",
        "\"terminal\": \"/dev/pts/0\"",
        "\"busy\": false",
    ] {
        assert!(json.contains(field), "{field} in {json}");
    }
    terminal.send("exit\r").expect("typed");
    ssh.wait(DEADLINE).expect("an end");
    wait_for("nobody", DEADLINE, || {
        listed(&mesh).is_empty().then_some(())
    })
    .expect("nobody");
}

#[test]
fn what_a_connection_forwards_is_listed() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    let serve = ["-m", "http.server", "--bind", "127.0.0.1", "8001"];
    let serve = web1.command("/usr/bin/python3").args(serve);
    let _server = serve.user("bob").spawn().expect("a server");
    wait_for("the server", DEADLINE, || {
        let listening = web1.sh("ss -Htln 'sport = :8001'").ok()?.stdout;
        (!listening.is_empty()).then_some(())
    })
    .expect("it listens");
    let forwards = "-L 7001:localhost:8001 -R 0:localhost:1 -R /tmp/there.sock:localhost:1";
    let script = format!("exec ssh-agent ssh -o BatchMode=yes -A {forwards} alice@web1 sleep 1000");
    let laptop = mesh.host("laptop");
    let ssh = laptop.command("sh").args(["-c", &script]);
    let _ssh = ssh.spawn().expect("ssh");
    let line = wait_for_line(&mesh, &["agent, remote /tmp/there.sock, remote localhost:"]);
    assert!(!line.contains("local localhost"), "{line}");
    let held = "exec 3<>/dev/tcp/127.0.0.1/7001; echo ready; sleep 1000";
    let held = || laptop.command("bash").args(["-c", held]).spawn();
    let (one, _two) = (held().expect("a client"), held().expect("a client"));
    wait_for_line(&mesh, &["agent, local localhost:8001 (2), remote "]);
    drop(one);
    wait_for_line(&mesh, &["agent, local localhost:8001 (1), remote "]);
    let json = mesh_sessions(&mesh, &["--json"])
        .succeed()
        .expect("sessions");
    for field in [
        "\"kind\": \"local\"",
        "\"endpoint\": \"localhost:8001\"",
        "\"connections\": 1",
    ] {
        assert!(json.stdout.contains(field), "{field} in {json:?}");
    }
}

#[test]
fn who_has_not_logged_in_is_listed_as_such() {
    let mesh = Mesh::of_two().expect("a mesh");
    let silent = mesh.host("laptop").command("bash");
    let silent = silent.args(["-c", "exec 3<>/dev/tcp/web1/22; read -n 4 <&3; sleep 1000"]);
    let _silent = silent.spawn().expect("a connection");
    let line = wait_for_line(&mesh, &["(unauthenticated)"]);
    assert!(line.contains("laptop"), "{line}");
}

#[test]
fn a_session_is_killed_by_the_beginning_of_its_id() {
    let mesh = Mesh::of_two().expect("a mesh");
    let stubborn = "trap '' HUP; touch /tmp/there; while :; do sleep 1; done";
    let ssh = mesh.ssh("laptop", &["alice@web1", stubborn]).spawn();
    let mut ssh = ssh.expect("ssh");
    mesh.wait_for_file("web1", "/tmp/there").expect("a session");
    let line = wait_for_line(&mesh, &["exec pid"]);
    let id = line.split(' ').next().expect("an ID").to_owned();
    let kill = |id: &str| mesh_sessions(&mesh, &["kill", id]);
    let denied = kill(&id).user("bob").output().expect("an end");
    assert_eq!(denied.status.code(), Some(1));
    assert!(denied.stderr.contains("needs root"), "{}", denied.stderr);
    let unknown = kill("nonsense").output().expect("an end");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        unknown.stderr.contains("mesh sessions lists them"),
        "{}",
        unknown.stderr
    );
    kill(&id[..id.len() - 1]).succeed().expect("killed");
    assert!(listed(&mesh).is_empty());
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(255));
    mesh.wait_until_empty("web1", "alice")
        .expect("nothing left");
    let again = mesh.ssh("laptop", &["alice@web1", "echo again"]).succeed();
    assert_eq!(again.expect("its right is as it was").stdout, "again\n");
}

#[test]
fn a_worker_that_stands_still_is_busy_and_keeps_nobody_waiting() {
    let mesh = Mesh::of_two().expect("a mesh");
    let ssh = mesh.ssh("laptop", &["alice@web1", "touch /tmp/there; sleep 1000"]);
    let _ssh = ssh.spawn().expect("ssh");
    mesh.wait_for_file("web1", "/tmp/there").expect("a session");
    wait_for_line(&mesh, &["exec pid"]);
    let processes = mesh.host("web1").processes().expect("processes");
    let worker = processes.iter().find(|p| p.command.contains("worker"));
    let worker = worker.expect("a worker").pid;
    mesh.host("web1").kill("STOP", worker).expect("stopped");
    let _other = mesh
        .ssh("laptop", &["alice@web1", "touch /tmp/other; sleep 1000"])
        .spawn();
    mesh.wait_for_file("web1", "/tmp/other")
        .expect("others log in");
    let line = wait_for_line(&mesh, &["(busy)"]);
    for word in ["laptop", " alice ", "exec pid"] {
        assert!(line.contains(word), "what was known: {line}");
    }
    let shown = listed(&mesh);
    assert_eq!(shown.len(), 2, "{shown:#?}");
    mesh.host("web1").kill("CONT", worker).expect("goes on");
    wait_for("nobody busy", DEADLINE, || {
        (!listed(&mesh).iter().any(|line| line.contains("(busy)"))).then_some(())
    })
    .expect("it answers");
}

#[test]
fn the_sandbox_is_a_line_of_the_status() {
    let mesh = Mesh::of_two().expect("a mesh");
    let status = |arguments: &[&str]| {
        let command = mesh.host("web1").command("mesh").arg("status");
        let shown = command.args(arguments.iter().copied()).succeed();
        shown.expect("a status").stdout
    };
    mesh.ssh("laptop", &["alice@web1", "true"])
        .succeed()
        .expect("a login");
    let shown = status(&[]);
    let line = shown.lines().find(|line| line.starts_with("sandbox "));
    let line = line.expect("a line of the sandbox");
    assert!(
        line.contains("Landlock ") && line.contains(" system calls"),
        "{line}"
    );
    assert!(status(&["--json"]).contains("\"source\": \"session\""));
    let log = mesh.log("web1", "meshd-broker");
    assert!(log.contains("Landlock ABI "), "at the start: {log}");
    let warnings = mesh.log("web1", "meshd");
    assert!(
        warnings
            .matches("sandbox of SSH sessions is incomplete")
            .count()
            <= 2
    );
}
