//! Clients that say nothing any more, and what they may hold up.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Server, text};
use crate::started::Start;
use crate::worker::Manners;

const SILENT: &str = "leaving: the client does not answer any more";

fn asking() -> Server {
    asking_when(Start::Right)
}

fn asking_when(how: Start) -> Server {
    let manners = Manners {
        client_alive_interval: 1,
        ..Manners::default()
    };
    Server::started(manners, how)
}

/// A client with a session of which the first line has come.
fn live(server: &Server, options: &[&str], command: &str) -> Child {
    let mut ssh = server.ssh(options, &[command]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = ssh.stderr(Stdio::piped()).spawn().expect("ssh");
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("a pipe");
    BufReader::with_capacity(1, output)
        .read_line(&mut line)
        .expect("reads");
    assert_eq!(line, "ready\n");
    child
}

/// Has the client neither read nor write, as if it were gone without a word.
fn silence(client: &Child) {
    kill(Pid::from_raw(client.id().cast_signed()), Signal::SIGSTOP).expect("stops");
}

fn assert_is_noticed(server: &Server, mut client: Child) {
    silence(&client);
    server.wait_for_end();
    server.wait_until_asked(SILENT);
    client.kill().expect("kills");
    client.wait().expect("an end");
}

#[test]
fn a_client_that_vanishes_is_noticed() {
    let server = asking();
    let client = live(&server, &[], "echo ready; exec sleep 1000");
    assert_is_noticed(&server, client);
}

#[test]
fn a_client_that_vanishes_in_a_transfer_is_noticed() {
    let server = asking_when(Start::WithSmallSendBuffer);
    let mut client = live(&server, &[], "echo ready; exec cat /dev/zero");
    let mut some = vec![0; 1 << 20];
    let output = client.stdout.as_mut().expect("a pipe");
    output.read_exact(&mut some).expect("reads");
    assert_is_noticed(&server, client);
}

#[test]
fn a_client_that_only_does_not_read_stays() {
    let server = asking();
    let mut client = live(&server, &["-v"], "echo ready; exec cat /dev/zero");
    // Nobody reads its output, so its window closes; it answers all the same.
    let log = BufReader::new(client.stderr.take().expect("a pipe"));
    let questions = log
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.contains("keepalive@openssh.com"));
    assert_eq!(questions.take(5).count(), 5, "more than may be unanswered");
    let mut more = vec![0; 8 << 20];
    let output = client.stdout.as_mut().expect("a pipe");
    output.read_exact(&mut more).expect("it is there");
    client.kill().expect("kills");
    client.wait().expect("an end");
    server.wait_for_end();
}

#[test]
fn a_client_that_leaves_is_no_vanished_one() {
    let server = asking();
    assert!(server.exec("true").status.success());
    server.wait_for_end();
    server.wait_until_asked("leaving: the client has left");
}

#[test]
fn a_log_that_nobody_reads_holds_no_session_up() {
    for full in [Start::WithFullPipeForLog, Start::WithFullSocketForLog] {
        let server = Server::started(Manners::default(), full);
        let output = server.exec("echo on");
        assert_eq!(text(&output.stdout), "on\n", "{}", text(&output.stderr));
        server.wait_for_end();
    }
}
