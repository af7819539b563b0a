//! Where the host listens for a client.

use meshd_lab::{CONTROL, DEADLINE, Mesh};

use crate::world::{ask, client, echo, forward, listening, wait_for_port};

#[test]
fn a_host_listens_at_its_loopback_whatever_the_client_names() {
    let mesh = Mesh::of_two().expect("a mesh");
    let any = ["-R", "*:7001:localhost:1", "-R", "0.0.0.0:7002:localhost:1"];
    let one = ["-R", "[::1]:7003:localhost:1"];
    let _ssh = forward(&mesh, &[&any[..], &one[..]].concat());
    wait_for_port(&mesh, "web1", 7003);
    assert_eq!(
        listening(&mesh, "web1", 7001),
        ["127.0.0.1:7001", "[::1]:7001"]
    );
    assert_eq!(
        listening(&mesh, "web1", 7002),
        ["127.0.0.1:7002", "[::1]:7002"]
    );
    assert_eq!(listening(&mesh, "web1", 7003), ["[::1]:7003"]);
}

#[test]
fn with_gateway_ports_a_host_listens_where_the_client_says() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.write("/etc/meshd/ssh.toml", "gateway_ports = true\n")
        .expect("written");
    let _echo = echo(&mesh, "laptop", 8001);
    let address = web1.v4();
    let named = format!("{address}:7003:localhost:8001");
    let _ssh = forward(
        &mesh,
        &[
            "-R",
            "*:7001:localhost:8001",
            "-R",
            "7002:localhost:8001",
            "-R",
            &named,
        ],
    );
    wait_for_port(&mesh, "web1", 7003);
    let both = ["0.0.0.0:7001", "[::]:7001"];
    assert_eq!(listening(&mesh, "web1", 7001), both);
    let loopback = ["127.0.0.1:7002", "[::1]:7002"];
    assert_eq!(listening(&mesh, "web1", 7002), loopback);
    assert_eq!(listening(&mesh, "web1", 7003), [format!("{address}:7003")]);
    for port in [7001, 7003] {
        let said = client(&mesh, CONTROL, &address.to_string(), port).input("hello");
        assert_eq!(said.succeed().expect("an answer").stdout, "hello");
    }
    assert_eq!(ask(&mesh, "web1", 7002, "hello").stdout, "hello");
    let nowhere = forward(&mesh, &["-R", "192.0.2.200:7004:localhost:8001"]);
    let end = { nowhere }.wait(DEADLINE).expect("an end");
    assert_eq!(end.code(), Some(255));
}
