//! A newer policy takes one right to forward, and leaves the others and the session.

use std::io::{Read, Write};

use meshd_lab::{DEADLINE, Mesh, Running, wait_for};

use crate::world::{client, echo, forward, policy, serve, wait_for_no_port, wait_for_port};

/// A client that has sent and received something, and may go on.
struct Held(Running);

impl Held {
    fn at(mesh: &Mesh, host: &str, address: &str, port: u16) -> Self {
        let client = client(mesh, host, address, port).spawn();
        let mut held = Self(client.expect("a client"));
        held.exchange();
        held
    }

    fn exchange(&mut self) {
        let stdin = self.0.stdin.as_mut().expect("its input");
        stdin.write_all(b"hello").expect("sent");
        stdin.flush().expect("sent");
        let mut answer = [0; 5];
        let stdout = self.0.stdout.as_mut().expect("its output");
        stdout.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"hello");
    }

    fn ends(mut self) {
        self.0.wait(DEADLINE).expect("the connection has ended");
    }
}

fn allow(mesh: &Mesh, word: &str) {
    let rights = format!(r#", "forwarding": "{word}""#);
    mesh.change_policy(&policy(&rights)).expect("saved");
}

#[test]
fn a_newer_policy_ends_the_forwards_that_it_does_not_permit_and_no_other() {
    let mesh = Mesh::of_two().expect("a mesh");
    let (_there, _here) = (echo(&mesh, "web1", 8001), echo(&mesh, "laptop", 8001));
    let path = ["echo", "unix", "/tmp/echo.sock", "8002"];
    let _path = serve(&mesh, "laptop", "root", path);
    let master = ["-M", "-S", "/tmp/mux", "-L", "7001:localhost:8001"];
    let remote = ["-R", "7002:localhost:8001"];
    let unix = ["-R", "/tmp/remote.sock:/tmp/echo.sock"];
    let mut ssh = forward(&mesh, &[&master[..], &remote, &unix].concat());
    mesh.wait_for_file("web1", "/tmp/remote.sock")
        .expect("all of them");
    wait_for_port(&mesh, "laptop", 7001);
    let mut local = Held::at(&mesh, "laptop", "127.0.0.1", 7001);
    let accepted = Held::at(&mesh, "web1", "127.0.0.1", 7002);
    let by_path = Held::at(&mesh, "web1", "/tmp/remote.sock", 0);
    allow(&mesh, "local");
    accepted.ends();
    by_path.ends();
    wait_for_no_port(&mesh, "web1", 7002);
    wait_for("end of the socket", DEADLINE, || {
        (!mesh.host("web1").exists("/tmp/remote.sock")).then_some(())
    })
    .expect("nothing is left");
    local.exchange();
    allow(&mesh, "remote");
    local.ends();
    assert_eq!(ssh.ended(), None);
    let beside = mesh.ssh("laptop", &["-S", "/tmp/mux", "web1", "echo on"]);
    assert_eq!(beside.succeed().expect("a session").stdout, "on\n");
}

#[test]
fn a_right_that_ends_while_the_helper_is_started_does_not_count() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    let module = "mkfifo /root/gate
        printf '#!/bin/sh\\n[ $PAM_TYPE = open_session ] || exit 0\\n' >/root/wait
        printf 'touch /tmp/asked\\nread line </root/gate\\n' >>/root/wait
        chmod +x /root/wait
        echo 'session required pam_exec.so /root/wait' >>/etc/pam.d/meshd-ssh";
    web1.sh(module).expect("a PAM module");
    let mut ssh = forward(&mesh, &["-R", "7001:localhost:1"]);
    mesh.wait_for_file("web1", "/tmp/asked")
        .expect("the session is about to begin");
    allow(&mesh, "local");
    web1.sh("echo go >/root/gate").expect("PAM answers");
    let end = ssh.wait(DEADLINE).expect("the forward is refused");
    assert_eq!(end.code(), Some(255));
}

#[test]
fn an_agent_that_is_not_permitted_any_more_is_gone_and_comes_back_for_a_new_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    let script = "ssh-agent sh -c 'exec ssh -o BatchMode=yes -A -M -S /tmp/mux alice@web1 \
                  \"echo \\$SSH_AUTH_SOCK; exec sleep 1000\"'";
    let laptop = mesh.host("laptop").command("sh").args(["-c", script]);
    let mut ssh = laptop.spawn().expect("ssh");
    let path = line(&mut ssh);
    assert!(mesh.host("web1").exists(&path), "{path}");
    allow(&mesh, "local");
    wait_for("end of the agent's socket", DEADLINE, || {
        (!mesh.host("web1").exists(&path)).then_some(())
    })
    .expect("nothing is left");
    allow(&mesh, "all");
    assert_eq!(ssh.ended(), None);
    // A key is not needed for an answer.
    let look = ["-S", "/tmp/mux", "-A", "alice@web1", "ssh-add -l"];
    let said = mesh.ssh("laptop", &look).output().expect("an end");
    assert_eq!(said.stdout, "The agent has no identities.\n", "{said:?}");
}

fn line(running: &mut Running) -> String {
    let stdout = running.stdout.as_mut().expect("its output");
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(stdout);
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    line.trim().to_owned()
}
