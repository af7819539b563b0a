//! What another program takes from the mesh comes back, on the kernel's WireGuard.

use meshd_lab::wait_for;

use crate::site::{PATIENCE, Site, site};

/// What the mesh has of the kernel; peers without their counters.
const OURS: &str =
    "ip -brief address show dev mesh0; ip route show dev mesh0; ip -6 route show dev mesh0;
    nft list table inet meshd; wg show mesh0 allowed-ips | sort";

/// Harms the mesh on web1; it comes back, a session that was open goes on, a login works, and the
/// journal names what was missing.
fn assert_repaired(site: &Site, harm: &str, named: &str) {
    let mut talk = site.talk();
    let before = site.on("web1", OURS).stdout;
    let log = "journalctl --no-pager --unit meshd --output cat --grep 'somebody has changed the mesh' || true";
    let logged = site.on("web1", log).stdout.lines().count();
    site.on("web1", harm);
    let came = wait_for("repair", PATIENCE, || {
        (site.said("web1", OURS) == before).then_some(())
    });
    came.unwrap_or_else(|error| {
        let now = site.said(
            "web1",
            &format!("{OURS}; journalctl --no-pager -n 20 -u meshd"),
        );
        panic!("{error}: {harm}: {now}")
    });
    let line = wait_for("warning", PATIENCE, || {
        let lines = site.on("web1", log).stdout;
        lines.lines().nth(logged).map(str::to_owned)
    });
    let line = line.unwrap_or_else(|error| panic!("{error}: {harm}"));
    assert!(line.contains(named), "{harm}: {line}");
    talk.assert_alive("after the repair");
    assert_eq!(site.login("id -un"), "alice\n", "{harm}");
}

#[test]
fn a_flushed_ruleset_comes_back() {
    assert_repaired(&site(), "nft flush ruleset", "the table inet meshd");
}

#[test]
fn a_deleted_device_comes_back() {
    assert_repaired(&site(), "ip link delete mesh0", "the device");
}

#[test]
fn addresses_and_peers_come_back() {
    let site = site();
    assert_repaired(&site, "ip address flush dev mesh0", "the address ");
    let remove = "for peer in $(wg show mesh0 peers); do wg set mesh0 peer $peer remove; done";
    assert_repaired(&site, remove, "peer");
}
