//! New keys while everything is under way.

use std::io::Read;
use std::time::Duration;

use meshd_lab::{DEADLINE, HostCommand, Mesh, wait_for};

/// On a busy machine.
const LONG: Duration = Duration::from_secs(400);

const SOCKET: &str = "/tmp/shared";

/// A file of so many MiB without a pattern, on both hosts.
fn mesh_with_files(mebibytes: usize) -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    let make = format!(
        "head -c {mebibytes}M /dev/zero | openssl enc -aes-128-ctr -pass pass:x -nosalt >/tmp/file \
         2>/dev/null; chmod 644 /tmp/file"
    );
    for host in ["laptop", "web1"] {
        mesh.host(host).sh(&make).expect("a file");
    }
    mesh
}

fn in_shell(mesh: &Mesh, script: &str) -> HostCommand {
    let shell = mesh.host("laptop").command("bash").args(["-c", script]);
    shell.deadline(LONG)
}

#[test]
fn shell_command_files_and_forward_survive_new_keys_at_once() {
    let mesh = mesh_with_files(26);
    let _echo = mesh
        .host("web1")
        .command("/usr/bin/python3")
        .args(["-c", ECHO])
        .spawn()
        .expect("a server");
    let mut master = mesh
        .ssh(
            "laptop",
            &[
                "-v",
                "-M",
                "-S",
                SOCKET,
                "-o",
                "RekeyLimit=1M 1",
                "-N",
                "alice@web1",
            ],
        )
        .spawn()
        .expect("a master");
    let mut log = master.stderr.take().expect("a pipe");
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = log.read_to_string(&mut text);
        text
    });
    mesh.wait_for_file("laptop", SOCKET).expect("a socket");
    wait_for("the server", DEADLINE, || {
        mesh.host("web1").exists("/tmp/serves").then_some(())
    })
    .expect("a server");
    // Each sends the file and has it back, so 104 MiB go each way at once.
    let all = format!(
        "ssh='ssh -S {SOCKET} web1'
        $ssh cat </tmp/file >/tmp/exec & exec=$!
        {{ echo exec cat; cat /tmp/file; }} | $ssh -T >/tmp/shell & shell=$!
        echo 'put /tmp/file /tmp/put' | sftp -q -b - -o ControlPath={SOCKET} web1 >/dev/null & put=$!
        echo 'get /tmp/file /tmp/get' | sftp -q -b - -o ControlPath={SOCKET} web1 >/dev/null & get=$!
        ssh -S {SOCKET} -W 127.0.0.1:7007 web1 </tmp/file >/tmp/forward & forward=$!
        wait $exec && wait $shell && wait $put && wait $get && wait $forward || exit 1
        for copy in exec shell get forward; do cmp /tmp/file /tmp/$copy || exit 2; done"
    );
    in_shell(&mesh, &all).succeed().expect("nothing is lost");
    mesh.host("web1")
        .sh("cmp /tmp/file /tmp/put")
        .expect("nothing is lost");
    master.kill().expect("an end");
    let exchanges = log.join().expect("no panic");
    let exchanges = exchanges.matches("SSH2_MSG_NEWKEYS received").count();
    assert!(exchanges > 50, "{exchanges} key exchanges");
}

/// Sends back what comes.
const ECHO: &str = r#"
import socket
listener = socket.create_server(("127.0.0.1", 7007))
open("/tmp/serves", "w").close()
peer, _ = listener.accept()
while data := peer.recv(65536):
    peer.sendall(data)
peer.close()
"#;

#[test]
fn a_thousand_key_exchanges_are_none_too_many() {
    let mesh = mesh_with_files(90);
    let echo = "ssh -v -o RekeyLimit=16K alice@web1 cat </tmp/file 2>/tmp/log | cmp /tmp/file";
    in_shell(&mesh, echo).succeed().expect("nothing is lost");
    let count = "grep -c 'SSH2_MSG_NEWKEYS received' /tmp/log";
    let count = mesh.host("laptop").sh(count).expect("a log").stdout;
    let count: u32 = count.trim().parse().expect("a number");
    assert!(count > 1000, "{count} key exchanges");
}
