//! From the host to what the client reaches.

use std::io::{BufRead, BufReader};

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::world::{ask, client, forward, serve, wait_for_port};

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
    let listening = mesh.host("web1").sh("ss -Htln 'sport = :7001'");
    let listening = listening.expect("a list").stdout;
    assert_eq!(listening.lines().count(), 2, "{listening}");
    assert!(
        listening.contains("127.0.0.1:7001") && listening.contains("[::1]:7001"),
        "{listening}"
    );
    ssh.kill().expect("an end");
    wait_for("end of the listener", DEADLINE, || {
        let listening = mesh.host("web1").sh("ss -Htln 'sport = :7001'").ok()?;
        listening.stdout.is_empty().then_some(())
    })
    .expect("nothing listens");
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
    wait_for("end of the listener", DEADLINE, || {
        let listening = mesh.host("web1").sh("ss -Htln 'sport = :7001'").ok()?;
        listening.stdout.is_empty().then_some(())
    })
    .expect("nothing listens");
}
