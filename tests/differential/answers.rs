//! The same questions to both servers, by a client that keeps every answer.

use std::time::Duration;

use meshd_lab::Mesh;
use meshd_lab::clients::{prepared, program};

use crate::differences::{Comparison, Differ::As, Reason};
use crate::servers::{self, CLIENT, SERVER, Server};
use crate::sitting::Facts;

/// For all questions, on a busy machine.
const LONG: Duration = Duration::from_secs(300);

/// Every answer by which the two may be told apart.
pub(crate) const TABLE: [Reason; 9] = [
    Reason {
        fact: "signal * arrives",
        differ: As(Some("False"), Some("True")),
        why: "every signal that RFC 4254, section 6.9, names is delivered; sshd knows some of them",
    },
    Reason {
        fact: "reply to signal *",
        differ: As(Some("False"), Some("True")),
        why: "the RFC has a client ask for no reply; the worker is not waited for",
    },
    Reason {
        fact: "reply to variable *",
        differ: As(Some("False"), Some("True")),
        why: "the worker decides which variables pass when it starts the program",
    },
    Reason {
        fact: "modes, characters",
        differ: As(Some("*swtch = <undef>*"), Some("*swtch = 0*")),
        why: "Linux has the RFC's VSWTCH, by the name VSWTC",
    },
    Reason {
        fact: "one session too many",
        differ: As(
            Some("after 10: code 2, open failed"),
            Some("after 10: code 4, Resource shortage"),
        ),
        why: "the code says what it is",
    },
    Reason {
        fact: "a socket that is *",
        differ: As(
            Some("refused: code 2, open failed"),
            Some("refused: code 2, *"),
        ),
        why: "the client is told what the system said",
    },
    Reason {
        fact: "a target that is not there, 127.0.0.1 70000",
        differ: As(
            Some("refused: code 1, open failed"),
            Some("refused: code 2, Connect failed"),
        ),
        why: "there is no such port, and nobody has prohibited it",
    },
    Reason {
        fact: "an unknown kind of channel",
        differ: As(
            Some("refused: code 2, open failed"),
            Some("refused: code 3, Unknown channel type"),
        ),
        why: "RFC 4254, section 5.1, has a code for it",
    },
    Reason {
        fact: "listening at a port too large",
        differ: As(Some("success"), Some("failure")),
        why: "there is no such port; sshd takes the lower 16 bits of it",
    },
];

#[test]
fn every_question_has_sshds_answer_but_for_the_table() {
    let mesh = servers::start();
    mesh.host(SERVER)
        .write("/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL\n")
        .expect("a right");
    let theirs = ask(&mesh, Server::Sshd);
    let ours = ask(&mesh, Server::Meshd);
    let mut comparison = Comparison::by(&TABLE);
    comparison.compare("alice", &theirs, &ours);
    comparison.assert_explained();
}

fn ask(mesh: &Mesh, server: Server) -> Facts {
    let python = prepared(mesh, "python").join("venv/bin/python");
    let way: &[&str] = match server {
        Server::Sshd => &["2222", "alice", "/root/key"],
        Server::Meshd => &["22", "alice"],
    };
    let asked = mesh
        .host(CLIENT)
        .command(&python.to_string_lossy())
        .arg(program(mesh, "python/questions.py"))
        .arg(SERVER)
        .args(way.iter().copied());
    let answers = asked.deadline(LONG).succeed().expect("answers").stdout;
    let answers = answers.lines().filter_map(|line| line.split_once(": "));
    answers
        .map(|(question, answer)| (question.to_owned(), answer.to_owned()))
        .collect()
}
