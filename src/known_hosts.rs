//! What ssh(1) is told about the nodes of the mesh: which hosts they are, and their host keys.
//!
//! Everything in a network document comes from other machines. Only what has been parsed gets into
//! a line: a name, a domain, an address of the mesh, a key.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use meshd_contract::address::is_mesh_address;
use meshd_contract::host_key::HostKey;
use meshd_contract::identity::is_domain;
use meshd_contract::network_document::{NetworkDocument, NetworkPeer};

use crate::manager::names::Names;

/// Where the [`hosts`] of the mesh that is in use are, beside the manager's socket.
#[must_use]
pub fn hosts_file(socket: &Path) -> PathBuf {
    socket.with_file_name("ssh-hosts")
}

/// The names and addresses of all peers whose host keys are known, one a line.
#[must_use]
pub fn hosts(document: &NetworkDocument) -> String {
    let all = document.peers.iter().flat_map(|peer| names(document, peer));
    all.map(|name| format!("{name}\n")).collect()
}

/// Whether these [`hosts`] have this one, in letters of any case, with or without a final dot.
#[must_use]
pub fn lists(hosts: &str, host: &str) -> bool {
    let host = normalized(host);
    !host.is_empty() && hosts.lines().any(|line| line == host)
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only of the peer with this name or address.
    pub host: Option<&'a str>,
    /// For this name, which is in front of the keys in place of the peer's own.
    pub name: Option<&'a str>,
    /// Only the key with this base64.
    pub key: Option<&'a str>,
}

/// Lines of a known-hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), without line feeds.
#[must_use]
pub fn lines(document: &NetworkDocument, wanted: Wanted<'_>) -> Vec<String> {
    if wanted.name.is_some_and(|name| !is_plain(name)) {
        return Vec::new();
    }
    let host = wanted.host.map(normalized);
    let mut lines = Vec::new();
    for peer in &document.peers {
        let names = names(document, peer);
        if names.is_empty() || host.as_ref().is_some_and(|host| !names.contains(host)) {
            continue;
        }
        let names = wanted.name.map_or_else(|| names.join(","), str::to_owned);
        let wants = |key: &HostKey| wanted.key.is_none_or(|wanted| wanted == key.base64());
        lines.extend(keys(peer).filter(wants).map(|key| format!("{names} {key}")));
    }
    lines
}

/// The peer of this name, with or without the domain, whether its host keys are known or not.
#[must_use]
pub fn named<'a>(document: &'a NetworkDocument, name: &str) -> Option<&'a NetworkPeer> {
    let addresses = Names::from_document(document).addresses_of(name)?;
    let mut peers = document.peers.iter();
    peers.find(|peer| peer.addresses == addresses)
}

/// What a peer may be called; nothing where it has no host key, as of a peer whose SSH is off: an
/// sshd there is none of the mesh's.
fn names(document: &NetworkDocument, peer: &NetworkPeer) -> Vec<String> {
    if keys(peer).next().is_none() {
        return Vec::new();
    }
    let mut names = vec![peer.name.to_string()];
    let domain = document.domain.to_ascii_lowercase();
    if is_domain(&domain) {
        names.push(format!("{}.{domain}", peer.name));
    }
    let addresses = peer.addresses.both().into_iter();
    names.extend(
        addresses
            .filter(|a| is_mesh_address(*a))
            .map(|a| a.to_string()),
    );
    names
}

fn keys(peer: &NetworkPeer) -> impl Iterator<Item = HostKey> {
    peer.ssh_host_keys.iter().filter_map(|key| key.parse().ok())
}

fn normalized(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

/// Whether a name means itself in a known-hosts file: no pattern, list, marker, hash or comment.
fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-:%[]".contains(&b);
    !name.is_empty() && name.bytes().all(plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::slice;

    use super::*;
    use crate::manager::names::tests::{document, peer};

    pub(crate) const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVQd6tEBkUuAvAyLAyBSuIXsLuKGVCAeFAh9NLhnOd2";

    /// One peer with a host key, `laptop`, and one without.
    pub(crate) fn with_key() -> NetworkDocument {
        let mut document = document();
        document.peers[0].ssh_host_keys = vec![KEY.to_owned()];
        document.peers.push(peer(3, "printer"));
        document
    }

    const NAMES: &str = "laptop,laptop.mesh.internal,100.64.0.2,fd7a:115c:a1e0::2";

    fn of(document: &NetworkDocument, host: &str) -> Vec<String> {
        let wanted = Wanted {
            host: Some(host),
            ..Wanted::default()
        };
        lines(document, wanted)
    }

    #[test]
    fn a_peer_is_known_by_its_names_and_addresses_and_no_others() {
        let (document, line) = (with_key(), format!("{NAMES} {KEY}"));
        assert_eq!(lines(&document, Wanted::default()), slice::from_ref(&line));
        let hosts = hosts(&document);
        for host in [
            "laptop",
            "laptop.",
            "LAPTOP.mesh.internal",
            "laptop.mesh.internal.",
            "100.64.0.2",
            "::ffff:100.64.0.2",
            "fd7a:115c:a1e0::2",
            "FD7A:115C:A1E0:0::2",
        ] {
            assert!(lists(&hosts, host), "{host}");
            assert_eq!(of(&document, host), slice::from_ref(&line), "{host}");
        }
        for host in [
            "",
            ".",
            "laptop..",
            "lapto",
            "laptop\n",
            "laptop\nlaptop",
            "web1",
            "printer",
            "example.com",
            "192.0.2.1",
            "laptop.example.com",
            "[laptop]:2222",
            "*",
        ] {
            assert!(!lists(&hosts, host), "{host:?}");
            assert!(of(&document, host).is_empty(), "{host:?}");
        }
    }

    #[test]
    fn a_line_is_for_the_name_and_the_key_that_ssh_asks_for() {
        let document = with_key();
        let ask = |name, key| {
            let host = Some("laptop");
            lines(&document, Wanted { host, name, key })
        };
        let named = format!("[laptop]:2222 {KEY}");
        let base64 = KEY.split(' ').nth(1);
        assert_eq!(ask(Some("[laptop]:2222"), None), slice::from_ref(&named));
        assert_eq!(ask(Some("[laptop]:2222"), base64), [named]);
        assert!(ask(None, Some("NONE")).is_empty());
        for name in [
            "", "*", "a,*", "a b", "a\nb", "!a", "a?", "|1|x|y", "#a", "@revoked", "a\u{1b}",
        ] {
            assert!(ask(Some(name), None).is_empty(), "{name:?}");
        }
    }

    #[test]
    fn a_hostile_document_gets_nothing_into_a_line() {
        let mut document = with_key();
        let hostile = [
            format!("{KEY}\nbank.example.com {KEY}"),
            format!("{KEY} comment"),
            format!("@cert-authority * {KEY}"),
            format!("* {KEY}"),
            "ssh-ed25519 AAAA".to_owned(),
            String::new(),
        ];
        document.peers[0].ssh_host_keys.extend(hostile);
        let line = format!("{NAMES} {KEY}");
        assert_eq!(lines(&document, Wanted::default()), [line]);
        for domain in [
            "*", "a,*", "a b", "a\nb", "", ".", "-a", "|1|a", "a\u{1b}", "!a",
        ] {
            document.domain = domain.to_owned();
            let line = format!("laptop,100.64.0.2,fd7a:115c:a1e0::2 {KEY}");
            assert_eq!(lines(&document, Wanted::default()), [line], "{domain:?}");
        }
    }

    #[test]
    fn an_address_of_another_network_is_no_peers() {
        let mut document = with_key();
        document.peers[0].addresses.v4 = "192.0.2.1".parse().expect("an address");
        document.peers[0].addresses.v6 = "2001:db8::1".parse().expect("an address");
        assert_eq!(hosts(&document), "laptop\nlaptop.mesh.internal\n");
    }
}
