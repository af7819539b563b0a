//! Programs that outlive the connection in which they were started.

use meshd_lab::{DEADLINE, Mesh, Running, Terminal};

use crate::laptop::{need, wait_for_connections};

/// `ssh -t` on a new terminal.
fn on_terminal(mesh: &Mesh, command: &str) -> (Running, Terminal) {
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let ssh = mesh.ssh("laptop", &["-t", "alice@web1", command]);
    (ssh.spawn_on(&terminal).expect("ssh"), terminal)
}

/// Types a line, and waits for what it makes the other side show.
fn type_line(terminal: &Terminal, line: &str, shows: &str) {
    terminal.send(&format!("{line}\r")).expect("typed");
    terminal.expect(shows, DEADLINE).expect(line);
}

#[test]
fn tmux_is_detached_and_attached_and_survives_a_disconnection() {
    const ATTACH: &str = "exec tmux new-session -A -s work";
    let mesh = Mesh::of_two().expect("a mesh");
    need(&mesh, &[("tmux", "tmux")]);
    let (mut ssh, terminal) = on_terminal(&mesh, ATTACH);
    terminal.expect("[work]", DEADLINE).expect("a status line");
    type_line(&terminal, "number=40; echo is-$((number + 1))", "is-41");
    terminal.send("\x02d").expect("typed");
    let end = ssh.wait(DEADLINE).expect("detached");
    assert_eq!(end.code(), Some(0));
    wait_for_connections(&mesh, <[String]>::is_empty);

    let (mut ssh, terminal) = on_terminal(&mesh, ATTACH);
    terminal.expect("is-41", DEADLINE).expect("what was there");
    type_line(&terminal, "echo is-$((number + 2))", "is-42");
    ssh.kill().expect("an end");
    wait_for_connections(&mesh, <[String]>::is_empty);

    let (mut ssh, terminal) = on_terminal(&mesh, ATTACH);
    terminal.expect("is-42", DEADLINE).expect("what was there");
    type_line(&terminal, "echo is-$((number + 3))", "is-43");
    terminal.send("exit\r").expect("typed");
    let end = ssh.wait(DEADLINE).expect("the last shell has ended");
    assert_eq!(end.code(), Some(0));
    mesh.wait_until_empty("web1", "alice")
        .expect("nothing is left");
}

#[test]
fn mosh_is_begun_over_ssh_and_goes_on_without_it() {
    let mesh = Mesh::of_two().expect("a mesh");
    need(&mesh, &[("mosh", "mosh"), ("mosh-server", "mosh")]);
    let laptop = mesh.host("laptop");
    let terminal = laptop.terminal().expect("a terminal");
    let mosh = laptop.command("mosh").arg("alice@web1");
    let mosh = mosh.env("LANG", "C.UTF-8").env("HOME", "/root");
    let mut mosh = mosh.spawn_on(&terminal).expect("mosh");
    terminal.expect("alice@web1", DEADLINE).expect("a prompt");
    // Datagrams carry it, and no SSH connection.
    wait_for_connections(&mesh, <[String]>::is_empty);
    type_line(&terminal, "echo is-$((40 + 2))", "is-42");
    type_line(&terminal, "echo $LANG:$USER:$((1 + 1))", "C.UTF-8:alice:2");
    terminal.send("exit\r").expect("typed");
    let end = mosh.wait(DEADLINE).expect("an end");
    assert_eq!(end.code(), Some(0), "{}", terminal.shown());
}
