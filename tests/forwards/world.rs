//! A mesh, programs that listen in it, and clients that forward.

use std::time::Duration;

use meshd_lab::{DEADLINE, HostCommand, Mesh, Output, Running, policy_with, wait_for};

/// How long a transfer of many bytes may take.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// Serves each connection in a thread: `echo` sends back what comes and closes when that has
/// ended; `late` sends only after the client's end; `deaf` reads nothing; `who` says who calls.
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

/// Connects, sends its input, says that this is all, and shows what comes until the end.
const CLIENT: &str = r#"
import socket, sys, threading
address, port = sys.argv[1:3]
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
threading.Thread(target=feed, daemon=True).start()
while True:
    data = s.recv(65536)
    if not data:
        break
    sys.stdout.buffer.write(data)
sys.stdout.buffer.flush()
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
