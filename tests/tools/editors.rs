//! What editors do to work on a host.

use std::io::{BufRead, BufReader, Write};

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::laptop::{need, on_laptop, wait_for_connections};

/// A server for [`BOOTSTRAP`] that writes down its port and answers with a word for each line.
const SERVER: &str = r#"
import os, socket, sys, threading
def serve(peer):
    for line in peer.makefile("rb"):
        peer.sendall(b"served " + line)
    peer.close()
listener = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(listener.getsockname()[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// The steps by which VS Code's Remote-SSH puts its server on a host: it looks at the host, unpacks
/// what it downloads or is sent, starts the server in the background, and prints where it listens
/// between two marks.
const BOOTSTRAP: &str = r#"
mark=f2b1
echo "$mark: running"
uname -ms
directory=$HOME/.editor-server/bin/0123abcd
if [ ! -x "$directory/server" ]; then
    mkdir -p "$directory"
    command -v base64 >/dev/null || { echo "$mark: no base64"; exit 1; }
    base64 -d >"$directory/server" <<'END'
SERVER
END
    chmod 755 "$directory/server"
fi
port=$directory/port
if [ ! -s "$port" ]; then
    nohup /usr/bin/python3 "$directory/server" "$port" >"$directory/log" 2>&1 </dev/null &
    while [ ! -s "$port" ]; do :; done
fi
echo "$mark: start"
echo "listeningOn==$(cat "$port")=="
echo "osReleaseId==$(sed -n 's/^ID=//p' /etc/os-release)=="
echo "tmpDir==${XDG_RUNTIME_DIR:-/tmp}=="
echo "$mark: end"
"#;

fn bootstrap(mesh: &Mesh) -> String {
    let encode = mesh.host("laptop").command("base64").input(SERVER);
    let server = encode.succeed().expect("base64").stdout;
    BOOTSTRAP.replace("SERVER\n", &server)
}

/// Asks the server at a port through the SOCKS proxy of port 7000 of `laptop`.
const THROUGH_PROXY: &str = "exec 3<>/dev/tcp/127.0.0.1/7000
    printf '\\5\\1\\0' >&3; head -c 2 <&3 >/dev/null
    printf '\\5\\1\\0\\1\\x7f\\0\\0\\1%b' $(printf '\\\\x%02x\\\\x%02x' $((PORT >> 8)) $((PORT & 255))) >&3
    head -c 10 <&3 >/dev/null
    echo through >&3; head -n 1 <&3";

#[test]
fn a_server_in_the_manner_of_vs_code_is_put_on_the_host_and_reached() {
    let mesh = Mesh::of_two().expect("a mesh");
    let script = bootstrap(&mesh);
    let words = [
        "-T",
        "-D",
        "7000",
        "alice@web1",
        "bash",
        "--login",
        "-c",
        "bash",
    ];
    let mut ssh = mesh.ssh("laptop", &words).spawn().expect("ssh");
    let mut stdin = ssh.stdin.take().expect("its input");
    stdin.write_all(script.as_bytes()).expect("sent");
    stdin.flush().expect("sent");
    let said = BufReader::new(ssh.stdout.take().expect("its output")).lines();
    let said: Vec<String> = said
        .map_while(Result::ok)
        .take_while(|line| line != "f2b1: end")
        .collect();
    let port = said
        .iter()
        .find_map(|line| line.strip_prefix("listeningOn=="));
    let port = port.and_then(|rest| rest.strip_suffix("=="));
    let port = port.unwrap_or_else(|| panic!("{said:#?}"));
    // The connection of the bootstrap carries what goes to the server.
    let through = format!("PORT={port}\n{THROUGH_PROXY}");
    let answer = on_laptop(&mesh, &through).succeed().expect("an answer");
    assert_eq!(answer.stdout, "served through\n");
    drop(stdin);
    let end = ssh.wait(DEADLINE).expect("an end");
    assert_eq!(end.code(), Some(0));
    wait_for_connections(&mesh, <[String]>::is_empty);
    // The server has stayed, and a second window finds it.
    let again = mesh.ssh("laptop", &["-T", "alice@web1", "bash --login -c bash"]);
    let again = again.input(script).succeed().expect("a session").stdout;
    assert!(again.contains(&format!("listeningOn=={port}==")), "{again}");
    let forward = format!("7001:127.0.0.1:{port}");
    let forward = ["-N", "-L", &forward, "alice@web1"];
    let _forward = mesh.ssh("laptop", &forward).spawn().expect("ssh");
    let ask = "exec 3<>/dev/tcp/127.0.0.1/7001; echo direct >&3; head -n 1 <&3";
    wait_for("an answer", DEADLINE, || {
        let answer = on_laptop(&mesh, ask).output().ok()?.stdout;
        (answer == "served direct\n").then_some(())
    })
    .expect("the server is reached");
}

#[test]
fn commands_files_and_a_port_share_one_connection_as_with_jetbrains() {
    let mesh = Mesh::of_two().expect("a mesh");
    need(&mesh, &[("curl", "curl")]);
    let serve = "mkdir site; echo page >site/index.html; \
                 exec python3 -m http.server --directory site --bind 127.0.0.1 8001";
    let script = format!(
        "mux() {{ \"$1\" -o ControlPath=/tmp/mux \"${{@:2}}\"; }}
        ssh -M -S /tmp/mux -f -N -L 7001:127.0.0.1:8001 alice@web1
        mux ssh alice@web1 'uname -s; echo $HOME'
        head -c 5M /dev/urandom >/tmp/archive
        mux sftp -q -b - alice@web1 <<<'put /tmp/archive archive' >/dev/null
        mux ssh alice@web1 'sha256sum <archive' | cmp - <(sha256sum </tmp/archive)
        mux ssh alice@web1 '{serve}' >/dev/null 2>&1 &
        curl -sS --retry 100 --retry-all-errors --retry-delay 1 http://127.0.0.1:7001/
        mux sftp -q -b - alice@web1 <<<'get site/index.html /tmp/page' >/dev/null
        cat /tmp/page
        exec 3<>/dev/tcp/127.0.0.1/7001
        ssh alice@web1 mesh sessions | grep -c 'local 127.0.0.1:8001 (1)'
        ssh -S /tmp/mux -O exit alice@web1"
    );
    let said = on_laptop(&mesh, &script).succeed().expect("an end");
    assert_eq!(said.stdout, "Linux\n/home/alice\npage\npage\n1\n");
}
