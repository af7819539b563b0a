//! A mesh, programs that listen in it, and clients that forward.

use std::time::Duration;

use meshd_lab::{DEADLINE, HostCommand, Mesh, Output, Owner, Running, policy_with, wait_for};

/// How long a transfer of many bytes may take.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// Serves each connection in a thread: `echo` sends back what comes and closes when that has
/// ended; `late` sends only after the client's end; `early` sends and ends before it reads, and
/// then writes down how much it was sent; `deaf` reads nothing; `who` says who calls.
/// Arguments: what, family (`tcp`, `tcp6` or `unix`), address or path, port.
const SERVER: &str = r#"
import os, socket, struct, sys, threading, time
what, family, address, port = sys.argv[1:5]
if family == "unix":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
else:
    listener = socket.socket(socket.AF_INET6 if family == "tcp6" else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, int(port)))
listener.listen(64)
open("/tmp/serves-" + port, "w").close()

def serve(peer):
    if what == "deaf":
        time.sleep(1000)
    elif what == "early":
        peer.sendall(b"early")
        peer.shutdown(socket.SHUT_WR)
        length = 0
        while data := peer.recv(65536):
            length += len(data)
        with open("/tmp/received", "w") as file:
            file.write(str(length))
    elif what == "who":
        creds = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        peer.sendall(b"uid %d\n" % struct.unpack("3i", creds)[1])
    else:
        held = b""
        while True:
            data = peer.recv(65536)
            if not data:
                break
            if what == "echo":
                peer.sendall(data)
            else:
                held += data
        peer.sendall(held)
    peer.close()

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// Connects, sends its input, says that this is all, and shows what comes until the end. With
/// `after` it sends only when nothing more comes.
const CLIENT: &str = r#"
import socket, sys, threading
address, port, after = sys.argv[1], sys.argv[2], "after" in sys.argv
if address.startswith("/"):
    s = socket.socket(socket.AF_UNIX)
    s.connect(address)
else:
    s = socket.create_connection((address, int(port)))
def feed():
    while True:
        data = sys.stdin.buffer.read1(65536)
        if not data:
            break
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
if not after:
    threading.Thread(target=feed, daemon=True).start()
while True:
    data = s.recv(65536)
    if not data:
        break
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
if after:
    feed()
"#;

/// Starts a server on a host as an account, and waits until it listens.
pub(crate) fn serve(mesh: &Mesh, host: &str, user: &str, words: [&str; 4]) -> Running {
    let server = mesh.host(host).command("/usr/bin/python3");
    let server = server.args(["-c", SERVER]).args(words).user(user);
    let running = server.spawn().expect("a server");
    let there = format!("/tmp/serves-{}", words[3]);
    mesh.wait_for_file(host, &there).expect("a server");
    running
}

/// A client of a TCP port or a Unix socket.
pub(crate) fn client(mesh: &Mesh, host: &str, address: &str, port: u16) -> HostCommand {
    let client = mesh.host(host).command("/usr/bin/python3");
    client.args(["-c", CLIENT, address, &port.to_string()])
}

/// What comes back from a port for this input.
pub(crate) fn ask(mesh: &Mesh, host: &str, port: u16, input: &str) -> Output {
    let client = client(mesh, host, "127.0.0.1", port).input(input);
    client.succeed().expect("an answer")
}

/// `ssh -N` with these options from the laptop to alice on web1.
pub(crate) fn forward(mesh: &Mesh, options: &[&str]) -> Running {
    let fails = ["-N", "-o", "ExitOnForwardFailure=yes"];
    let arguments = [&fails[..], options, &["alice@web1"]].concat();
    mesh.ssh("laptop", &arguments).spawn().expect("ssh")
}

/// Waits until something on a host accepts connections at a port of the loopback.
pub(crate) fn wait_for_port(mesh: &Mesh, host: &str, port: u16) {
    wait_for(&format!("port {port} of {host}"), DEADLINE, || {
        let listening = mesh.host(host).sh("ss -Htln").ok()?.stdout;
        let of_port = |line: &str| line.contains(&format!(":{port} "));
        listening.lines().any(of_port).then_some(())
    })
    .expect("a listener");
}

/// What the helpers of a host are, by account.
pub(crate) fn helpers(mesh: &Mesh, host: &str) -> Vec<String> {
    let all = mesh.host(host).processes().expect("processes");
    let helpers = all.into_iter().filter(|p| p.name == "meshd-helper");
    helpers.map(|p| p.user).collect()
}

/// Alice may become alice with these rights beside.
pub(crate) fn policy(rights: &str) -> String {
    policy_with(&format!(
        r#"{{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"] {rights}}}"#
    ))
}

/// Waits until nothing on a host listens at a port.
pub(crate) fn wait_for_no_port(mesh: &Mesh, host: &str, port: u16) {
    wait_for("end of the listener", DEADLINE, || {
        listening(mesh, host, port).is_empty().then_some(())
    })
    .expect("nothing listens");
}

/// The addresses at which something on a host listens at a port, in order.
pub(crate) fn listening(mesh: &Mesh, host: &str, port: u16) -> Vec<String> {
    let listed = mesh
        .host(host)
        .sh(&format!("ss -Htln 'sport = :{port}'"))
        .expect("a list")
        .stdout;
    let address = |line: &str| Some(line.split_whitespace().nth(3)?.to_owned());
    let mut addresses: Vec<String> = listed.lines().filter_map(address).collect();
    addresses.sort();
    addresses
}

/// An echo of a TCP port of the IPv4 loopback.
pub(crate) fn echo(mesh: &Mesh, host: &str, port: u16) -> Running {
    let user = if host == "laptop" { "root" } else { "bob" };
    let port = port.to_string();
    serve(mesh, host, user, ["echo", "tcp", "127.0.0.1", &port])
}

/// `laptop` of alice@example.com, who may become alice on `web1`, whose nodes may become alice on
/// `db1`; and so may she.
pub(crate) fn mesh_of_three() -> Mesh {
    let mut mesh = Mesh::start(&["laptop", "web1", "db1"]).expect("a mesh");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    let rules = r#"{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"]},
        {"action": "accept", "src": ["tag:web"], "dst": ["tag:web"], "users": ["alice"]}"#;
    mesh.set_policy(&policy_with(rules)).expect("saved");
    mesh.join("laptop", Owner::User("alice@example.com"))
        .expect("joined");
    for host in ["web1", "db1"] {
        mesh.host(host).add_user("alice").expect("an account");
        mesh.start_broker(host).expect("a broker");
        mesh.join(host, Owner::Tag("tag:web")).expect("joined");
    }
    mesh.wait_until_reachable("laptop", "web1").expect("web1");
    mesh.wait_until_reachable("web1", "db1").expect("db1");
    mesh
}
