//! `mesh status`, `mesh ip` and `mesh whois`.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use meshd_contract::time::Timestamp;

use super::client::{Client, unexpected};
use super::{CliError, print};
use crate::local_api::{Node, Request, Response, State, Status};

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
            "this host has no addresses in a mesh yet: mesh up --control URL --auth-key-file FILE"
                .to_owned(),
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

fn as_json(value: &impl serde::Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    let mut text = text.map_err(|error| CliError::Output(error.into()))?;
    text.push('\n');
    Ok(text)
}

fn now() -> Timestamp {
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
    if let Some(node) = &status.node {
        let domain = status.domain.as_deref().unwrap_or_default();
        line("node", &format!("{}.{domain}, {}", node.name, node.owner));
        line(
            "addresses",
            &format!("{} {}", node.addresses.v4, node.addresses.v6),
        );
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
    let ssh = match (status.ssh, status.ssh_connections) {
        (false, _) => "off".to_owned(),
        (true, 0) => "on".to_owned(),
        (true, count) => format!("on, {count} connections"),
    };
    line("ssh", &ssh);
    if !status.peers.is_empty() {
        text.push('\n');
        text.push_str(&table(&status.peers, now));
    }
    text
}

fn state(state: State) -> &'static str {
    match state {
        State::LoggedOut => "logged out (mesh up --control URL --auth-key-file FILE)",
        State::Down => "down (mesh up)",
        State::Starting => "starting",
        State::Up => "up",
    }
}

fn table(peers: &[Node], now: Timestamp) -> String {
    let head = [
        "PEER",
        "ADDRESS",
        "OWNER",
        "ENDPOINT",
        "HANDSHAKE",
        "RECEIVED",
        "SENT",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(peers.iter().map(|peer| row(peer, now)));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
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

/// In the greatest unit that leaves a number of at least 1.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count, 0);
    while value >= 1024 && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::names::tests::document;
    use crate::manager::status::peers;
    use crate::manager::wireguard::Peers;

    #[test]
    fn columns_line_up() {
        let mut nodes = peers(&document(), &Peers::new());
        nodes[0].last_handshake = Some(Timestamp(90));
        nodes[0].received = 5 << 20;
        let text = table(&nodes, Timestamp(100));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].find("HANDSHAKE"), lines[1].find("10 s ago"));
        assert!(lines[1].contains("5 MiB") && lines[1].starts_with("laptop"));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(u64::MAX), "16777215 TiB");
    }
}
