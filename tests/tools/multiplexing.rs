//! Many sessions in one connection.

use std::io::{BufRead, BufReader, Write};

use meshd_lab::{DEADLINE, Mesh, Running};

use crate::laptop::{connections, wait_for_connections};

/// As many sessions as a connection has.
const MOST: usize = 10;

fn master(mesh: &Mesh) -> Running {
    let master = ["-M", "-S", "/tmp/mux", "-N", "alice@web1"];
    let master = mesh.ssh("laptop", &master).spawn().expect("a master");
    mesh.wait_for_file("laptop", "/tmp/mux").expect("a socket");
    master
}

/// A session of the master's connection that answers a line that it is sent, and ends.
fn session(mesh: &Mesh) -> Running {
    let answer = "read line && echo got $line && exit 3";
    let session = mesh.ssh("laptop", &["-S", "/tmp/mux", "alice@web1", answer]);
    session.spawn().expect("a session")
}

fn assert_answers(session: &mut Running, word: &str) {
    let stdin = session.stdin.as_mut().expect("its input");
    writeln!(stdin, "{word}").expect("sent");
    let mut line = String::new();
    let stdout = session.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, format!("got {word}\n"));
    let end = session.wait(DEADLINE).expect("an end");
    assert_eq!(end.code(), Some(3));
}

fn count(line: &str) -> usize {
    line.matches("exec pid").count()
}

#[test]
fn ten_sessions_share_one_connection_and_end_apart() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _master = master(&mesh);
    let mut sessions: Vec<_> = (0..MOST).map(|_| session(&mesh)).collect();
    wait_for_connections(&mesh, |lines| lines.len() == 1 && count(&lines[0]) == MOST);
    let first = sessions.remove(0);
    drop(first);
    wait_for_connections(&mesh, |lines| {
        lines.len() == 1 && count(&lines[0]) == MOST - 1
    });
    for (number, session) in sessions.iter_mut().enumerate().rev() {
        assert_answers(session, &number.to_string());
    }
    wait_for_connections(&mesh, |lines| lines.len() == 1 && count(&lines[0]) == 0);
}

#[test]
fn the_session_beyond_the_last_is_refused_and_the_client_connects_anew() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _master = master(&mesh);
    let mut sessions: Vec<_> = (0..MOST).map(|_| session(&mesh)).collect();
    wait_for_connections(&mesh, |lines| lines.len() == 1 && count(&lines[0]) == MOST);
    let more = ["-S", "/tmp/mux", "alice@web1", "echo on; mesh sessions"];
    let said = mesh.ssh("laptop", &more).succeed().expect("a session");
    assert!(
        said.stderr.contains("Session open refused by peer"),
        "{said:?}"
    );
    assert!(said.stdout.starts_with("on\n"), "{said:?}");
    let lines: Vec<_> = said.stdout.lines().skip(2).collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    for session in &mut sessions {
        assert_answers(session, "word");
    }
    // There is room again.
    assert_answers(&mut session(&mesh), "word");
    assert!(connections(&mesh).len() == 1);
}
