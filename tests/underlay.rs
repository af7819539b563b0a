//! The networks below the mesh: they change, they lack a family, and other programs use them too.

use meshd_lab::{CONTROL, DEADLINE, Mesh, Owner, policy_for_alice, wait_for};

fn shown(mesh: &Mesh, host: &str, script: &str) -> String {
    mesh.host(host).sh(script).expect(script).stdout
}

fn status(mesh: &Mesh, host: &str) -> String {
    shown(mesh, host, "mesh status")
}

fn assert_login(mesh: &Mesh) {
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

fn wait_for_mtu(mesh: &Mesh, mtu: u32) {
    let came = wait_for("the MTU", DEADLINE, || {
        let device = shown(mesh, "laptop", "ip link show mesh0");
        device.contains(&format!(" mtu {mtu} ")).then_some(())
    });
    assert!(came.is_ok(), "{mtu}: {}", mesh.log("laptop", "meshd"));
}

#[test]
fn a_session_goes_on_when_its_client_moves() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    talk.assert_alive("at home");
    let moved = "ip addr flush dev eth0; ip addr add 192.0.2.77/24 dev eth0";
    mesh.host("laptop").sh(moved).expect("it moves");
    talk.assert_alive("elsewhere");
    assert!(status(&mesh, "web1").contains("192.0.2.77:51820"));
    // Whoever knows only what control says finds it, too.
    wait_for("word of the move", DEADLINE, || {
        let log = mesh.log("laptop", "meshd");
        log.contains("endpoints=[192.0.2.77:51820]").then_some(())
    })
    .expect("control is told");
    mesh.take_manager("web1").stop().expect("stopped");
    mesh.start_manager("web1").expect("started");
    wait_for("an answer", DEADLINE, || {
        let ping = mesh.host("web1").command("ping");
        let answer = ping.args(["-c1", "-W1", "laptop"]).output().ok()?;
        answer.status.success().then_some(())
    })
    .expect("it is found");
    talk.assert_alive("at the end");
}

#[test]
fn a_new_policy_arrives_soon_after_a_move() {
    let mesh = Mesh::of_two().expect("a mesh");
    let moved = "ip addr flush dev eth0; ip addr add 192.0.2.78/24 dev eth0";
    mesh.host("web1").sh(moved).expect("it moves");
    wait_for("a stream from the new address", DEADLINE, || {
        let log = mesh.log("web1", "meshd");
        (log.matches("control is connected").count() == 2).then_some(())
    })
    .expect("it connects again");
    mesh.change_policy(&policy_for_alice(&[])).expect("saved");
}

#[test]
fn the_mtu_follows_the_ways_to_the_peers() {
    let mesh = Mesh::of_two().expect("a mesh");
    wait_for_mtu(&mesh, 1420);
    let laptop = mesh.host("laptop");
    laptop.sh("ip link set eth0 mtu 1400").expect("narrower");
    wait_for_mtu(&mesh, 1312);
    // A network that leads to no peer may be as narrow as it likes.
    laptop
        .sh("ip link add narrow type bridge; ip link set narrow mtu 1290 up")
        .expect("another network");
    laptop.sh("ip link set eth0 mtu 1450").expect("wider");
    wait_for_mtu(&mesh, 1360);
    assert_login(&mesh);
    assert!(status(&mesh, "laptop").contains("MTU 1360"));
}

#[test]
fn an_underlay_of_ipv6_alone_carries_the_mesh() {
    let mut mesh = Mesh::start(&["laptop", "web1"]).expect("a mesh");
    for host in [CONTROL, "laptop", "web1"] {
        mesh.host(host)
            .sh("ip -4 addr flush dev eth0")
            .expect("no IPv4");
    }
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    mesh.set_policy(&policy_for_alice(&["alice"]))
        .expect("saved");
    mesh.host("web1").add_user("alice").expect("an account");
    mesh.start_broker("web1").expect("a broker");
    let url = format!("https://[{}]:8443", mesh.host(CONTROL).v6());
    let key = mesh.control_key().expect("a key");
    for (host, owner) in [
        ("laptop", Owner::User("alice@example.com")),
        ("web1", Owner::Tag("tag:web")),
    ] {
        let _other_url = mesh.prepare_join(host, owner).expect("a manager");
        let up = mesh.host(host).command("mesh");
        up.args(["up", "--control", &url, "--control-key", &key])
            .args(["--auth-key-file", "/run/auth-key"])
            .succeed()
            .expect("joined");
        mesh.finish_join(host).expect("a name");
    }
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    assert!(status(&mesh, "laptop").contains("[2001:db8::3]:51820"));
}

#[test]
fn without_ipv6_the_mesh_has_ipv4() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    laptop
        .sh("mesh down; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; mesh up")
        .expect("up without IPv6");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    let said = status(&mesh, "laptop");
    assert!(said.contains("(IPv6 is off on this host)"), "{said}");
    assert!(!said.contains("problem"), "{said}");
    let harm = "ip addr flush dev mesh0; ip link set mesh0 down";
    laptop.sh(harm).expect("changed");
    wait_for("the repair", DEADLINE, || {
        status(&mesh, "laptop").contains("repaired").then_some(())
    })
    .expect("it is repaired");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable again");
    let log = mesh.log("laptop", "meshd");
    assert!(!log.contains("ERROR"), "{log}");
}

/// The rules of wg-quick(8) for a tunnel that takes everything, and its own packets apart.
const DEFAULT_TUNNEL: &str = "ip link add vpn0 type bridge; ip link set vpn0 up; \
     ip addr add 10.9.9.1/32 dev vpn0; ip addr add fd99::1/128 dev vpn0; \
     for family in -4 -6; do \
         ip $family route add default dev vpn0 table 51820; \
         ip $family rule add not fwmark 51820 table 51820; \
         ip $family rule add table main suppress_prefixlength 0; \
     done";

#[test]
fn a_tunnel_that_takes_everything_leaves_the_mesh_alone() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.host("laptop").sh(DEFAULT_TUNNEL).expect("a tunnel");
    assert_login(&mesh);
    mesh.take_manager("laptop").stop().expect("stopped");
    mesh.host("laptop")
        .sh("ip link delete mesh0")
        .expect("deleted");
    mesh.start_manager("laptop").expect("started");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
}

#[test]
fn another_firewall_in_the_way_is_named() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.sh("nft -f - <<'END'\n\
         table inet filter {\n\
             chain input { type filter hook input priority 0; policy drop;\n\
                 ct state established accept; iifname lo accept; }\n\
             chain output { type filter hook output priority 0; policy drop; accept; }\n\
         }\n\
         table ip open { chain input { type filter hook input priority 0; policy accept; }; }\n\
         END")
        .expect("a firewall");
    let said = status(&mesh, "web1");
    let word = "firewall   inet filter input may drop what comes from the mesh";
    assert!(said.contains(word), "{said}");
    let connect = mesh.host("laptop").command("timeout");
    let connect = connect.args(["2", "bash", "-c", "exec 3<>/dev/tcp/web1/22"]);
    assert!(!connect.output().expect("an end").status.success());
    web1.sh("nft add rule inet filter input udp dport 51820 accept; \
         nft add rule inet filter input iifname mesh0 accept")
        .expect("opened");
    assert!(!status(&mesh, "web1").contains("firewall"));
    assert_login(&mesh);
}
