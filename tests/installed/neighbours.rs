//! Other programs that configure networks: what they do beside the mesh, and what of the mesh stays.

use crate::site::{Site, site};

/// What the mesh has of the kernel.
const OURS: &str =
    "ip -brief address show dev mesh0; ip route show dev mesh0; ip -6 route show dev mesh0;
    nft list table inet meshd";

/// While and after `script` runs on web1, the mesh has what it had, a session goes on, and a login
/// works.
fn assert_unharmed(site: &Site, script: &str) {
    let mut talk = site.talk();
    let before = site.on("web1", OURS).stdout;
    site.on("web1", script);
    assert_eq!(site.on("web1", OURS).stdout, before, "{script}");
    talk.assert_alive("still");
    assert_eq!(site.login("id -un"), "alice\n");
}

#[test]
fn systemd_networkd_leaves_the_mesh_alone() {
    let site = site();
    assert_unharmed(
        &site,
        "systemctl restart systemd-networkd; networkctl reload",
    );
    let state = site
        .on("web1", "networkctl --no-pager --no-legend list mesh0")
        .stdout;
    assert!(state.contains("unmanaged"), "{state}");
}

#[test]
fn network_manager_leaves_the_mesh_alone() {
    let site = site();
    // The test's own way in is none of its business either.
    let ours = "[device-tests]\nmatch-device=interface-name:eth*\nmanaged=0\n";
    let machine = site.machine("web1");
    machine
        .write("/etc/NetworkManager/conf.d/tests.conf", ours)
        .expect("written");
    assert_unharmed(
        &site,
        "systemctl start NetworkManager; nm-online --wait-for-startup --timeout 60",
    );
    let devices = site
        .on("web1", "nmcli --terse --fields DEVICE,STATE device")
        .stdout;
    assert!(
        devices.lines().any(|line| line == "mesh0:unmanaged"),
        "{devices}"
    );
    site.on("web1", "systemctl stop NetworkManager");
}

/// A tunnel that takes every packet that has no better route: a mark, a rule and a table of
/// wg-quick(8)'s own.
#[test]
fn a_tunnel_of_wg_quick_lives_beside_the_mesh() {
    let site = site();
    let tunnel = "umask 077; cat >/etc/wireguard/wg0.conf <<END
[Interface]
PrivateKey = $(wg genkey)
Address = 10.77.0.1/24
ListenPort = 51821
[Peer]
PublicKey = $(wg genkey | wg pubkey)
Endpoint = 192.0.2.99:51821
AllowedIPs = 0.0.0.0/0, ::/0
END
wg-quick up wg0";
    assert_unharmed(&site, tunnel);
    let rules = site.on("web1", "ip rule; wg show interfaces").stdout;
    assert!(rules.contains("not from all fwmark"), "{rules}");
    assert!(rules.contains("wg0"), "{rules}");
    assert_unharmed(&site, "wg-quick down wg0");
}

#[test]
fn firewalld_lets_the_mesh_in() {
    let site = site();
    assert_unharmed(&site, "systemctl start firewalld; firewall-cmd --state");
    assert_unharmed(&site, "firewall-cmd --reload");
    assert_unharmed(&site, "systemctl stop firewalld");
}

/// Docker's tables drop what is forwarded, but not what is for the host.
#[test]
fn tables_that_drop_what_is_forwarded_do_not_touch_the_mesh() {
    let site = site();
    let docker = "nft -f - <<END
table ip filter {
    chain DOCKER { }
    chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER; }
}
table ip nat {
    chain DOCKER { }
    chain PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local jump DOCKER; }
    chain POSTROUTING { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 masquerade; }
}
END";
    assert_unharmed(&site, docker);
    assert_unharmed(&site, "nft delete table ip filter; nft delete table ip nat");
}

/// In nftables a drop is final, whichever table says it: meshd(8), Packet filter.
#[test]
fn a_table_that_drops_what_it_does_not_know_must_name_the_mesh() {
    let site = site();
    let strict = "nft -f - <<END
table inet strict {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname { lo, eth1 } accept
        udp dport 51820 accept
        meta l4proto 58 accept
        tcp dport 22 accept
    }
}
END";
    site.on("web1", strict);
    let closed = site.ssh("-o ConnectTimeout=5 alice@web1 true").output();
    let status = site.on("web1", "mesh status").stdout;
    site.on(
        "web1",
        "nft add rule inet strict input iifname mesh0 accept",
    );
    assert_unharmed(&site, "true");
    site.on("web1", "nft delete table inet strict");
    let said = closed.expect("an end").stderr;
    assert!(said.contains("timed out"), "{said}");
    let named = "firewall   inet strict input may drop what comes from the mesh";
    assert!(status.contains(named), "{status}");
}
