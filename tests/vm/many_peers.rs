//! The manager with ten thousand peers, from documents on the disk: control is away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use meshd_contract::address::MeshAddresses;
use meshd_contract::document::{Header, Version};
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::key::{PrivateKey, WireGuardKey};
use meshd_contract::network_document::{NetworkDocument, NetworkPeer};
use meshd_contract::paths;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed;
use meshd_contract::time::Timestamp;
use meshd_lab::{Mesh, wait_for};

use crate::is_inside;

const COUNT: u32 = 10_000;
/// In the machine everything takes many times as long as on a host.
const PATIENCE: Duration = Duration::from_secs(300);

fn addresses(n: u32) -> MeshAddresses {
    let v6 = Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0).to_bits();
    MeshAddresses {
        v4: Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + n),
        v6: Ipv6Addr::from_bits(v6 + u128::from(n)),
    }
}

fn peer(n: u32, port: u16) -> NetworkPeer {
    // WireGuard takes any 32 bytes for a key.
    let mut key = [7; 32];
    key[..4].copy_from_slice(&n.to_le_bytes());
    let endpoint = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + n);
    NetworkPeer {
        node: NodeId(n.into()),
        name: format!("host-{n}").parse().expect("a name"),
        addresses: addresses(n),
        wireguard_key: WireGuardKey(key),
        endpoints: vec![SocketAddr::new(IpAddr::V4(endpoint), port)],
        owner: Owner::User(format!("user-{n}@example.com")),
        routes: Vec::new(),
        ssh_host_keys: Vec::new(),
        key_expires_at: None,
    }
}

fn header(version: u64) -> Header {
    Header {
        node: NodeId(1),
        version: Version(version),
        issued_at: Timestamp(1),
        expires_at: Timestamp(u64::from(u32::MAX)),
    }
}

/// Puts a node with these peers on a host, as if it had joined.
fn write_node(mesh: &Mesh, version: u64, peers: Vec<NetworkPeer>) {
    let control = PrivateKey::from_seed(&[1; 32]);
    let network = NetworkDocument {
        header: header(version),
        domain: "mesh.internal".to_owned(),
        name: "web1".parse().expect("a name"),
        addresses: addresses(1),
        owner: Owner::Tags(vec!["tag:web".to_owned()]),
        key_expires_at: None,
        peers,
        filter: Vec::new(),
    };
    let own = PeerDocument {
        header: header(version),
        name: "web1".parse().expect("a name"),
        addresses: addresses(1),
        peers: Vec::new(),
        rules: Vec::new(),
    };
    let secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let state = format!(
        r#"{{"node_key": "{secret}", "wireguard_key": "{secret}", "control": "https://192.0.2.9",
            "control_key": "{}", "membership": {{"node": 1, "name": "web1", "up": true}}}}"#,
        control.public()
    );
    let web1 = mesh.host("web1");
    web1.sh("mkdir -p /var/lib/meshd").expect("a folder");
    let seal = signed::seal(&network, &control).expect("signed");
    web1.write(paths::NETWORK_DOCUMENT, seal).expect("written");
    let seal = signed::seal(&own, &control).expect("signed");
    web1.write(paths::PEER_DOCUMENT, seal).expect("written");
    let path = format!("{}/state.json", paths::MANAGER_STATE);
    web1.write(path, state).expect("written");
    web1.sh("chown -R meshd: /var/lib/meshd").expect("owned");
}

fn shown(mesh: &Mesh, script: &str) -> String {
    let asked = mesh.host("web1").command("sh").args(["-c", script]);
    asked.deadline(PATIENCE).output().expect("an end").stdout
}

/// Starts the manager, and waits until it is up.
fn start(mesh: &mut Mesh) -> Duration {
    let began = Instant::now();
    mesh.start_manager("web1").expect("a manager");
    wait_for("the mesh", PATIENCE, || {
        shown(mesh, "mesh status | head -1")
            .contains(" up")
            .then_some(())
    })
    .expect("it is up");
    began.elapsed()
}

/// The peers with their endpoints, as the kernel has them.
fn endpoints(mesh: &Mesh) -> Vec<String> {
    let listed = shown(mesh, "wg show mesh0 endpoints | sort");
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn a_manager_serves_ten_thousand_peers_and_changes_one() {
    if !is_inside("many_peers::a_manager_serves_ten_thousand_peers_and_changes_one") {
        return;
    }
    let mut mesh = Mesh::start(&["web1"]).expect("a host");
    let mut peers: Vec<NetworkPeer> = (2..COUNT + 2).map(|n| peer(n, 51820)).collect();
    write_node(&mesh, 1, peers.clone());
    let first = start(&mut mesh);
    let before = endpoints(&mesh);
    assert_eq!(before.len(), COUNT as usize);
    let memory = shown(&mesh, "grep VmRSS /proc/$(pgrep -x meshd)/status");

    mesh.take_manager("web1").stop().expect("stopped");
    peers[500] = peer(502, 4);
    write_node(&mesh, 2, peers);
    let again = start(&mut mesh);
    wait_for("the change", PATIENCE, || {
        endpoints(&mesh)
            .iter()
            .any(|line| line.ends_with(":4"))
            .then_some(())
    })
    .expect("it is made");
    let after = endpoints(&mesh);
    let changed = after.iter().filter(|line| !before.contains(line)).count();
    assert_eq!((after.len(), changed), (COUNT as usize, 1));
    let log = mesh.log("web1", "meshd");
    assert!(!log.contains("repaired") && !log.contains("ERROR"), "{log}");
    let status = shown(&mesh, "mesh status | wc -l");
    assert!(status.trim().parse::<u32>().expect("a number") > COUNT);
    crate::say(&format!(
        "{:>8} ms to start with {COUNT} peers, {} ms to adopt them and change one; {}",
        first.as_millis(),
        again.as_millis(),
        memory.split_whitespace().collect::<Vec<_>>().join(" ")
    ));
}
