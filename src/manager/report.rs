//! What this node tells control about itself.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use meshd_contract::host_key::HostKey;
use meshd_contract::node_api::Report;

/// The most endpoints that are reported.
const MAX_ENDPOINTS: usize = 16;
/// The most host keys, and the longest file of them that is read, in bytes.
const MAX_HOST_KEYS: usize = 8;
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The report of a node with these addresses, port, and file of host keys.
#[must_use]
pub fn report(addresses: &[IpAddr], port: u16, host_keys: &str) -> Report {
    let endpoints = addresses.iter().take(MAX_ENDPOINTS);
    Report {
        endpoints: endpoints.map(|ip| SocketAddr::new(*ip, port)).collect(),
        wireguard_port: port,
        ssh_host_keys: host_keys
            .lines()
            .filter_map(host_key)
            .take(MAX_HOST_KEYS)
            .collect(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The host keys that the broker serves; none while SSH is off.
#[must_use]
pub fn read_host_keys(path: &Path) -> String {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// The key of one line, without the comment, which names the host's administrator; none where the
/// line holds anything else.
fn host_key(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let key = format!("{} {}", words.next()?, words.next()?);
    key.parse().ok().map(|key: HostKey| key.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_hosts::tests::KEY;

    #[test]
    fn host_keys_lose_their_comment() {
        let file =
            format!("{KEY} root@web1\n# x y\n\necdsa-sha2-nistp256 AAAAE2Vj\nbroken\n{KEY}\n");
        assert_eq!(report(&[], 51820, &file).ssh_host_keys, [KEY, KEY]);
    }

    #[test]
    fn every_address_is_an_endpoint() {
        let addresses = [
            "192.0.2.1".parse().expect("ip"),
            "2001:db8::1".parse().expect("ip"),
        ];
        let report = report(&addresses, 4, "");
        let endpoints: Vec<String> = report.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["192.0.2.1:4", "[2001:db8::1]:4"]);
        assert_eq!(report.wireguard_port, 4);
    }

    #[test]
    fn without_a_file_there_are_no_keys() {
        assert_eq!(read_host_keys(Path::new("/nonexistent")), "");
    }
}
