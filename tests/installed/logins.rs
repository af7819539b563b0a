//! A login through the mesh, and what installation and `mesh up` have made of the host.

use crate::site::{PATIENCE, site};

#[test]
fn a_plain_ssh_logs_in_over_the_kernel_s_wireguard() {
    let site = site();
    assert_eq!(site.login("id -un"), "alice\n");
    let shown = site.on("web1", "ip -d link show mesh0").stdout;
    assert!(shown.contains("wireguard"), "{shown}");
    let status = site.on("web1", "mesh status").stdout;
    assert!(status.contains("kernel on mesh0"), "{status}");
    let denied = site.ssh("bob@web1 true").output().expect("an end");
    assert_eq!(denied.status.code(), Some(255));
    assert!(
        denied.stderr.contains("meshd: policy does not permit you"),
        "{}",
        denied.stderr
    );
}

#[test]
fn installation_starts_the_manager_and_never_ssh() {
    let begun = &site().begun;
    let begun: Vec<_> = begun.lines().collect();
    // Manager and SSH after the installation; the module before, and after the host has joined.
    let expected = [
        "active",
        "enabled",
        "inactive",
        "disabled",
        "not loaded",
        "inactive",
        "loaded",
    ];
    assert_eq!(begun, expected);
}

#[test]
fn ssh_is_off_with_its_unit_and_sessions_stay() {
    let site = site();
    let mut talk = site.talk();
    site.on("web1", "systemctl stop meshd-ssh");
    let closed = site.ssh("alice@web1 true").output().expect("an end");
    assert_eq!(closed.status.code(), Some(255));
    talk.assert_alive("without a listener");
    site.on("web1", "systemctl start meshd-ssh");
    site.wait_until_reachable();
    assert_eq!(site.login("id -un"), "alice\n");
    talk.assert_alive("at the end");
}

/// The module was not there before: `installation_starts_the_manager_and_never_ssh`. CAP_NET_ADMIN is
/// number 12 (capabilities(7)).
#[test]
fn the_manager_that_loads_the_module_is_no_root_and_may_nothing_but_networks() {
    let site = site();
    let status = "cat /proc/$(systemctl show --property MainPID --value meshd)/status; id -u meshd";
    let status = site.on("web1", status).stdout;
    let uid = status.lines().last().expect("the account's number");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("such a line")
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_ne!(uid, "0");
    assert_eq!(value("Uid:"), [uid; 4]);
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(set), ["0000000000001000"], "{set}");
    }
    assert_eq!(value("NoNewPrivs:"), ["1"]);
}

/// sshd listens on 0.0.0.0 and [::], and every command of these tests comes by it.
#[test]
fn sshd_keeps_port_22_of_every_other_address() {
    let site = site();
    let ask = |address: &str| {
        let greet = format!("exec 3<>/dev/tcp/{address}/22; head -n 1 <&3");
        let asked = site
            .machine("laptop")
            .command(&format!("bash -c '{greet}'"));
        asked.deadline(PATIENCE).output().expect("an answer").stdout
    };
    let web1 = site.machine("web1");
    assert!(ask("web1").contains("OpenSSH_meshd_"), "over the mesh");
    for beside in [web1.v4().to_string(), web1.v6().to_string()] {
        let greeting = ask(&beside);
        assert!(greeting.contains("Debian"), "{beside}: {greeting}");
    }
}
