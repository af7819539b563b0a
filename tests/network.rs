//! What the mesh lets through, and what it leaves behind.

use std::time::Duration;

use meshd_lab::{DEADLINE, Mesh, wait_for};

const SSH_ONLY: &str = r#"{
    "tagOwners": {"tag:web": ["alice@example.com"]},
    "grants": [{"src": ["alice@example.com"], "dst": ["tag:web"], "ip": ["tcp:22"]}],
    "ssh": [{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"]}],
}
"#;

fn answers_ping(mesh: &Mesh, from: &str, to: &str) -> bool {
    let ping = mesh.host(from).command("ping").args(["-c1", "-W2", to]);
    ping.output().expect("an end").status.success()
}

/// Whether a TCP connection from laptop to this address and port is accepted.
fn accepts(mesh: &Mesh, address: &str, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{address}/{port}");
    let connect = mesh.host("laptop").command("timeout");
    let connect = connect.args(["3", "bash", "-c", &script]);
    connect.output().expect("an end").status.success()
}

#[test]
fn the_policy_says_which_packets_pass() {
    let mesh = Mesh::of_two().expect("a mesh");
    assert!(answers_ping(&mesh, "laptop", "web1"));
    mesh.set_policy(SSH_ONLY).expect("saved");
    wait_for("end of the answers", DEADLINE, || {
        (!answers_ping(&mesh, "laptop", "web1")).then_some(())
    })
    .expect("a filter");
    assert!(!answers_ping(&mesh, "web1", "laptop"));
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

#[test]
fn mesh_addresses_are_reached_through_the_mesh_only() {
    let mesh = Mesh::of_two().expect("a mesh");
    let (address, beside) = (mesh.address("web1"), mesh.host("web1").v4());
    assert!(accepts(&mesh, &address.to_string(), 22));
    for port in [22, meshd_contract::paths::SSH_PORT] {
        assert!(!accepts(&mesh, &beside.to_string(), port), "{port}");
    }
    mesh.host("laptop")
        .sh(&format!("ip route add {address}/32 via {beside} dev eth0"))
        .expect("a route around the mesh");
    for port in [22, meshd_contract::paths::SSH_PORT] {
        assert!(!accepts(&mesh, &address.to_string(), port), "{port}");
    }
}

#[test]
fn down_takes_away_what_up_made_and_nothing_else() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.lan().add("spare").expect("a host");
    let state = "ip -o link | sed 's/ qlen.*//'; ip -o addr | sed 's/valid_lft.*//'; ip rule; \
                 ip route show table all | sort; ip -6 route show table all | sort; nft list ruleset";
    let spare = mesh.host("spare");
    spare
        .sh("nft 'add table inet own; add chain inet own input { type filter hook input priority 0; }'")
        .expect("a rule of somebody else's");
    // Until then the kernel asks its neighbours whether one has its address already.
    let before = wait_for("addresses that are the host's own", DEADLINE, || {
        let state = spare.sh(state).ok()?.stdout;
        (!state.contains("tentative")).then_some(state)
    })
    .expect("a state");
    mesh.join("spare", meshd_lab::Owner::Tag("tag:web"))
        .expect("joined");
    let spare = mesh.host("spare");
    let during = spare.sh(state).expect("a state").stdout;
    assert!(during.contains("mesh0"), "{during}");
    spare.command("mesh").arg("down").succeed().expect("down");
    let after = spare.sh(state).expect("a state").stdout;
    assert_eq!(after, before);
    let up = spare.command("mesh").arg("up");
    up.succeed().expect("up again");
    let ssh = mesh
        .host("laptop")
        .command("ping")
        .args(["-c1", "-W1", "spare"]);
    wait_for("answer after down and up", DEADLINE, || {
        let ping = ssh.clone().deadline(Duration::from_secs(5));
        ping.output().ok()?.status.success().then_some(())
    })
    .expect("the mesh again");
}
