//! A tunnel of wg-quick(8) that takes the default route, on the same host.

use meshd_lab::{Mesh, wait_for};

use crate::is_inside;

/// Everything goes to a peer that is not there.
const CONFIGURATION: &str = "[Interface]
PrivateKey = MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
Address = 10.9.0.1/24, fd99::1/64
[Peer]
PublicKey = d95HWGmx8QkYrG8jr4bdFOTKmtpCBFaALADr7Az6SEQ=
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.250:9999
";

fn assert_login(mesh: &Mesh) {
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
}

#[test]
fn a_default_route_of_wg_quick_and_the_mesh_leave_each_other_alone() {
    if !is_inside(
        "beside_wg_quick::a_default_route_of_wg_quick_and_the_mesh_leave_each_other_alone",
    ) {
        return;
    }
    let mesh = Mesh::of_two().expect("a mesh");
    let mut talk = mesh.talk();
    let laptop = mesh.host("laptop");
    laptop
        .sh("mkdir -p /etc/wireguard")
        .and_then(|_| laptop.write("/etc/wireguard/all0.conf", CONFIGURATION))
        .expect("a configuration");
    laptop.sh("wg-quick up all0").expect("a tunnel");
    let theirs = "ip rule; ip -6 rule; ip route show table 51820; wg show all0 fwmark; \
                  nft list tables | grep wg-quick";
    let before = laptop.sh(theirs).expect("its rules").stdout;
    assert!(before.contains("suppress_prefixlength 0"), "{before}");
    talk.assert_alive("beside the tunnel");
    assert_login(&mesh);

    laptop.sh("ip link delete mesh0").expect("deleted");
    wait_for("the repair", meshd_lab::DEADLINE, || {
        let status = laptop.sh("mesh status").ok()?.stdout;
        status.contains("repaired").then_some(())
    })
    .expect("it comes back");
    talk.assert_alive("with a new device");
    assert_login(&mesh);
    assert_eq!(laptop.sh(theirs).expect("its rules").stdout, before);

    laptop.sh("wg-quick down all0").expect("no tunnel");
    talk.assert_alive("without the tunnel");
    assert_login(&mesh);
}
