//! A way to the mesh addresses that carries packets past WireGuard.
//!
//! Userspace WireGuard carries less than a server does, and takes the CPU that the server is
//! measured by. The addresses, the device and everything that the servers see of a connection stay:
//! what would leave by `mesh0` leaves by the LAN, and what comes from there arrives at `mesh0`.

use meshd_lab::{Host, Mesh, Result};

/// From now on, packets between the two hosts take the short way.
pub(crate) fn open(mesh: &Mesh) -> Result<()> {
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    redirect(laptop, web1)?;
    redirect(web1, laptop)
}

fn redirect(host: &Host, other: &Host) -> Result<()> {
    let (v4, v6) = (other.v4(), other.v6());
    let script = format!(
        "set -e
        tc qdisc add dev eth0 clsact
        arrive() {{
            tc filter add dev eth0 ingress protocol $1 u32 match $2 dst $3 \
                action mirred ingress redirect dev mesh0
        }}
        arrive ip ip 100.64.0.0/10
        arrive ipv6 ip6 fd7a:115c:a1e0::/48
        nft 'table netdev short_way {{
            chain out {{
                type filter hook egress device mesh0 priority 0
                ip daddr 100.64.0.0/10 fwd ip to {v4} device eth0
                ip6 daddr fd7a:115c:a1e0::/48 fwd ip6 to {v6} device eth0
            }}
        }}'"
    );
    host.sh(&script).map(drop)
}
