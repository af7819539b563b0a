//! Several sessions on one connection.

use std::process::{Child, Stdio};

use crate::client::{Server, run, text, wait};
use crate::worker::{Manners, Order};

/// A first session, which the others share the connection with.
fn master(server: &Server, command: &str, input: Stdio) -> Child {
    let mut ssh = server.ssh(&["-o", "ControlMaster=yes"], &[command]);
    let child = ssh.stdin(input).stdout(Stdio::null()).spawn().expect("ssh");
    server.wait_for_mux();
    child
}

/// Runs a command on the shared connection, and only there.
fn beside(server: &Server, command: &str) -> std::process::Output {
    let options = ["-o", "ControlMaster=no", "-o", "ProxyCommand=false"];
    run(&mut server.ssh(&options, &[command]), b"")
}

#[test]
fn an_unread_input_leaves_the_other_sessions_alive() {
    let server = Server::new(Manners::default());
    let zeros = std::fs::File::open("/dev/zero").expect("zeros");
    let mut first = master(&server, "exec sleep 1000", zeros.into());
    for _ in 0..20 {
        let output = beside(&server, "head -c 1000000 /dev/zero | wc -c");
        assert_eq!(
            text(&output.stdout),
            "1000000\n",
            "{}",
            text(&output.stderr)
        );
    }
    let status = format!("/proc/{}/status", server.session());
    let status = std::fs::read_to_string(status).expect("a status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
    assert!(
        kilobytes.is_some_and(|peak: u64| peak < 64 << 10),
        "{peak:?}"
    );
    let _ = first.kill();
    let _ = first.wait();
    server.wait_for_end();
}

#[test]
fn a_slow_start_leaves_the_other_sessions_alive() {
    let server = Server::new(Manners {
        slow: Some("echo slow"),
        ..Manners::default()
    });
    let mut first = master(&server, "exec sleep 1000", Stdio::null());
    let options = ["-o", "ControlMaster=no", "-o", "ProxyCommand=false"];
    let slow = server
        .ssh(&options, &["echo slow"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh");
    assert_eq!(text(&beside(&server, "echo quick").stdout), "quick\n");
    server
        .worker(|worker| worker.orders.send(Order::Release))
        .expect("a worker");
    let slow = slow.wait_with_output().expect("an end");
    assert_eq!(text(&slow.stdout), "slow\n");
    let _ = first.kill();
    let _ = first.wait();
}

#[test]
fn more_channels_than_permitted_are_refused() {
    let server = Server::new(Manners {
        max_channels: 1,
        ..Manners::default()
    });
    let mut first = master(&server, "exec sleep 1000", Stdio::null());
    let output = beside(&server, "echo second");
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("Session open refused by peer"));
    let _ = first.kill();
    let _ = first.wait();
}

#[test]
fn channels_that_have_ended_count_no_more() {
    let server = Server::new(Manners {
        max_channels: 2,
        ..Manners::default()
    });
    let mut first = master(&server, "exec sleep 1000", Stdio::null());
    for number in 0..50 {
        let output = beside(&server, &format!("echo {number}"));
        assert_eq!(
            text(&output.stdout),
            format!("{number}\n"),
            "{}",
            text(&output.stderr)
        );
    }
    let _ = first.kill();
    wait(&mut first);
}
