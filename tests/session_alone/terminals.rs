//! Sessions with a terminal.

use crate::client::{Server, run, text, wait};
use crate::local_terminal::OnTerminal;
use crate::worker::Manners;

#[test]
fn a_terminal_echoes_and_its_end_of_file_ends_the_program() {
    let server = Server::new(Manners::default());
    let output = run(&mut server.ssh(&["-tt"], &["cat"]), b"hello\n\x04");
    assert_eq!(text(&output.stdout), "hello\r\nhello\r\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn size_type_and_modes_are_the_clients() {
    let server = Server::new(Manners::default());
    let mut ssh = server.ssh(&["-t"], &["stty -a; echo $TERM; read x; exit 9"]);
    ssh.env("TERM", "vt220");
    let mut screen = OnTerminal::start(ssh, 132, 50);
    screen.expect("rows 50; columns 132");
    screen.expect("intr = ^C");
    screen.expect(" icanon ");
    screen.expect("vt220\r\n");
    screen.type_text("\n");
    assert_eq!(wait(&mut screen.child).code(), Some(9));
}

#[test]
fn a_resized_window_is_noticed() {
    let server = Server::new(Manners::default());
    let command = "trap 'stty size' WINCH; echo ready; while :; do read -t 1 x && exit; done";
    let mut screen = OnTerminal::start(server.ssh(&["-t"], &[command]), 80, 24);
    screen.expect("ready");
    screen.resize(100, 40);
    screen.expect("40 100");
    screen.type_text("\n");
    assert_eq!(wait(&mut screen.child).code(), Some(0));
}

#[test]
fn an_interrupt_reaches_the_program() {
    let server = Server::new(Manners::default());
    let command = "trap 'echo caught; exit 5' INT; echo ready; while :; do read -t 0.1 x; done";
    let mut screen = OnTerminal::start(server.ssh(&["-t"], &[command]), 80, 24);
    screen.expect("ready");
    screen.type_text("\x03");
    screen.expect("caught");
    assert_eq!(wait(&mut screen.child).code(), Some(5));
}

#[test]
fn a_shell_shows_its_notice_first() {
    let server = Server::new(Manners {
        notice: Some("welcome\nto web1\n"),
        ..Manners::default()
    });
    let mut screen = OnTerminal::start(server.ssh(&[], &[]), 80, 24);
    screen.expect("welcome\r\nto web1\r\n");
    screen.type_text("echo $((6 * 7)); exit 3\n");
    screen.expect("42");
    assert_eq!(wait(&mut screen.child).code(), Some(3));
}

#[test]
fn a_job_that_stays_behind_does_not_hold_the_terminal() {
    let server = Server::new(Manners::default());
    let command = "(trap '' HUP; exec sleep 1000) & echo $!; \
        head -c 1000000 /dev/zero | tr '\\0' x; exit 6";
    let output = run(&mut server.ssh(&["-tt"], &[command]), b"");
    assert_eq!(output.status.code(), Some(6));
    let (pid, rest) = text(&output.stdout)
        .split_once("\r\n")
        .map(|(pid, rest)| (pid.parse().expect("a number"), rest.len()))
        .expect("a line");
    assert_eq!(rest, 1_000_000, "the rest of the output comes first");
    let job = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(job, nix::sys::signal::Signal::SIGKILL).expect("it is still there");
}

#[test]
fn a_terminal_that_cannot_be_had_says_why() {
    let server = Server::new(Manners {
        no_terminal: true,
        ..Manners::default()
    });
    let output = run(&mut server.ssh(&["-tt"], &["echo on"]), b"");
    let log = text(&output.stderr);
    assert!(
        log.starts_with("meshd: no terminal is left on this host\n"),
        "{log}"
    );
    assert_eq!(output.status.code(), Some(255));
}
