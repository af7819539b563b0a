//! From the client to what the host reaches.

use meshd_contract::paths::HELPER_PROGRAM;
use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::world::{LONG, ask, client, forward, helpers, mesh_of_three, serve, wait_for_port};

#[test]
fn a_local_port_reaches_a_port_of_the_host_both_ways() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let _late = serve(&mesh, "web1", "bob", ["late", "tcp6", "::1", "8002"]);
    assert_eq!(helpers(&mesh, "web1"), Vec::<String>::new());
    let _ssh = forward(
        &mesh,
        &["-L", "7001:localhost:8001", "-L", "7002:[::1]:8002"],
    );
    wait_for_port(&mesh, "laptop", 7002);
    assert_eq!(helpers(&mesh, "web1"), Vec::<String>::new());
    assert_eq!(ask(&mesh, "laptop", 7001, "hello").stdout, "hello");
    // Sends only when the client has sent everything: the one end leaves the other direction.
    assert_eq!(ask(&mesh, "laptop", 7002, "hello").stdout, "hello");
    assert_eq!(helpers(&mesh, "web1"), ["alice"]);
}

#[test]
fn an_upgrade_since_the_login_leaves_a_connection_the_helper_of_its_own_version() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let replace = |program: &str| {
        let replaced = mesh.host("web1").replace_program(HELPER_PROGRAM, program);
        replaced.expect("another program");
    };
    let _early = forward(&mesh, &["-L", "7001:localhost:8001"]);
    wait_for_port(&mesh, "laptop", 7001);
    assert_eq!(ask(&mesh, "laptop", 7001, "first").stdout, "first");
    let _late = forward(&mesh, &["-L", "7002:localhost:8001"]);
    wait_for_port(&mesh, "laptop", 7002);
    replace("/bin/false");
    // The one helper runs and looks the name up again; the other is started only now.
    for port in [7001, 7002] {
        assert_eq!(ask(&mesh, "laptop", port, "second").stdout, "second");
    }
    assert_eq!(helpers(&mesh, "web1"), ["alice", "alice"]);
}

#[test]
fn many_bytes_arrive_as_they_were_sent_beside_a_forward_that_nobody_reads() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let _deaf = serve(&mesh, "web1", "bob", ["deaf", "tcp", "127.0.0.1", "8002"]);
    let _ssh = forward(
        &mesh,
        &["-L", "7001:localhost:8001", "-L", "7002:localhost:8002"],
    );
    wait_for_port(&mesh, "laptop", 7002);
    let laptop = mesh.host("laptop");
    laptop
        .sh("head -c 64M /dev/urandom >/tmp/file")
        .expect("a file");
    let stalled = client(&mesh, "laptop", "127.0.0.1", 7002).line();
    let stalled = ["-c", &format!("{stalled} </tmp/file")];
    let _stalled = laptop
        .command("sh")
        .args(stalled)
        .spawn()
        .expect("a client");
    let through = client(&mesh, "laptop", "127.0.0.1", 7001).line();
    let script = format!("sha256sum </tmp/file; {through} </tmp/file | sha256sum");
    let hashes = laptop.command("sh").args(["-c", &script]).deadline(LONG);
    let hashes = hashes.succeed().expect("two hashes").stdout;
    let hashes: Vec<&str> = hashes.lines().collect();
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn a_refused_target_is_told_with_the_systems_words() {
    let mesh = Mesh::of_two().expect("a mesh");
    let to = |target: &str| {
        let ssh = mesh.ssh("laptop", &["-W", target, "alice@web1"]);
        let output = ssh.output().expect("an end");
        assert_eq!(output.status.code(), Some(255));
        output.stderr
    };
    let said = to("localhost:9");
    assert!(
        said.contains("connect failed: Connection refused"),
        "{said}"
    );
    let said = to("no-such-host.invalid:80");
    assert!(said.contains("connect failed:"), "{said}");
    assert!(said.to_lowercase().contains("name"), "{said}");
}

#[test]
fn standard_streams_reach_a_port_and_a_unix_socket_of_the_user() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let _who = serve(
        &mesh,
        "web1",
        "alice",
        ["who", "unix", "/tmp/who.sock", "8002"],
    );
    let ssh = mesh.ssh("laptop", &["-W", "127.0.0.1:8001", "alice@web1"]);
    assert_eq!(
        ssh.input("hello").succeed().expect("an end").stdout,
        "hello"
    );
    let _ssh = forward(&mesh, &["-L", "/tmp/local.sock:/tmp/who.sock"]);
    mesh.wait_for_file("laptop", "/tmp/local.sock")
        .expect("a socket");
    let uid = mesh.host("web1").sh("id -u alice").expect("an account");
    let said = client(&mesh, "laptop", "/tmp/local.sock", 0).succeed();
    assert_eq!(
        said.expect("an answer").stdout,
        format!("uid {}", uid.stdout)
    );
}

#[test]
fn the_socket_of_another_user_stays_closed() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(
        &mesh,
        "web1",
        "bob",
        ["echo", "unix", "/tmp/bob.sock", "8001"],
    );
    mesh.host("web1")
        .sh("chmod 600 /tmp/bob.sock")
        .expect("a mode");
    let mut ssh = forward(&mesh, &["-L", "7001:/tmp/bob.sock"]);
    wait_for_port(&mesh, "laptop", 7001);
    let refused = client(&mesh, "laptop", "127.0.0.1", 7001).input("hello");
    assert_eq!(refused.output().expect("an end").stdout, "");
    assert_eq!(ssh.ended(), None);
}

#[test]
fn a_dynamic_port_reaches_where_the_client_says() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let _ssh = forward(&mesh, &["-D", "7001"]);
    wait_for_port(&mesh, "laptop", 7001);
    let proxied = "import socket\n\
        s = socket.create_connection(('127.0.0.1', 7001))\n\
        s.sendall(b'\\5\\1\\0')\n\
        assert s.recv(2) == b'\\5\\0'\n\
        s.sendall(b'\\5\\1\\0\\3\\x09localhost' + (8001).to_bytes(2, 'big'))\n\
        assert s.recv(10)[1] == 0\n\
        s.sendall(b'hello')\n\
        print(s.recv(5).decode())";
    let laptop = mesh.host("laptop");
    let python = laptop.command("/usr/bin/python3").args(["-c", proxied]);
    assert_eq!(python.succeed().expect("an answer").stdout, "hello\n");
}

#[test]
fn a_jump_through_a_host_reaches_another_one() {
    let mesh = mesh_of_three();
    let jump = ["-J", "alice@web1", "alice@db1", "hostname; echo $MESH_PEER"];
    let said = mesh.ssh("laptop", &jump).succeed().expect("a session");
    assert_eq!(said.stdout, "db1\nweb1\n");
}

#[test]
fn a_revoked_forward_ends_with_its_helper() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _late = serve(&mesh, "web1", "bob", ["late", "tcp", "127.0.0.1", "8001"]);
    let mut ssh = forward(&mesh, &["-L", "7001:localhost:8001"]);
    wait_for_port(&mesh, "laptop", 7001);
    assert_eq!(ask(&mesh, "laptop", 7001, "hello").stdout, "hello");
    assert_eq!(helpers(&mesh, "web1"), ["alice"]);
    let held = client(&mesh, "laptop", "127.0.0.1", 7001);
    let mut held = held.spawn().expect("a client");
    wait_for("second connection", DEADLINE, || {
        let open = mesh
            .host("web1")
            .sh("ss -Htn state established '( dport = :8001 )'");
        (!open.ok()?.stdout.trim().is_empty()).then_some(())
    })
    .expect("a connection");
    mesh.change_policy(&meshd_lab::policy_for_alice(&["bob"]))
        .expect("saved");
    ssh.wait(DEADLINE).expect("the client is told");
    held.wait(DEADLINE).expect("the connection has ended");
    mesh.wait_until_empty("web1", "alice")
        .expect("no helper is left");
}
