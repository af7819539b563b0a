//! Programs that are reached at a Unix socket.

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::laptop::{need, on_laptop};

/// A service of the user's as `podman system service` is one: HTTP at a Unix socket.
const SERVICE: &str = r#"
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.path} of {os.getuid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "-"
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass
os.makedirs("run/podman", mode=0o700)
Server("run/podman/podman.sock", Handler).serve_forever()
"#;

#[test]
fn a_service_at_a_unix_socket_answers_through_a_local_one() {
    let mesh = Mesh::of_two().expect("a mesh");
    need(&mesh, &[("curl", "curl")]);
    let web1 = mesh.host("web1");
    let service = web1.command("env").args(["-C", "/home/alice", "python3"]);
    let service = service.args(["-c", SERVICE]).user("alice");
    let _service = service.spawn().expect("a service");
    let socket = "/home/alice/run/podman/podman.sock";
    mesh.wait_for_file("web1", socket).expect("a socket");
    let forward = format!("/tmp/podman.sock:{socket}");
    let forward = ["-N", "-L", &forward, "alice@web1"];
    let _ssh = mesh.ssh("laptop", &forward).spawn().expect("ssh");
    mesh.wait_for_file("laptop", "/tmp/podman.sock")
        .expect("a socket");
    let ask = "curl -sS --unix-socket /tmp/podman.sock http://d/v4/one http://d/v4/two";
    let said = on_laptop(&mesh, ask).succeed().expect("answers").stdout;
    let uid = web1.sh("id -u alice").expect("an account").stdout;
    assert_eq!(said, format!("/v4/one of {uid}/v4/two of {uid}"));
}

/// What the wiki of GnuPG has people put into their configuration, and a key to sign with.
const GPG: &str = "mkdir -m 700 .gnupg
    gpg --batch --quiet --passphrase '' --quick-generate-key alice@example.com
    gpg --export alice@example.com >/tmp/alice.gpg
    mkdir -m 700 .ssh
    extra=$(gpgconf --list-dirs agent-extra-socket)
    agent=/home/alice/.gnupg/S.gpg-agent
    printf 'Host web1\n User alice\n RemoteForward %s %s\n ExitOnForwardFailure yes\n' \
        $agent $extra >.ssh/config
    ssh -o ClearAllForwardings=yes web1 'mkdir -m 700 .gnupg && gpg --batch --quiet --no-autostart --import' \
        </tmp/alice.gpg";

#[test]
fn gpg_signs_on_the_host_with_the_agent_of_the_client() {
    let mesh = Mesh::of_two().expect("a mesh");
    need(&mesh, &[("gpg", "gnupg"), ("gpg-agent", "gnupg")]);
    let prepare = format!("cd; {GPG}");
    on_laptop(&mesh, &prepare).succeed().expect("a key");
    let sign = "ssh web1 'echo text | gpg --batch --no-autostart --clearsign' | gpg --verify 2>&1";
    for _ in 0..2 {
        let said = on_laptop(&mesh, sign).succeed().expect("a signature");
        assert!(said.stdout.contains("Good signature"), "{said:?}");
        // Nothing is left that the next connection could stumble over.
        wait_for("end of the socket", DEADLINE, || {
            let there = mesh.host("web1").exists("/home/alice/.gnupg/S.gpg-agent");
            (!there).then_some(())
        })
        .expect("nothing is left");
    }
}
