//! Sessions go on when somebody deletes the kernel's WireGuard device below them.

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::is_inside;

fn shown(mesh: &Mesh, script: &str) -> String {
    let asked = mesh.host("web1").command("sh").args(["-c", script]);
    asked.output().expect("an end").stdout
}

#[test]
fn a_deleted_device_comes_back_below_open_sessions() {
    if !is_inside("repair::a_deleted_device_comes_back_below_open_sessions") {
        return;
    }
    let mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    let number = "cat /sys/class/net/mesh0/ifindex";
    let wanted = "ip -o addr show dev mesh0 | sed 's/^[0-9]*//'; ip route show dev mesh0; \
                  wg show mesh0 public-key; wg show mesh0 peers; wg show mesh0 allowed-ips; wg show mesh0 listen-port; \
                  nft list table inet meshd";
    let before = (shown(&mesh, number), shown(&mesh, wanted));
    let peer = shown(&mesh, "wg show mesh0 peers");
    let peer = peer.trim();
    // As many as are repaired without a pause.
    for harm in [
        "ip link delete mesh0",
        "nft flush ruleset",
        "ip link set mesh0 down",
        &format!("wg set mesh0 peer {peer} remove"),
        "wg set mesh0 listen-port 4444",
    ] {
        mesh.host("web1").sh(harm).expect(harm);
        let repaired = wait_for("the repair", DEADLINE, || {
            (shown(&mesh, wanted) == before.1).then_some(())
        });
        assert!(
            repaired.is_ok(),
            "after {harm}:\n{}\n{}\nnot:\n{}",
            mesh.log("web1", "meshd"),
            shown(&mesh, wanted),
            before.1
        );
        assert_eq!(shown(&mesh, number), before.0, "{harm}");
        talk.assert_alive("after a repair");
    }
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}
