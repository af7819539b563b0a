//! What one client can demand.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::client::{Server, run, text, wait};
use crate::started::{Start, accept, accepted, start};
use crate::worker::{Manners, Worker};

/// A session process with a client that speaks no SSH, and its worker.
fn raw(login_grace: u32) -> (TcpStream, Child, Worker) {
    let (listener, address) = accepted();
    let client = TcpStream::connect(address).expect("a connection");
    let session = start(accept(&listener), Start::Right);
    let manners = Manners {
        login_grace,
        ..Manners::default()
    };
    let worker = Worker::serve(session.worker, manners);
    (client, session.child, worker)
}

fn end(mut session: Child) -> ExitStatus {
    wait(&mut session)
}

/// Sends until the other side has closed the connection.
fn send_without_end(mut client: &TcpStream, piece: &[u8]) {
    let deadline = Some(Duration::from_secs(60));
    client.set_write_timeout(deadline).expect("a deadline");
    loop {
        match client.write_all(piece) {
            Ok(()) => {}
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "is not waited for");
                return;
            }
        }
    }
}

#[test]
fn a_giant_identification_ends_the_connection() {
    let (client, session, _worker) = raw(60);
    send_without_end(&client, &[b'A'; 1 << 16]);
    assert!(end(session).success());
}

#[test]
fn lines_without_end_before_the_identification_end_the_connection() {
    let (client, session, _worker) = raw(60);
    send_without_end(&client, &b"welcome\r\n".repeat(1000));
    assert!(end(session).success());
}

#[test]
fn a_giant_packet_ends_the_connection() {
    for length in [1 << 20, u32::MAX, i32::MAX as u32] {
        let (mut client, session, _worker) = raw(60);
        client.write_all(b"SSH-2.0-giant\r\n").expect("sends");
        client.write_all(&length.to_be_bytes()).expect("sends");
        send_without_end(&client, &[0; 1 << 16]);
        assert!(end(session).success());
    }
}

#[test]
fn who_says_nothing_or_too_slowly_has_the_time_to_log_in_and_no_more() {
    let (silent, session, _worker) = raw(2);
    assert!(end(session).success());
    drop(silent);
    let (mut slow, session, _worker) = raw(2);
    let letters = b"SSH-2.0-".iter().copied().chain(std::iter::repeat(b'x'));
    for letter in letters.take(10_000) {
        if slow.write_all(&[letter]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(end(session).success());
}

#[test]
fn who_reads_nothing_has_the_time_to_log_in_and_no_more() {
    let (mut client, session, _worker) = raw(2);
    client.write_all(b"SSH-2.0-deaf\r\n").expect("sends");
    assert!(end(session).success());
    // What was said stays to be read.
    let mut beginning = [0; 4];
    client.read_exact(&mut beginning).expect("reads");
    assert_eq!(&beginning, b"SSH-");
}

#[test]
fn of_ten_thousand_variables_some_arrive_and_the_session_lives() {
    let server = Server::new(Manners::default());
    for terminal in ["-T", "-tt"] {
        let mut ssh = server.ssh(&[terminal, "-o", "SendEnv=X_*"], &["echo", "on"]);
        ssh.envs((0..10_000).map(|number| (format!("X_{number}"), "value")));
        let output = run(&mut ssh, b"");
        assert_eq!(
            text(&output.stdout).trim_end(),
            "on",
            "{}",
            text(&output.stderr)
        );
        let arrived = server.worker(|worker| worker.asked_with("env X_"));
        assert_eq!(arrived, 128, "{terminal}");
    }
    let mut ssh = server.ssh(&["-o", "SendEnv=X_*"], &["echo", "on"]);
    ssh.envs((0..100).map(|number| (format!("X_{number}"), "v".repeat(10_000))));
    assert_eq!(text(&run(&mut ssh, b"").stdout), "on\n");
    let arrived = server.worker(|worker| worker.asked_with("env X_"));
    assert_eq!(arrived, 6, "64 KiB of them");
}

#[test]
fn the_worker_learns_what_was_carried() {
    let server = Server::new(Manners::default());
    let output = run(&mut server.ssh(&[], &["cat; echo -n 12 >&2"]), b"12345");
    assert!(output.status.success());
    server.wait_for_end();
    let last = server.worker(|worker| worker.last_traffic());
    assert_eq!(last, Some((5, 7)));
}
