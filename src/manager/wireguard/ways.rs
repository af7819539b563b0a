//! Whether this host has a way to an endpoint.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What was asked of the kernel's routes; nothing is sent. It is for one look at all peers, since
/// routes change: most peers have the same few addresses or networks in common.
#[derive(Debug, Default)]
pub struct Ways(HashMap<IpAddr, bool>);

impl Ways {
    /// Whether a packet to this endpoint could leave this host.
    pub fn lead_to(&mut self, endpoint: SocketAddr) -> bool {
        let known = self.0.entry(endpoint.ip());
        *known.or_insert_with(|| has_way(endpoint))
    }
}

/// Connecting a socket to a place without a way fails at once (udp(7), ENETUNREACH). A host without
/// IPv6 has no socket for it, and no way.
fn has_way(endpoint: SocketAddr) -> bool {
    let own: IpAddr = if endpoint.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    UdpSocket::bind((own, 0)).is_ok_and(|socket| socket.connect(endpoint).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_way_to_itself_and_none_to_no_address() {
        let mut ways = Ways::default();
        assert!(ways.lead_to(([127, 0, 0, 1], 1).into()));
        // A link-local address without a device leads nowhere.
        let nowhere = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        assert!(!ways.lead_to((nowhere, 1).into()));
    }
}
