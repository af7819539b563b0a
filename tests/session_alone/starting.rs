//! The start, and what the process is after it.

use std::fs;
use std::net::TcpStream;
use std::process::Stdio;

use crate::client::{Server, text};
use crate::started::{Start, accept, accepted, ends, start};
use crate::worker::{Manners, Worker};

#[test]
fn the_process_has_no_privilege_and_sees_no_file() {
    let server = Server::new(Manners::default());
    let mut ssh = server
        .ssh(&[], &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh");
    echo(&mut ssh);
    let process = format!("/proc/{}", server.session());
    let status = fs::read_to_string(format!("{process}/status")).expect("a status");
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "Threads:\t1",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(
            status.lines().any(|found| found == line),
            "{line} in {status}"
        );
    }
    let root = fs::read_link(format!("{process}/root")).expect("a root");
    assert_eq!(root.as_os_str(), "/run/meshd-ssh/empty");
    assert!(
        fs::read(format!("{process}/environ"))
            .expect("an environment")
            .is_empty()
    );
    let limits = fs::read_to_string(format!("{process}/limits")).expect("limits");
    for limit in ["Max file size", "Max processes", "Max core file size"] {
        let line = limits
            .lines()
            .find(|line| line.starts_with(limit))
            .expect("a limit");
        assert_eq!(line.split_whitespace().rev().nth(1), Some("0"), "{line}");
    }
    drop(ssh.stdin.take());
    assert!(ssh.wait().expect("an end").success());
}

fn echo(ssh: &mut std::process::Child) {
    use std::io::{Read, Write};
    ssh.stdin
        .as_mut()
        .expect("a pipe")
        .write_all(b"x")
        .expect("writes");
    let mut byte = [0];
    ssh.stdout
        .as_mut()
        .expect("a pipe")
        .read_exact(&mut byte)
        .expect("reads");
    assert_eq!(&byte, b"x");
}

#[test]
fn a_wrong_start_serves_nothing() {
    for how in [
        Start::AsRoot,
        Start::WithoutCapability,
        Start::WithoutEmptyRoot,
        Start::WithoutWorker,
    ] {
        let (listener, address) = accepted();
        let client = TcpStream::connect(address).expect("a connection");
        let mut session = start(accept(&listener), how);
        let status = session.child.wait().expect("an end");
        assert_eq!(status.code(), Some(1));
        drop(listener);
        let mut byte = [0];
        let read = std::io::Read::read(&mut &client, &mut byte);
        assert!(!matches!(read, Ok(1..)), "nothing was said");
    }
}

#[test]
fn nobody_runs_it_by_hand() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_meshd-session"))
        .arg("--help")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is started by meshd-broker"));
}

#[test]
fn the_manager_sees_the_end_of_the_process() {
    let (listener, address) = accepted();
    let client = TcpStream::connect(address).expect("a connection");
    let mut session = start(accept(&listener), Start::Right);
    let _worker = Worker::serve(session.worker, Manners::default());
    drop(client);
    assert!(ends(&session.manager));
    assert!(session.child.wait().expect("an end").success());
}

#[test]
fn a_worker_that_says_nothing_right_is_not_served() {
    let (listener, address) = accepted();
    let _client = TcpStream::connect(address).expect("a connection");
    let mut session = start(accept(&listener), Start::Right);
    drop(session.worker);
    assert_eq!(session.child.wait().expect("an end").code(), Some(1));
}

#[test]
fn a_host_without_a_host_key_says_so() {
    let server = Server::new(Manners {
        host_key: false,
        ..Manners::default()
    });
    let output = server.exec("true");
    let log = text(&output.stderr);
    assert!(log.contains("meshd: this host has no host key"), "{log}");
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn nonsense_ends_the_connection_and_nothing_worse() {
    let mut noise = b"SSH-2.0-noise\r\n".to_vec();
    noise.extend((0..4096_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()));
    for bytes in [&noise[..], b"GET / HTTP/1.0\r\n\r\n", b"\0", &[0xff; 300]] {
        let (listener, address) = accepted();
        let mut client = TcpStream::connect(address).expect("a connection");
        let mut session = start(accept(&listener), Start::Right);
        let _worker = Worker::serve(session.worker, Manners::default());
        std::io::Write::write_all(&mut client, bytes).expect("sends");
        client.shutdown(std::net::Shutdown::Write).expect("ends");
        let status = session.child.wait().expect("an end");
        assert!(status.success(), "{status}");
    }
}
