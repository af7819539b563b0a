//! `mesh status`, `mesh ip` and `mesh whois`.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use meshd_contract::time::Timestamp;

use super::client::{Client, unexpected};
use super::table::{bytes, counted, table};
use super::{CliError, print};
use crate::local_api::{Node, Request, Response, Sandbox, State, Status};

pub(super) fn status(client: &mut Client, json: bool) -> Result<(), CliError> {
    let status = ask(client)?;
    if json {
        return print(&as_json(&status)?);
    }
    print(&describe(&status, now()))
}

pub(super) fn ip(client: &mut Client, v4: bool, v6: bool) -> Result<(), CliError> {
    let node = ask(client)?.node.ok_or_else(|| {
        CliError::Refused(
            "this host has no addresses in a mesh yet: mesh up --control URL".to_owned(),
        )
    })?;
    let mut text = String::new();
    for (address, hidden) in node.addresses.both().into_iter().zip([v6, v4]) {
        if !hidden {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}");
        }
    }
    print(&text)
}

pub(super) fn whois(client: &mut Client, who: &str, json: bool) -> Result<(), CliError> {
    let request = Request::Whois {
        who: who.to_owned(),
    };
    let node = match client.ask(&request)? {
        Response::Node(node) => node,
        other => return Err(unexpected(&other)),
    };
    if json {
        return print(&as_json(&node)?);
    }
    print(&format!(
        "{} (node {}) belongs to {}: {} {}\n",
        node.name, node.node, node.owner, node.addresses.v4, node.addresses.v6
    ))
}

fn ask(client: &mut Client) -> Result<Box<Status>, CliError> {
    match client.ask(&Request::Status)? {
        Response::Status(status) => Ok(status),
        other => Err(unexpected(&other)),
    }
}

/// What comes of a key that ends, and from when on that is something to see to.
fn expiry(end: Timestamp, now: Timestamp) -> String {
    const DAY: u64 = 86_400;
    const SOON: u64 = 14 * DAY;
    let left = end.0.saturating_sub(now.0);
    let remedy = "its owner signs in again with sudo mesh up --force-reauth";
    match left {
        0 => format!("has expired, and no node talks to this one: {remedy}"),
        1..DAY => format!("expires within {} h: {remedy}", left.div_ceil(3_600)),
        DAY..SOON => format!("expires in {}: {remedy}", counted(left / DAY, "day")),
        _ => format!("expires in {}", counted(left / DAY, "day")),
    }
}

pub(super) fn as_json(value: &impl serde::Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    let mut text = text.map_err(|error| CliError::Output(error.into()))?;
    text.push('\n');
    Ok(text)
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |duration| duration.as_secs()))
}

fn describe(status: &Status, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:<10} {value}");
    };
    line("state", state(status.state));
    if let Some(problem) = &status.problem {
        line("problem", problem);
    }
    if let Some(repairs) = &status.repairs {
        let ago = now.0.saturating_sub(repairs.last_at.0);
        let count = match repairs.count {
            1 => "once".to_owned(),
            count => format!("{count} times, last"),
        };
        let text = format!("{count} {ago} s ago: {}", repairs.what);
        line("repaired", &text);
    }
    if let Some(node) = &status.node {
        let domain = status.domain.as_deref().unwrap_or_default();
        line("node", &format!("{}.{domain}, {}", node.name, node.owner));
        let addresses = if status.has_ipv6 {
            format!("{} {}", node.addresses.v4, node.addresses.v6)
        } else {
            format!("{} (IPv6 is off on this host)", node.addresses.v4)
        };
        line("addresses", &addresses);
        if let Some(end) = node.key_expires_at {
            line("key", &expiry(end, now));
        }
    }
    if let Some(control) = &status.control {
        let connected = if control.connected {
            "connected"
        } else {
            "away"
        };
        line(
            "control",
            &format!("{} {} ({connected})", control.url, control.fingerprint),
        );
    }
    if let Some(wireguard) = &status.wireguard {
        let text = format!(
            "{} on {}, UDP port {}, MTU {}",
            wireguard.kind, wireguard.device, wireguard.port, wireguard.mtu
        );
        line("wireguard", &text);
    }
    if !status.firewalls.is_empty() {
        let chains = status.firewalls.join(", ");
        let text = format!("{chains} may drop what comes from the mesh: meshd(8), Packet filter");
        line("firewall", &text);
    }
    let ssh = match (status.ssh, status.ssh_connections) {
        (false, _) => "off".to_owned(),
        (true, 0) => "on".to_owned(),
        (true, count) => format!("on, {}", counted(count, "connection")),
    };
    line("ssh", &ssh);
    if status.ssh || !status.sandbox.missing.is_empty() {
        line("sandbox", &sandbox(&status.sandbox));
    }
    if !status.peers.is_empty() {
        text.push('\n');
        text.push_str(&peers(&status.peers, now));
    }
    text
}

fn sandbox(sandbox: &Sandbox) -> String {
    let layers = match (sandbox.landlock_abi, sandbox.system_calls) {
        (Some(0), Some(calls)) => format!("no Landlock, {calls} system calls"),
        (Some(version), Some(calls)) => format!("Landlock {version}, {calls} system calls"),
        _ => "no session has entered it yet".to_owned(),
    };
    match sandbox.missing.as_slice() {
        [] => layers,
        missing => format!("{layers}; {}", missing.join("; ")),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::LoggedOut => "logged out (mesh up --control URL)",
        State::Down => "down (mesh up)",
        State::Starting => "starting",
        State::Up => "up",
    }
}

fn peers(peers: &[Node], now: Timestamp) -> String {
    let head = [
        "PEER",
        "ADDRESS",
        "OWNER",
        "ENDPOINT",
        "HANDSHAKE",
        "RECEIVED",
        "SENT",
    ];
    table(head, peers.iter().map(|peer| row(peer, now)))
}

fn row(peer: &Node, now: Timestamp) -> [String; 7] {
    let dash = || "-".to_owned();
    let age = |at: Timestamp| format!("{} s ago", now.0.saturating_sub(at.0));
    [
        peer.name.to_string(),
        peer.addresses.v4.to_string(),
        peer.owner.to_string(),
        peer.endpoint
            .map_or_else(dash, |endpoint| endpoint.to_string()),
        peer.last_handshake.map_or_else(dash, age),
        bytes(peer.received),
        bytes(peer.sent),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_api::SandboxSource;
    use crate::manager::names::tests::document;
    use crate::manager::status::peers;
    use crate::manager::wireguard::Peers;

    #[test]
    fn a_missing_layer_is_named() {
        let mut report = Sandbox {
            source: SandboxSource::Session,
            landlock_abi: Some(2),
            system_calls: Some(30),
            missing: Vec::new(),
        };
        assert_eq!(sandbox(&report), "Landlock 2, 30 system calls");
        report.missing = vec!["no scopes".to_owned()];
        assert!(sandbox(&report).ends_with("; no scopes"));
    }

    #[test]
    fn a_key_that_ends_soon_comes_with_what_to_do() {
        let says = |end| expiry(Timestamp(end), Timestamp(1_000));
        assert_eq!(says(1_000 + 20 * 86_400), "expires in 20 days");
        let soon = says(1_000 + 3 * 86_400);
        assert!(soon.starts_with("expires in 3 days: ") && soon.ends_with(" --force-reauth"));
        assert!(says(1_001).starts_with("expires within 1 h"));
        assert!(says(999).starts_with("has expired"));
    }

    #[test]
    fn columns_line_up() {
        let mut nodes = peers(&document(), &Peers::new());
        nodes[0].last_handshake = Some(Timestamp(90));
        nodes[0].received = 5 << 20;
        let text = super::peers(&nodes, Timestamp(100));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].find("HANDSHAKE"), lines[1].find("10 s ago"));
        assert!(lines[1].contains("5 MiB") && lines[1].starts_with("laptop"));
    }
}
