//! One direction ends before the other.

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::world::{client, forward, serve, wait_for_port};

/// The server ends its direction first, and still reads all that the client sends then.
fn assert_server_may_end_first(option: &str, asks: &str, serves: &str, user: &str) {
    let mesh = Mesh::of_two().expect("a mesh");
    let early = ["early", "tcp", "127.0.0.1", "8001"];
    let _early = serve(&mesh, serves, user, early);
    let _ssh = forward(&mesh, &[option, "7001:localhost:8001"]);
    wait_for_port(&mesh, asks, 7001);
    let after = client(&mesh, asks, "127.0.0.1", 7001).arg("after");
    let said = after.input(vec![b'x'; 3 << 20]).succeed();
    assert_eq!(said.expect("an answer").stdout, "early");
    wait_for("what the server was sent", DEADLINE, || {
        let received = mesh.host(serves).read_text("/tmp/received").ok()?;
        (received == (3 << 20).to_string()).then_some(())
    })
    .expect("all of it");
}

#[test]
fn a_server_behind_a_local_port_may_end_first() {
    assert_server_may_end_first("-L", "laptop", "web1", "bob");
}

#[test]
fn a_server_behind_a_remote_port_may_end_first() {
    assert_server_may_end_first("-R", "web1", "laptop", "root");
}
