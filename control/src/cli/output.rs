//! What commands print.

use std::io::{self, Write};

use anyhow::anyhow;
use meshd_contract::time::Timestamp;
use serde::Serialize;

use super::audit::Reader;
use crate::admin::protocol::{ApprovalEntry, KeyEntry, NodeEntry};
use crate::clock::now;
use crate::role;
use crate::store::{ApiKeyRow, AuthKeyRow, UserRow};

/// Prints a line.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    verbatim(&format!("{text}\n"))
}

/// Prints a text as it is.
pub(super) fn verbatim(text: &str) -> anyhow::Result<()> {
    as_long_as_read(text).map(drop)
}

/// The same; whether anybody reads on.
pub(super) fn as_long_as_read(text: &str) -> anyhow::Result<Reader> {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) => Ok(Reader::Reads),
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::HasGone),
        Err(error) => Err(anyhow!("cannot write the output: {error}")),
    }
}

/// Prints a line on standard error.
pub(super) fn warning(text: &str) {
    let _ = writeln!(io::stderr(), "meshd-control: {text}");
}

/// Prints users.
pub(super) fn users(users: &[UserRow], json: bool) -> anyhow::Result<()> {
    if json {
        return as_json(users);
    }
    let mut table = Table::new(["LOGIN", "ROLE", "CREATED"]);
    for user in users {
        table.row([
            user.login.clone(),
            role::name(user.role).to_owned(),
            ago(user.created_at),
        ]);
    }
    verbatim(&table.text())
}

/// Prints auth keys.
pub(super) fn auth_keys(keys: &[AuthKeyRow], json: bool) -> anyhow::Result<()> {
    if json {
        return as_json(keys);
    }
    let mut table = Table::new(["ID", "OWNER", "USE", "EPHEMERAL", "EXPIRES", "LAST USED"]);
    for key in keys {
        let kind = if key.reusable { "reusable" } else { "once" };
        table.row([
            key.id.to_string(),
            key.owner.to_string(),
            kind.to_owned(),
            yes(key.ephemeral),
            until(key.expires_at),
            key.used_at.map_or_else(|| "never".to_owned(), ago),
        ]);
    }
    verbatim(&table.text())
}

/// Prints API keys.
pub(super) fn api_keys(keys: &[ApiKeyRow], json: bool) -> anyhow::Result<()> {
    if json {
        return as_json(keys);
    }
    let mut table = Table::new(["ID", "SCOPES", "MADE BY", "EXPIRES", "LAST USED"]);
    for key in keys {
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        table.row([
            key.id.to_string(),
            scopes.join(","),
            key.created_by.clone(),
            until(key.expires_at),
            key.used_at.map_or_else(|| "never".to_owned(), ago),
        ]);
    }
    verbatim(&table.text())
}

/// Prints the keys of control.
pub(super) fn keys(keys: &[KeyEntry], json: bool) -> anyhow::Result<()> {
    if json {
        return as_json(keys);
    }
    let mut table = Table::new(["KEY", "FINGERPRINT", "SINCE", "COUNTS UNTIL"]);
    for key in keys {
        table.row([
            key.key.clone(),
            key.fingerprint.clone(),
            key.since.map_or_else(|| "the start".to_owned(), ago),
            key.ends_at
                .map_or_else(|| "it is replaced".to_owned(), until),
        ]);
    }
    verbatim(&table.text())
}

/// Prints nodes.
pub(super) fn nodes(nodes: &[NodeEntry], json: bool) -> anyhow::Result<()> {
    if json {
        return as_json(nodes);
    }
    let mut table = Table::new([
        "ID",
        "NAME",
        "OWNER",
        "IPV4",
        "IPV6",
        "SEEN",
        "KEY EXPIRES",
        "EPHEMERAL",
    ]);
    for node in nodes {
        let seen = match (node.connected, node.last_seen) {
            _ if !node.approved => "not approved".to_owned(),
            (true, _) => "connected".to_owned(),
            (false, Some(at)) => ago(at),
            (false, None) => "never".to_owned(),
        };
        table.row([
            node.id.to_string(),
            node.name.to_string(),
            node.owner.to_string(),
            node.addresses.v4.to_string(),
            node.addresses.v6.to_string(),
            seen,
            node.key_expires_at
                .map_or_else(|| "never".to_owned(), until),
            yes(node.ephemeral),
        ]);
    }
    verbatim(&table.text())
}

/// Prints what is approved.
pub(super) fn approvals(approvals: &[ApprovalEntry], json: bool) -> anyhow::Result<()> {
    if json {
        return as_json(approvals);
    }
    let mut table = Table::new(["FROM", "BY", "LOGINS", "TO", "APPROVED", "COUNTS AT MOST"]);
    for approval in approvals {
        let to = approval.destination.as_ref().or(approval.target.as_ref());
        let to = to.map_or("all", String::as_str);
        let only = if approval.one_connection {
            ", one connection"
        } else {
            ""
        };
        table.row([
            approval.source.clone(),
            approval.owner.clone(),
            approval.class.to_string(),
            format!("{to}{only}"),
            ago(approval.approved_at),
            span(approval.expires_at.0.saturating_sub(now().0)),
        ]);
    }
    verbatim(&table.text())
}

fn as_json<T: Serialize>(rows: &[T]) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(rows)?)
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn ago(then: Timestamp) -> String {
    format!("{} ago", span(now().0.saturating_sub(then.0)))
}

fn until(then: Timestamp) -> String {
    match then.0.saturating_sub(now().0) {
        0 => "expired".to_owned(),
        seconds => format!("in {}", span(seconds)),
    }
}

/// The greatest unit that a span of seconds fills at least once.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Rows of text in columns as wide as their longest cell.
struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(heads: [&str; N]) -> Self {
        Self {
            rows: vec![heads.map(str::to_owned)],
        }
    }

    fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let mut table = Table::new(["A", "NAME"]);
        table.row(["100".to_owned(), "x".to_owned()]);
        assert_eq!(table.text(), "A    NAME\n100  x\n");
    }

    #[test]
    fn a_span_has_one_unit() {
        let spans = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7_199, "1h"),
            (90_000, "1d"),
        ];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
    }
}
