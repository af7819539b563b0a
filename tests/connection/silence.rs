//! Clients that vanish without a word, and those that only have nothing to say.

use std::io::{BufRead, BufReader, Read};

use meshd_contract::paths;
use meshd_lab::{DEADLINE, Mesh, Running, wait_for};

/// Asks every second, and twice in vain.
const ASKING: &str = "[limits]\nclient_alive_interval = 1\nclient_alive_count_max = 2\n";

const REASON: &str = "reason=\"the client does not answer any more\"";

fn mesh_with(limits: &str) -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.write(paths::SSH_CONFIG, limits).expect("limits");
    let note = "#!/bin/sh\necho $PAM_TYPE >>/root/pam\n";
    web1.write("/root/note", note).expect("a script");
    web1.sh("chmod 755 /root/note; \
         echo 'session optional pam_exec.so /root/note' >>/etc/pam.d/meshd-ssh")
        .expect("a PAM service");
    mesh
}

/// The client's packets, and those to it, are lost from now on.
fn cut(mesh: &Mesh) {
    mesh.host("laptop")
        .sh("ip link set eth0 down")
        .expect("is cut off");
}

fn closed_by_pam(mesh: &Mesh) -> usize {
    let noted = mesh.host("web1").read_text("/root/pam").expect("notes");
    noted.matches("close_session").count()
}

fn wait_for_ends(mesh: &Mesh, number: usize) {
    wait_for("the records", DEADLINE, || {
        let log = mesh.log("web1", "meshd-broker");
        (log.matches(REASON).count() == number).then_some(())
    })
    .unwrap_or_else(|late| panic!("{late}\n{}", mesh.log("web1", "meshd-broker")));
}

/// A command that has said that it is there.
fn started(mesh: &Mesh, command: &str) -> Running {
    let command = format!("echo ready; {command}");
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1", &command])
        .spawn()
        .expect("ssh");
    let mut line = String::new();
    let output = ssh.stdout.as_mut().expect("a pipe");
    let mut output = BufReader::with_capacity(1, output);
    output.read_line(&mut line).expect("reads");
    assert_eq!(line, "ready\n");
    ssh
}

#[test]
fn a_client_that_vanishes_hangs_its_terminal_up() {
    let mesh = mesh_with(ASKING);
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let _ssh = mesh
        .ssh("laptop", &["alice@web1"])
        .spawn_on(&terminal)
        .expect("ssh");
    terminal.expect("alice@web1", DEADLINE).expect("a prompt");
    let job = "sh -c 'trap \"touch /tmp/foreground; exit\" HUP; \
               touch /tmp/there; while :; do sleep 0.1; done'\r";
    terminal.send(job).expect("typed");
    mesh.wait_for_file("web1", "/tmp/there").expect("a job");
    cut(&mesh);
    mesh.wait_for_file("web1", "/tmp/foreground")
        .expect("its foreground group is hung up");
    mesh.wait_until_empty("web1", "alice")
        .expect("its leader is hung up");
    wait_for_ends(&mesh, 1);
    assert_eq!(closed_by_pam(&mesh), 1);
}

#[test]
fn a_client_that_vanishes_in_a_transfer_either_way_is_noticed() {
    let mesh = mesh_with(ASKING);
    let mut download = started(&mesh, "exec cat /dev/zero");
    let mut output = download.stdout.take().expect("a pipe");
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while output.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    let mut upload = started(&mesh, "exec cat >/dev/null");
    let mut input = upload.stdin.take().expect("a pipe");
    let writing =
        std::thread::spawn(
            move || {
                while std::io::Write::write_all(&mut input, &[0; 1 << 16]).is_ok() {}
            },
        );
    cut(&mesh);
    wait_for_ends(&mesh, 2);
    mesh.wait_until_empty("web1", "alice").expect("is over");
    assert_eq!(closed_by_pam(&mesh), 2);
    download.kill().expect("an end");
    upload.kill().expect("an end");
    reading.join().expect("no panic");
    writing.join().expect("no panic");
}

#[test]
fn a_session_outlives_the_time_to_log_in() {
    let mesh = mesh_with("[limits]\nlogin_grace = 1\n");
    // Longer than the time and what the worker adds to it.
    let idle = mesh.ssh("laptop", &["alice@web1", "sleep 8; echo still"]);
    assert_eq!(idle.succeed().expect("a session").stdout, "still\n");
}
