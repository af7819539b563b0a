//! How much one connection may forward, and for how long a connection may be on its way.

use std::io::{BufRead, BufReader, Lines};
use std::process::ChildStderr;

use meshd_lab::{DEADLINE, Mesh, Running, wait_for};

use crate::world::{ask, client, echo, forward, wait_for_port};

/// What ssh says, line by line.
fn complaints(ssh: &mut Running) -> Lines<BufReader<ChildStderr>> {
    BufReader::new(ssh.stderr.take().expect("its errors")).lines()
}

fn next(complaints: &mut Lines<BufReader<ChildStderr>>) -> String {
    complaints.next().expect("a line").expect("text")
}

/// Has web1 answer nothing that comes to a port of its own.
fn swallow(mesh: &Mesh, port: u16) {
    let table = format!(
        "add table inet hole\nadd chain inet hole input {{ type filter hook input priority 0; }}\n\
         add rule inet hole input tcp dport {port} drop\n"
    );
    let nft = mesh.host("web1").command("nft").args(["-f", "-"]);
    nft.input(table).succeed().expect("a rule");
}

#[test]
fn a_target_that_never_answers_fails_in_time_and_frees_its_place() {
    let mesh = Mesh::of_two().expect("a mesh");
    let limits = "[limits]\nconnecting = 1\nconnect = 3\n";
    let web1 = mesh.host("web1");
    web1.write("/etc/meshd/ssh.toml", limits).expect("written");
    swallow(&mesh, 8009);
    let _echo = echo(&mesh, "web1", 8001);
    let silent = ["-L", "7009:127.0.0.1:8009", "-L", "7001:127.0.0.1:8001"];
    let mut ssh = forward(&mesh, &silent);
    let mut complaints = complaints(&mut ssh);
    wait_for_port(&mesh, "laptop", 7001);
    let waiting = client(&mesh, "laptop", "127.0.0.1", 7009);
    let mut waiting = waiting.spawn().expect("a client");
    wait_for("a connection on its way", DEADLINE, || {
        let open = web1.sh("ss -Htn state syn-sent '( dport = :8009 )'");
        (!open.ok()?.stdout.is_empty()).then_some(())
    })
    .expect("it is tried");
    let at_once = client(&mesh, "laptop", "127.0.0.1", 7001).input("hello");
    assert_eq!(at_once.output().expect("an end").stdout, "");
    let refused = next(&mut complaints);
    assert!(
        refused.contains("resource shortage: too many forwarded connections in this connection"),
        "{refused}"
    );
    waiting.wait(DEADLINE).expect("it fails");
    let failed = next(&mut complaints);
    assert!(
        failed.contains("connect failed: Connection timed out"),
        "{failed}"
    );
    assert_eq!(ask(&mesh, "laptop", 7001, "hello").stdout, "hello");
}

/// Opens connections to a port one after the other, each with an echo, until one fails; says how
/// many there were; closes one, and opens one more.
const MANY: &str = r#"
import socket
def connect():
    s = socket.create_connection(("127.0.0.1", 7001))
    s.settimeout(60)
    try:
        s.sendall(b"x")
        return s if s.recv(1) == b"x" else None
    except ConnectionResetError:
        return None
held = []
while len(held) < 1000 and (s := connect()):
    held.append(s)
print(len(held))
held.pop(0).close()
while not connect():
    pass
print("again")
"#;

#[test]
fn a_connection_has_256_forwards_and_is_told_so_at_the_next() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = echo(&mesh, "web1", 8001);
    let mut ssh = forward(&mesh, &["-L", "7001:localhost:8001"]);
    let mut complaints = complaints(&mut ssh);
    wait_for_port(&mesh, "laptop", 7001);
    let many = mesh.host("laptop").command("/usr/bin/python3");
    let many = many.args(["-c", MANY]).deadline(DEADLINE * 3).succeed();
    assert_eq!(many.expect("an end").stdout, "256\nagain\n");
    let refused = next(&mut complaints);
    assert!(
        refused.contains("resource shortage: too many forwarded connections in this connection"),
        "{refused}"
    );
    assert_eq!(ssh.ended(), None);
}
