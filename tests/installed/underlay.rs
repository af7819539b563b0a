//! The network below the mesh changes: families, addresses, a machine that sleeps, no control.

use std::io::Write;
use std::thread;

use meshd_lab::wait_for;

use crate::site::{PATIENCE, Site, site};

/// Gives a machine the addresses of its configuration, and no others.
const RESET: &str = "ip addr flush dev eth0 scope global; networkctl reconfigure eth0;
    until ip addr show dev eth0 | grep -q 'inet6 2001.*global'; do sleep 0.1; done;
    until ip addr show dev eth0 | grep -q 'inet 192'; do sleep 0.1; done";

/// Where the laptop's WireGuard sends what is for web1.
fn endpoint(site: &Site) -> String {
    let key = site.on("web1", "wg show mesh0 public-key").stdout;
    let all = site.on("laptop", "wg show mesh0 endpoints").stdout;
    let mut lines = all.lines().filter_map(|line| line.split_once('\t'));
    let found = lines.find(|(peer, _)| *peer == key.trim());
    found.expect("web1 among the peers").1.to_owned()
}

fn wait_for_endpoint(site: &Site, start: &str) {
    let there = wait_for(&format!("endpoint {start}"), PATIENCE, || {
        endpoint(site).starts_with(start).then_some(())
    });
    there.unwrap_or_else(|error| panic!("{error}: {}", endpoint(site)));
}

#[test]
fn sessions_and_logins_go_on_where_only_ipv6_is_left() {
    let site = site();
    let mut talk = site.talk();
    for name in ["laptop", "web1"] {
        site.on(name, "ip -4 addr flush dev eth0");
    }
    talk.assert_alive("over IPv6");
    wait_for_endpoint(&site, "[2001:db8::");
    assert_eq!(site.login("id -un"), "alice\n");
    for name in ["laptop", "web1"] {
        site.on(name, RESET);
    }
    talk.assert_alive("at the end");
}

#[test]
fn a_session_goes_on_while_its_host_moves_to_another_address() {
    let site = site();
    let mut talk = site.talk();
    site.on(
        "web1",
        "ip addr flush dev eth0 scope global; ip addr add 192.0.2.33/24 dev eth0",
    );
    talk.assert_alive("at another address");
    wait_for_endpoint(&site, "192.0.2.33:");
    assert_eq!(site.login("id -un"), "alice\n");
    site.on("web1", RESET);
    talk.assert_alive("at the end");
    assert_eq!(site.login("id -un"), "alice\n");
}

#[test]
fn the_tunnel_follows_a_narrower_underlay_and_a_wider_one() {
    let site = site();
    for (mtu, of_tunnel) in [(1400, 1312), (1500, 1420)] {
        site.on("web1", &format!("ip link set eth0 mtu {mtu}"));
        let follows = wait_for("tunnel that follows", PATIENCE, || {
            let shown = site.said("web1", "ip link show mesh0");
            shown.contains(&format!(" mtu {of_tunnel} ")).then_some(())
        });
        follows.unwrap_or_else(|error| panic!("{error} {mtu}"));
    }
    assert_eq!(site.login("id -un"), "alice\n");
}

/// As far as a machine under emulation goes (`pm_test` of the kernel's own, Documentation/power/
/// basic-pm-debugging): programs are frozen, WireGuard forgets its keys, devices and clock stop,
/// and 5 seconds later everything is resumed.
#[test]
fn a_session_goes_on_after_its_host_has_slept() {
    let site = site();
    let mut talk = site.talk();
    let restarts = "systemctl show --property NRestarts meshd meshd-ssh";
    let before = site.on("web1", restarts).stdout;
    // A driver of the shared folder that knows no sleep.
    site.on(
        "web1",
        "umount /srv/packages || true; echo core >/sys/power/pm_test",
    );
    site.on("web1", "echo mem >/sys/power/state");
    talk.assert_alive("after the sleep");
    assert_eq!(site.login("id -un"), "alice\n");
    let slept = site
        .on("web1", "echo none >/sys/power/pm_test; dmesg")
        .stdout;
    assert!(slept.contains("PM: suspend exit"), "{slept}");
    assert_eq!(site.on("web1", restarts).stdout, before);
}

#[test]
fn a_host_that_starts_while_control_is_away_is_logged_in_to() {
    let site = site();
    site.on("control", "systemctl stop meshd-control");
    let web1 = site.machine("web1");
    let boot = site
        .on("web1", "cat /proc/sys/kernel/random/boot_id")
        .stdout;
    let look = "-o ConnectTimeout=3 alice@web1 cat /proc/sys/kernel/random/boot_id /proc/uptime";
    let uptime = thread::scope(|scope| {
        let back = scope.spawn(|| web1.reboot().expect("a machine that is back"));
        let uptime = wait_for("login after the start", PATIENCE, || {
            let said = site.ssh(look).output().ok()?.stdout;
            let uptime = said.lines().nth(1)?.split(' ').next()?.to_owned();
            (!said.starts_with(&boot)).then_some(uptime)
        });
        back.join().expect("a machine that is back");
        uptime
    });
    let uptime = uptime.expect("a login");
    let _ = writeln!(
        std::io::stderr(),
        "the first login was through {uptime} s after the kernel's start"
    );
    let status = site.on("web1", "mesh status").stdout;
    assert!(status.contains("away"), "{status}");
    site.on("control", "systemctl start meshd-control");
    let back = wait_for("control again", PATIENCE, || {
        let status = site.said("web1", "mesh status");
        status.contains("(connected)").then_some(())
    });
    back.expect("control again");
}
