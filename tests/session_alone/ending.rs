//! Connections that do not end by their client.

use std::io::{BufRead, BufReader};
use std::process::{Child, Output, Stdio};

use crate::client::{Server, text};
use crate::worker::{Manners, Order};

/// A session that is there: its first line of output has come.
fn live(server: &Server, options: &[&str]) -> Child {
    let mut child = server
        .ssh(options, &["echo ready; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("reads");
    assert_eq!(line.trim_end(), "ready");
    child
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("an end")
}

#[test]
fn a_revoked_user_is_told_and_disconnected() {
    let server = Server::new(Manners::default());
    let session = live(&server, &[]);
    server
        .worker(|worker| worker.orders.send(Order::Revoke))
        .expect("a worker");
    let output = ended(session);
    let log = text(&output.stderr);
    assert!(log.starts_with("Access revoked.\n"), "{log}");
    assert!(log.contains(": Access revoked.\r\n"), "{log}");
    assert_eq!(output.status.code(), Some(255));
    server.wait_for_end();
}

#[test]
fn a_revoked_terminal_is_told_in_lines_of_its_own() {
    let server = Server::new(Manners::default());
    let session = live(&server, &["-tt"]);
    server
        .worker(|worker| worker.orders.send(Order::Revoke))
        .expect("a worker");
    let log = text(&ended(session).stderr);
    assert!(log.contains("Access revoked.\r\n"), "{log}");
}

#[test]
fn a_client_that_does_not_listen_is_cut_off() {
    let server = Server::new(Manners::default());
    let mut session = live(&server, &[]);
    let client = nix::unistd::Pid::from_raw(session.id().cast_signed());
    nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGSTOP).expect("stops");
    server
        .worker(|worker| worker.orders.send(Order::Revoke))
        .expect("a worker");
    server.wait_for_end();
    let _ = session.kill();
    let _ = session.wait();
}

#[test]
fn the_end_of_the_worker_ends_the_session_with_a_sentence() {
    let server = Server::new(Manners::default());
    let session = live(&server, &[]);
    server
        .worker(|worker| worker.orders.send(Order::Die))
        .expect("a worker");
    let log = text(&ended(session).stderr);
    let sentence = "meshd: internal error: the process in charge of this connection has ended";
    assert!(log.contains(sentence), "{log}");
    server.wait_for_end();
}

#[test]
fn the_session_ends_with_its_client() {
    let server = Server::new(Manners::default());
    let mut session = live(&server, &[]);
    session.kill().expect("kills");
    let _ = session.wait();
    server.wait_for_end();
}
