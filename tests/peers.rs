//! Very many peers: the kernel's WireGuard in a virtual machine, and everything that the manager
//! makes of a document that names them. What it took is printed.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ipnet::IpNet;
use meshd::known_hosts;
use meshd::manager::firewall;
use meshd::manager::link::Links;
use meshd::manager::names::Names;
use meshd::manager::nft::{Nft, TableState};
use meshd::manager::state::Secret;
use meshd::manager::wireguard::diff::{Change, WantedPeer, diff};
use meshd::manager::wireguard::kernel::Kernel;
use meshd::manager::wireguard::{Settings, WireGuard};
use meshd_contract::address::{AddressRange, MeshAddresses};
use meshd_contract::document::{Header, Version};
use meshd_contract::filter::{FilterDestination, FilterRule, PortRange, Sources};
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::key::WireGuardKey;
use meshd_contract::network_document::{NetworkDocument, NetworkPeer};
use meshd_contract::time::Timestamp;
use sha2::{Digest, Sha256};

const DEVICE: &str = "many0";
const NOW: Timestamp = Timestamp(1_000_000);
/// Peers that are sent something, so that they have counters.
const SPOKEN_TO: u32 = 3;
/// Says to this program that it runs in the virtual machine.
const INSIDE: &str = "MESHD_PEERS_INSIDE";

/// Outside, runs this test again in the virtual machine; true inside.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/vm/run");
    let output = Command::new(run)
        .args(["env", &format!("{INSIDE}=1")])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .output()
        .expect("a virtual machine");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in the machine:\n{said}\n{complained}"
    );
    for line in said.lines().filter(|line| line.contains(" ms ")) {
        say(line);
    }
    false
}

fn say(line: &str) {
    writeln!(io::stdout(), "{line}").expect("written");
}

/// Says how long something took.
async fn timed<T>(what: &str, doing: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = doing.await;
    say(&format!("{:>8} ms {what}", began.elapsed().as_millis()));
    done
}

fn addresses(n: u32) -> MeshAddresses {
    MeshAddresses {
        v4: Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + n),
        v6: Ipv6Addr::from_bits(
            Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0).to_bits() + u128::from(n),
        ),
    }
}

fn key(n: u32) -> WireGuardKey {
    WireGuardKey(Sha256::digest(n.to_be_bytes()).into())
}

fn endpoint(n: u32, port: u16) -> SocketAddr {
    // The loopback's own network: what is sent there has gone out, though nobody answers.
    let bits = Ipv4Addr::new(127, 0, 0, 0).to_bits() + n;
    (Ipv4Addr::from_bits(bits), port).into()
}

fn peers(count: u32) -> Vec<WantedPeer> {
    let peer = |n| WantedPeer {
        key: key(n),
        allowed_ips: addresses(n).both().map(IpNet::from).to_vec(),
        endpoints: vec![endpoint(n, 51820)],
    };
    (2..count + 2).map(peer).collect()
}

fn document(count: u32) -> NetworkDocument {
    let peer = |n: u32| NetworkPeer {
        node: NodeId(n.into()),
        name: format!("host-{n}").parse().expect("a name"),
        addresses: addresses(n),
        wireguard_key: key(n),
        endpoints: vec![endpoint(n, 51820)],
        owner: Owner::User(format!("user-{n}@example.com")),
        routes: Vec::new(),
        ssh_host_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA".to_owned()],
        key_expires_at: None,
    };
    // Each tenth peer by its own address: neither everybody nor a range.
    let sources = (2..count + 2).step_by(10).flat_map(|n| addresses(n).both());
    let mut sources: Vec<AddressRange> = sources
        .map(|address| address.to_string().parse().expect("a range"))
        .collect();
    sources.sort();
    NetworkDocument {
        header: Header {
            node: NodeId(1),
            version: Version(1),
            issued_at: NOW,
            expires_at: Timestamp(NOW.0 + 1000),
        },
        domain: "mesh.internal".to_owned(),
        name: "web1".parse().expect("a name"),
        addresses: addresses(1),
        owner: Owner::Tags(vec!["tag:web".to_owned()]),
        peers: (2..count + 2).map(peer).collect(),
        key_expires_at: None,
        filter: vec![FilterRule {
            sources: Sources::Ranges(sources),
            protocols: vec![6],
            destinations: vec![FilterDestination {
                addresses: None,
                ports: PortRange {
                    first: 22,
                    last: 22,
                },
            }],
        }],
    }
}

/// The one change that a new endpoint of one peer makes.
fn move_one(kernel_has: &meshd::manager::wireguard::Peers, wanted: &mut [WantedPeer]) -> Change {
    let moved = &mut wanted[7];
    moved.endpoints = vec![endpoint(7, 4)];
    let mut changes = diff(kernel_has, wanted, NOW);
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

async fn configure(count: u32) {
    let links = Links::connect().expect("netlink");
    let settings = Settings {
        device: DEVICE.to_owned(),
        port: 51999,
        key: Secret::generate().expect("random bytes"),
        mtu: 1420,
        index: None,
    };
    let mut kernel = Kernel::open(&settings, &links).await.expect("a device");
    links
        .configure(DEVICE, &addresses(1))
        .await
        .expect("addresses");
    let mut wanted = peers(count);
    let changes = diff(&kernel.dump().await.expect("a list"), &wanted, NOW);
    let what = format!("{count} peers: configured");
    timed(&what, kernel.apply(changes)).await.expect("applied");
    let socket = UdpSocket::bind((addresses(1).v4, 0)).expect("a socket");
    for n in 2..2 + SPOKEN_TO {
        let to: IpAddr = addresses(n).v4.into();
        // It is not delivered: nobody is there. WireGuard counts what it tries.
        let _ = socket.send_to(b"", (to, 9));
    }
    let before = timed(&format!("{count} peers: listed"), kernel.dump()).await;
    let before = before.expect("a list");
    assert_eq!(before.len(), count as usize);
    assert!(diff(&before, &wanted, NOW).is_empty());

    let change = move_one(&before, &mut wanted);
    let what = format!("{count} peers: one changed");
    timed(&what, kernel.apply(vec![change]))
        .await
        .expect("applied");
    let after = kernel.dump().await.expect("a list");
    assert_eq!(after.len(), count as usize);
    assert_eq!(after[&wanted[7].key].endpoint, Some(endpoint(7, 4)));
    for peer in wanted.iter().filter(|peer| peer.key != wanted[7].key) {
        let (old, new) = (&before[&peer.key], &after[&peer.key]);
        assert_eq!(
            (old.endpoint, &old.allowed_ips),
            (new.endpoint, &new.allowed_ips)
        );
        assert!(new.sent >= old.sent && new.received == old.received);
    }
    let spoken_to = wanted.iter().take(SPOKEN_TO as usize);
    for peer in spoken_to {
        assert!(after[&peer.key].sent > 0, "counters are lost");
    }
    beside_wg(count);
    let what = format!("{count} peers: removed with the device");
    let removed = timed(&what, Box::new(kernel).remove());
    removed.await.expect("removed");
    assert!(links.find(DEVICE).await.expect("an answer").is_none());
}

/// The same by wg(8), for comparison.
fn beside_wg(count: u32) {
    let run = |script: &str| {
        let began = Instant::now();
        let output = Command::new("sh").args(["-c", script]).output();
        let output = output.expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
        began.elapsed().as_millis()
    };
    run(&format!(
        "command -v wg >/dev/null || {{ echo 'install the package wireguard-tools' >&2; exit 1; }}
         wg showconf {DEVICE} >/tmp/conf; ip link add wg9 type wireguard"
    ));
    let took = run("sed -i 's/51999/51998/' /tmp/conf; wg setconf wg9 /tmp/conf");
    say(&format!("{took:>8} ms {count} peers: wg setconf"));
    let took = run("sed -i '0,/:51820/s//:5/' /tmp/conf; wg syncconf wg9 /tmp/conf");
    say(&format!(
        "{took:>8} ms {count} peers: wg syncconf with one changed"
    ));
    run("wg setconf wg9 /dev/null; ip link delete wg9");
}

async fn write_rules(count: u32) {
    let document = document(count);
    let chains = firewall::table(&document, &document.filter, DEVICE, true);
    let mut nft = Nft::default();
    let what = format!("{count} peers, a tenth of them sources: nft rules written");
    timed(&what, nft.write(chains.clone()))
        .await
        .expect("written");
    let state = timed("rules looked at, unchanged", async { nft.look() }).await;
    assert_eq!(state.expect("an answer"), TableState::Intact);
    let what = "the same rules wanted again";
    timed(what, nft.write(chains)).await.expect("nothing to do");
    nft.remove().await.expect("removed");
}

fn in_runtime(doing: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(doing);
}

#[test]
fn ten_thousand_peers_are_configured_and_one_is_changed_by_itself() {
    if !is_inside("ten_thousand_peers_are_configured_and_one_is_changed_by_itself") {
        return;
    }
    in_runtime(async {
        for count in [1_000, 10_000] {
            configure(count).await;
        }
        write_rules(10_000).await;
    });
}

/// Resident memory of this process, in KiB (proc(5), status).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("its memory").split_whitespace().next();
    words.expect("a number").parse().expect("a number")
}

#[test]
fn a_document_of_ten_thousand_peers_is_taken_apart() {
    const COUNT: u32 = 10_000;
    let before = resident();
    let document = document(COUNT);
    let text = serde_json::to_vec(&document).expect("written");
    let parsed = resident();
    in_runtime(async {
        let read = timed("document read", async { serde_json::from_slice(&text) }).await;
        let read: NetworkDocument = read.expect("read");
        assert_eq!(read, document);
        let names = timed("names", async { Names::from_document(&read) }).await;
        let last = addresses(COUNT + 1);
        assert_eq!(
            names.addresses_of(&format!("host-{}", COUNT + 1)),
            Some(last)
        );
        assert_eq!(
            names.node_at(last.v6.into()),
            Some(NodeId((COUNT + 1).into()))
        );
        let hosts = timed("ssh-hosts", async { known_hosts::hosts(&read) }).await;
        assert!(hosts.lines().count() >= COUNT as usize);
        let rules = async { firewall::table(&read, &read.filter, DEVICE, true) };
        let chains = timed("rules", rules).await;
        let commands: usize = chains.iter().map(|chain| chain.fill().count()).sum();
        assert!(commands < 50, "sources are sets, not rules: {commands}");
        let wanted: Vec<_> = read.peers.iter().map(WantedPeer::from_document).collect();
        let changes = async { diff(&meshd::manager::wireguard::Peers::new(), &wanted, NOW) };
        assert_eq!(timed("changes", changes).await.len(), COUNT as usize);
    });
    say(&format!(
        "{:>8} KiB document, {} KiB of memory for it, {} KiB with everything made of it",
        text.len() / 1024,
        parsed - before,
        resident() - before
    ));
}
