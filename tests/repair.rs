//! What another program takes away from the mesh comes back at once, and nothing passes meanwhile.

use meshd_lab::{DEADLINE, Mesh, wait_for};

const SSH_ONLY: &str = r#"{
    "tagOwners": {"tag:web": ["alice@example.com"]},
    "grants": [{"src": ["alice@example.com"], "dst": ["tag:web"], "ip": ["tcp:22"]}],
    "ssh": [{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"]}],
}
"#;

/// The table as an administrator sees it, and with the numbers that a new table would not have.
const TABLE: &str = "nft list table inet meshd";
const TABLE_WITH_HANDLES: &str = "nft --handle list table inet meshd";
const ADDRESSES: &str = "ip -o addr show dev mesh0 scope global | sed 's/^[0-9]*//'; \
     ip route show 100.64.0.0/10; ip -6 route show fd7a:115c:a1e0::/48";

/// A mesh in which nothing but SSH passes from laptop to web1.
fn strict_mesh() -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    let before = shown(&mesh, TABLE);
    mesh.set_policy(SSH_ONLY).expect("saved");
    wait_for("new rules", DEADLINE, || {
        (shown(&mesh, TABLE) != before).then_some(())
    })
    .expect("a filter");
    mesh
}

/// What a script on web1 prints; nothing where it fails.
fn shown(mesh: &Mesh, script: &str) -> String {
    let asked = mesh
        .host("web1")
        .command("sh")
        .args(["-c", script])
        .output();
    let asked = asked.expect("an end");
    if asked.status.success() {
        asked.stdout
    } else {
        String::new()
    }
}

/// Runs a script on web1, and waits until `show` prints the same as before.
fn assert_repaired(mesh: &Mesh, harm: &str, show: &str) {
    let before = shown(mesh, show);
    assert_ne!(before, "", "{show}");
    mesh.host("web1").sh(harm).expect(harm);
    let came = wait_for("the repair", DEADLINE, || {
        (shown(mesh, show) == before).then_some(())
    });
    assert!(
        came.is_ok(),
        "after {harm}:\n{}\n{}",
        shown(mesh, show),
        mesh.log("web1", "meshd")
    );
}

/// The warnings of web1's manager that it has put something back.
fn repairs(mesh: &Mesh) -> Vec<String> {
    let log = mesh.log("web1", "meshd");
    let lines = log.lines().filter(|line| line.contains("repaired"));
    lines.map(str::to_owned).collect()
}

fn status(mesh: &Mesh) -> String {
    let status = mesh.host("web1").command("mesh").arg("status").succeed();
    status.expect("a status").stdout
}

/// Whether web1's device is there, and down.
fn is_closed(mesh: &Mesh) -> bool {
    let device = mesh.host("web1").sh("ip -o link show mesh0");
    let flags = device.expect("a device").stdout;
    !flags.contains(",UP")
}

fn answers_ping(mesh: &Mesh) -> bool {
    let ping = mesh.host("laptop").command("ping");
    let ping = ping.args(["-c1", "-W1", "web1"]).output();
    ping.expect("an end").status.success()
}

fn assert_login(mesh: &Mesh) {
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

#[test]
fn a_flushed_ruleset_comes_back_and_sessions_go_on() {
    let mesh = strict_mesh();
    let mut talk = mesh.talk();
    assert_repaired(&mesh, "nft flush ruleset", TABLE);
    talk.assert_alive("after the flush");
    assert!(!answers_ping(&mesh));
    assert_login(&mesh);
    let repairs = repairs(&mesh);
    assert_eq!(repairs.len(), 1, "{repairs:#?}");
    for words in ["WARN", "the table inet meshd", "by=\"nft (process "] {
        assert!(repairs[0].contains(words), "{words}: {}", repairs[0]);
    }
    let status = status(&mesh);
    assert!(status.contains("repaired   once "), "{status}");
}

#[test]
fn a_change_of_the_table_is_undone() {
    let mesh = strict_mesh();
    for harm in [
        "nft delete table inet meshd",
        "nft flush chain inet meshd input",
        "nft insert rule inet meshd input accept",
        "nft delete table inet meshd; nft add table inet meshd",
    ] {
        assert_repaired(&mesh, harm, TABLE);
        assert!(!answers_ping(&mesh), "{harm}");
    }
    assert_eq!(repairs(&mesh).len(), 4, "{:#?}", repairs(&mesh));
    // As an administrator's firewall that was saved while the mesh was up is loaded again: it
    // looks the same, and may not be what the policy says by now.
    mesh.host("web1")
        .sh("nft list ruleset >/tmp/saved; (echo flush ruleset; cat /tmp/saved) | nft -f -")
        .expect("loaded");
    wait_for("the fifth repair", DEADLINE, || {
        (repairs(&mesh).len() == 5).then_some(())
    })
    .expect("it is noticed");
}

#[test]
fn a_table_that_sleeps_is_woken() {
    let mesh = strict_mesh();
    assert_repaired(
        &mesh,
        "nft 'add table inet meshd { flags dormant; }'",
        TABLE,
    );
    assert!(!answers_ping(&mesh));
}

#[test]
fn the_rules_of_others_are_none_of_the_managers_business() {
    let mesh = strict_mesh();
    let before = shown(&mesh, TABLE_WITH_HANDLES);
    let web1 = mesh.host("web1");
    web1.sh(
        "nft 'add table inet own; add chain inet own input { type filter hook input priority 0; }'",
    )
    .expect("a rule of somebody else's");
    web1.sh("nft delete table inet own").expect("deleted");
    assert_repaired(&mesh, "ip addr del $(mesh ip -4)/32 dev mesh0", ADDRESSES);
    assert_eq!(shown(&mesh, TABLE_WITH_HANDLES), before);
    wait_for("its warning", DEADLINE, || {
        (!repairs(&mesh).is_empty()).then_some(())
    })
    .expect("it is logged");
    assert_eq!(repairs(&mesh).len(), 1, "{:#?}", repairs(&mesh));
}

#[test]
fn addresses_routes_and_the_devices_state_come_back() {
    let mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    for (harm, named) in [
        ("ip addr flush dev mesh0", "the address "),
        ("ip route del 100.64.0.0/10", "the route to 100.64.0.0/10"),
        (
            "ip -6 route del fd7a:115c:a1e0::/48",
            "the route to fd7a:115c:a1e0::/48",
        ),
        ("ip link set mesh0 down", "the device's state up"),
    ] {
        assert_repaired(&mesh, harm, ADDRESSES);
        let last = wait_for("its warning", DEADLINE, || {
            repairs(&mesh).pop().filter(|line| line.contains(named))
        });
        assert!(last.is_ok(), "{named}: {:#?}", repairs(&mesh));
        talk.assert_alive("after");
    }
}

#[test]
fn a_deleted_device_comes_back() {
    let mesh = Mesh::of_two().expect("a mesh");
    assert_repaired(&mesh, "ip link delete mesh0", ADDRESSES);
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
    let repairs = repairs(&mesh);
    assert_eq!(repairs.len(), 1, "{repairs:#?}");
    assert!(repairs[0].contains("the device"), "{repairs:#?}");
}

#[test]
fn while_the_rules_cannot_be_written_nothing_passes() {
    let mesh = strict_mesh();
    let mut talk = mesh.talk();
    let web1 = mesh.host("web1");
    web1.sh("mv /usr/sbin/nft /usr/sbin/nft-away; nft-away flush ruleset")
        .expect("flushed");
    let closed = wait_for("a closed device", DEADLINE, || {
        is_closed(&mesh).then_some(())
    });
    assert!(closed.is_ok(), "{}", mesh.log("web1", "meshd"));
    let said = status(&mesh);
    assert!(said.contains("install the package nftables"), "{said}");
    assert!(!answers_ping(&mesh));
    web1.sh("mv /usr/sbin/nft-away /usr/sbin/nft")
        .expect("put back");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    talk.assert_alive("after all");
    assert!(!answers_ping(&mesh));
    let said = status(&mesh);
    assert!(!said.contains("problem"), "{said}");
}

#[test]
fn a_manager_that_finds_no_rules_and_cannot_write_them_closes_the_device() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    mesh.take_manager("web1").stop().expect("stopped");
    let web1 = mesh.host("web1");
    web1.sh("mv /usr/sbin/nft /usr/sbin/nft-away; nft-away flush ruleset")
        .expect("flushed");
    assert!(!is_closed(&mesh), "the kernel's WireGuard serves it");
    mesh.start_manager("web1").expect("started");
    let closed = wait_for("a closed device", DEADLINE, || {
        is_closed(&mesh).then_some(())
    });
    assert!(closed.is_ok(), "{}", mesh.log("web1", "meshd"));
    let said = status(&mesh);
    assert!(said.contains("install the package nftables"), "{said}");
    mesh.host("web1")
        .sh("mv /usr/sbin/nft-away /usr/sbin/nft")
        .expect("put back");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    assert_login(&mesh);
}

#[test]
fn an_address_that_is_taken_again_and_again_comes_back_after_a_pause() {
    let mesh = Mesh::of_two().expect("a mesh");
    let before = shown(&mesh, ADDRESSES);
    let mut harmer = mesh
        .host("web1")
        .command("sh")
        .args([
            "-c",
            "while :; do ip addr show mesh0 | grep -q 100.64. && ip addr flush dev mesh0; done",
        ])
        .spawn()
        .expect("a program");
    let keeps = "another program keeps changing the mesh (the address";
    wait_for("a pause", DEADLINE, || {
        status(&mesh).contains(keeps).then_some(())
    })
    .expect("it pauses");
    assert!(!is_closed(&mesh), "the rules are there");
    harmer.kill().expect("killed");
    wait_for("the end of the pause", DEADLINE, || {
        (shown(&mesh, ADDRESSES) == before).then_some(())
    })
    .expect("they come back");
    wait_for("the end of the word on it", DEADLINE, || {
        (!status(&mesh).contains("problem")).then_some(())
    })
    .expect("nothing is wrong any more");
}

#[test]
fn with_a_program_that_does_not_stop_the_manager_does_not_race() {
    let mesh = strict_mesh();
    let web1 = mesh.host("web1");
    let mut harmer = web1
        .command("sh")
        .args([
            "-c",
            "while :; do nft list table inet meshd >/dev/null 2>&1 && nft flush ruleset; done",
        ])
        .spawn()
        .expect("a program");
    let keeps = "another program keeps changing the mesh (the table inet meshd)";
    wait_for("a pause", DEADLINE, || {
        status(&mesh).contains(keeps).then_some(())
    })
    .expect("it pauses");
    assert!(is_closed(&mesh));
    assert!(repairs(&mesh).len() <= 5, "{:#?}", repairs(&mesh));
    harmer.kill().expect("killed");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable after the pause");
    assert!(!status(&mesh).contains(keeps));
    assert!(!answers_ping(&mesh));
}
