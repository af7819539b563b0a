//! From the host to what the client reaches.

use std::io::{BufRead, BufReader};

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::world::{
    LONG, ask, client, echo, forward, listening, serve, wait_for_no_port, wait_for_port,
};

#[test]
fn a_port_of_the_host_reaches_a_port_of_the_client_both_ways() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(
        &mesh,
        "laptop",
        "root",
        ["echo", "tcp", "127.0.0.1", "8001"],
    );
    let _late = serve(
        &mesh,
        "laptop",
        "root",
        ["late", "tcp", "127.0.0.1", "8002"],
    );
    let mut ssh = forward(
        &mesh,
        &["-R", "7001:localhost:8001", "-R", "7002:localhost:8002"],
    );
    wait_for_port(&mesh, "web1", 7002);
    assert_eq!(ask(&mesh, "web1", 7001, "hello").stdout, "hello");
    assert_eq!(ask(&mesh, "web1", 7002, "hello").stdout, "hello");
    let both = ["127.0.0.1:7001", "[::1]:7001"];
    assert_eq!(listening(&mesh, "web1", 7001), both);
    ssh.kill().expect("an end");
    wait_for_no_port(&mesh, "web1", 7001);
}

#[test]
fn any_port_is_told_and_nobody_but_root_listens_below_1024() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(
        &mesh,
        "laptop",
        "root",
        ["echo", "tcp", "127.0.0.1", "8001"],
    );
    let mut ssh = forward(&mesh, &["-R", "0:localhost:8001"]);
    let mut said = BufReader::new(ssh.stderr.take().expect("its errors"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let port = line.strip_prefix("Allocated port ");
    let port = port.and_then(|rest| rest.split(' ').next()?.parse().ok());
    let port = port.unwrap_or_else(|| panic!("{line}"));
    assert_eq!(ask(&mesh, "web1", port, "hello").stdout, "hello");
    let refused = forward(&mesh, &["-R", "80:localhost:8001"]).wait(DEADLINE);
    assert_eq!(refused.expect("an end").code(), Some(255));
}

#[test]
fn a_unix_socket_of_the_host_reaches_one_of_the_client_and_is_removed() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(
        &mesh,
        "laptop",
        "root",
        ["echo", "unix", "/tmp/echo.sock", "8001"],
    );
    let mut ssh = forward(&mesh, &["-R", "/tmp/remote.sock:/tmp/echo.sock"]);
    mesh.wait_for_file("web1", "/tmp/remote.sock")
        .expect("a socket");
    let web1 = mesh.host("web1");
    let mode = web1.sh("stat -c '%U %a' /tmp/remote.sock").expect("a mode");
    assert_eq!(mode.stdout, "alice 600\n");
    let said = client(&mesh, "web1", "/tmp/remote.sock", 0).input("hello");
    assert_eq!(said.succeed().expect("an answer").stdout, "hello");
    ssh.kill().expect("an end");
    wait_for("end of the socket", DEADLINE, || {
        (!web1.exists("/tmp/remote.sock")).then_some(())
    })
    .expect("nothing is left");
}

#[test]
fn a_listener_that_the_client_cancels_listens_no_more() {
    let mesh = Mesh::of_two().expect("a mesh");
    let master = ["-M", "-S", "/tmp/mux", "-R", "7001:localhost:8001"];
    let _ssh = forward(&mesh, &master);
    wait_for_port(&mesh, "web1", 7001);
    let cancel = [
        "-S",
        "/tmp/mux",
        "-O",
        "cancel",
        "-R",
        "7001:localhost:8001",
        "web1",
    ];
    mesh.ssh("laptop", &cancel).succeed().expect("cancelled");
    wait_for_no_port(&mesh, "web1", 7001);
}

#[test]
fn many_bytes_arrive_beside_a_forward_that_the_client_does_not_read() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = echo(&mesh, "laptop", 8001);
    let deaf = ["deaf", "tcp", "127.0.0.1", "8002"];
    let _deaf = serve(&mesh, "laptop", "root", deaf);
    let _ssh = forward(
        &mesh,
        &["-R", "7001:localhost:8001", "-R", "7002:localhost:8002"],
    );
    wait_for_port(&mesh, "web1", 7002);
    let web1 = mesh.host("web1");
    web1.sh("head -c 16M /dev/urandom >/tmp/file")
        .expect("a file");
    let stalled = client(&mesh, "web1", "127.0.0.1", 7002).line();
    let stalled = format!("{stalled} </tmp/file");
    let stalled = web1.command("sh").args(["-c", &stalled]).spawn();
    let _stalled = stalled.expect("a client");
    let through = client(&mesh, "web1", "127.0.0.1", 7001).line();
    let script = format!("{through} </tmp/file | cmp - /tmp/file");
    let same = web1.command("sh").args(["-c", &script]).deadline(LONG);
    same.succeed().expect("the same bytes");
}

#[test]
fn a_socket_that_nobody_listens_at_is_replaced_and_any_other_file_is_not() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(
        &mesh,
        "laptop",
        "root",
        ["echo", "unix", "/tmp/echo.sock", "8001"],
    );
    let web1 = mesh.host("web1");
    let leave = "import socket; socket.socket(socket.AF_UNIX).bind('/tmp/remote.sock')";
    let leave = web1.command("/usr/bin/python3").args(["-c", leave]);
    leave.user("alice").succeed().expect("a socket");
    let remote = ["-R", "/tmp/remote.sock:/tmp/echo.sock"];
    let mut ssh = forward(&mesh, &remote);
    wait_for("an answer", DEADLINE, || {
        let said = client(&mesh, "web1", "/tmp/remote.sock", 0).input("hello");
        (said.output().ok()?.stdout == "hello").then_some(())
    })
    .expect("it is replaced");
    // Somebody listens there now.
    let second = forward(&mesh, &remote).wait(DEADLINE).expect("an end");
    assert_eq!(second.code(), Some(255));
    let said = client(&mesh, "web1", "/tmp/remote.sock", 0).input("hello");
    assert_eq!(said.succeed().expect("an answer").stdout, "hello");
    ssh.kill().expect("an end");
    mesh.wait_until_empty("web1", "alice").expect("an end");
    web1.sh("echo precious >/tmp/remote.sock; chown alice /tmp/remote.sock")
        .expect("a file");
    let onto_file = forward(&mesh, &remote).wait(DEADLINE).expect("an end");
    assert_eq!(onto_file.code(), Some(255));
    let kept = web1.read_text("/tmp/remote.sock").expect("a file");
    assert_eq!(kept, "precious\n");
}

#[test]
fn the_sockets_of_a_killed_helper_are_removed() {
    let mesh = Mesh::of_two().expect("a mesh");
    let mut ssh = forward(&mesh, &["-R", "/tmp/remote.sock:/tmp/echo.sock"]);
    mesh.wait_for_file("web1", "/tmp/remote.sock")
        .expect("a socket");
    let web1 = mesh.host("web1");
    web1.sh("pkill -KILL -x meshd-helper").expect("killed");
    wait_for("end of the socket", DEADLINE, || {
        (!web1.exists("/tmp/remote.sock")).then_some(())
    })
    .expect("nothing is left");
    assert_eq!(ssh.ended(), None);
}
