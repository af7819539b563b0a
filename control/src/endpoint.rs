//! Where a node's WireGuard can be reached, from what it reports and where its report came from.

use std::net::{IpAddr, SocketAddr};

use meshd_contract::address::is_mesh_address;
use meshd_contract::node_api::Report;

/// The most endpoints that are kept for a node.
const MAX_ENDPOINTS: usize = 16;

/// The node's endpoints, the most promising first: the address that control saw, then the
/// reported ones, without those that no other host can use.
pub(crate) fn endpoints(observed: IpAddr, report: &Report) -> Vec<SocketAddr> {
    let observed = SocketAddr::new(observed, report.wireguard_port);
    let mut endpoints: Vec<SocketAddr> = Vec::new();
    for endpoint in [observed].iter().chain(&report.endpoints) {
        let endpoint = SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port());
        if is_usable(endpoint) && !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    endpoints.truncate(MAX_ENDPOINTS);
    endpoints
}

fn is_usable(endpoint: SocketAddr) -> bool {
    let address = endpoint.ip();
    let is_host = match address {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        // Without a zone, a link-local address leads nowhere (RFC 4007, section 6).
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    is_host
        && endpoint.port() != 0
        && !address.is_loopback()
        && !address.is_unspecified()
        && !address.is_multicast()
        && !is_mesh_address(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(observed: &str, reported: &[&str]) -> Vec<String> {
        let report = Report {
            endpoints: reported
                .iter()
                .map(|e| e.parse().expect("an endpoint"))
                .collect(),
            wireguard_port: 51820,
            ..Report::default()
        };
        endpoints(observed.parse().expect("an address"), &report)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_observed_address_comes_first_and_once() {
        assert_eq!(
            found("192.0.2.7", &["10.0.0.2:51820", "192.0.2.7:51820"]),
            ["192.0.2.7:51820", "10.0.0.2:51820"]
        );
    }

    #[test]
    fn a_mapped_address_is_written_as_ipv4() {
        assert_eq!(found("::ffff:192.0.2.7", &[]), ["192.0.2.7:51820"]);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_left_out() {
        let useless = [
            "127.0.0.1:51820",
            "[::1]:51820",
            "0.0.0.0:51820",
            "224.0.0.1:51820",
            "255.255.255.255:51820",
            "[fe80::1]:51820",
            "100.64.0.9:51820",
            "[fd7a:115c:a1e0::9]:51820",
            "192.0.2.1:0",
        ];
        assert!(found("127.0.0.1", &useless).is_empty());
    }

    #[test]
    fn the_list_has_a_bound() {
        let many: Vec<String> = (0..100).map(|n| format!("192.0.2.{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(found("192.0.2.200", &many).len(), MAX_ENDPOINTS);
    }
}
