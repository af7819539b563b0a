//! Sessions outlive the daemons that began them; logins outlive control.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;

use meshd_lab::{Mesh, Running};

/// A session that answers.
struct Talk {
    ssh: Running,
    answers: BufReader<ChildStdout>,
}

impl Talk {
    fn begin(mesh: &Mesh) -> Self {
        let echo = "while read line; do echo got $line; done";
        let mut ssh = mesh
            .ssh("laptop", &["alice@web1", echo])
            .spawn()
            .expect("ssh");
        let answers = BufReader::new(ssh.stdout.take().expect("its output"));
        let mut talk = Self { ssh, answers };
        talk.assert_alive("first");
        talk
    }

    fn assert_alive(&mut self, word: &str) {
        let mut stdin = self.ssh.stdin.as_ref().expect("its input");
        writeln!(stdin, "{word}").expect("written");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert_eq!(line, format!("got {word}\n"));
    }
}

fn assert_login(mesh: &Mesh) {
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

#[test]
fn a_session_goes_on_over_restarts_of_the_manager() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = Talk::begin(&mesh);
    mesh.take_manager("web1").stop().expect("stopped");
    mesh.start_manager("web1").expect("started");
    talk.assert_alive("after a restart");
    mesh.take_manager("web1").crash().expect("killed");
    mesh.start_manager("web1").expect("started");
    talk.assert_alive("after a crash");
    mesh.take_manager("laptop").stop().expect("stopped");
    mesh.start_manager("laptop").expect("started");
    talk.assert_alive("after the other side's restart");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
}

#[test]
fn a_session_goes_on_over_restarts_of_the_broker() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = Talk::begin(&mesh);
    mesh.take_broker("web1").stop().expect("stopped");
    talk.assert_alive("without a broker");
    mesh.start_broker("web1").expect("started");
    talk.assert_alive("after a restart");
    assert_login(&mesh);
    mesh.take_broker("web1").crash().expect("killed");
    mesh.start_broker("web1").expect("started");
    talk.assert_alive("after a crash");
    assert_login(&mesh);
}

#[test]
fn logins_go_on_without_control() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.take_control().crash().expect("killed");
    assert_login(&mesh);
    for host in ["web1", "laptop"] {
        mesh.take_manager(host).stop().expect("stopped");
        mesh.start_manager(host).expect("started");
    }
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    mesh.start_control().expect("started");
    let nodes = mesh
        .meshd_control(&["nodes", "list"])
        .expect("nodes")
        .stdout;
    assert!(
        nodes.contains("laptop") && nodes.contains("web1"),
        "{nodes}"
    );
    assert_login(&mesh);
}
