//! The audit log, page by page.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::anyhow;

use super::{AuditArguments, Format, output};
use crate::admin::client::ask;
use crate::admin::protocol::{Answer, Request};
use crate::audit::{AuditQuery, AuditRow, MAX_PAGE, written};
use crate::clock::now;

/// Between two looks for new entries.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether anybody reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    HasGone,
}

/// Prints what the arguments ask for, the oldest entry first.
///
/// # Errors
/// One sentence.
pub(super) fn print(socket: &Path, arguments: &AuditArguments) -> anyhow::Result<()> {
    let begin = now();
    let mut query = AuditQuery {
        since: arguments.since.map(|since| since.seen_from(begin)),
        until: arguments.until.map(|until| until.seen_from(begin)),
        action: arguments.action.clone(),
        limit: MAX_PAGE,
        ..AuditQuery::default()
    };
    if let Some(limit) = arguments.limit {
        let newest = newest(socket, &query, limit)?;
        query.after = match newest.last() {
            Some(last) => Some(last.id),
            None => last_of_all(socket)?,
        };
        if write(&newest, arguments.output)? == Reader::HasGone {
            return Ok(());
        }
        if !arguments.follow {
            return Ok(());
        }
    }
    loop {
        let entries = page(socket, &query)?;
        if let Some(last) = entries.last() {
            query.after = Some(last.id);
        }
        if write(&entries, arguments.output)? == Reader::HasGone {
            return Ok(());
        }
        let is_end = entries.len() < MAX_PAGE as usize;
        match (is_end, arguments.follow) {
            (false, _) => {}
            (true, false) => return Ok(()),
            (true, true) => sleep(PAUSE),
        }
    }
}

/// The newest `limit` entries, the oldest of them first.
fn newest(socket: &Path, query: &AuditQuery, limit: u32) -> anyhow::Result<Vec<AuditRow>> {
    let mut query = AuditQuery {
        newest_first: true,
        ..query.clone()
    };
    let mut entries = Vec::new();
    let mut missing = limit;
    while missing > 0 {
        query.limit = missing.min(MAX_PAGE);
        let more = page(socket, &query)?;
        query.before = more.last().map(|last| last.id);
        let is_end = more.len() < query.limit as usize;
        missing -= query.limit;
        entries.extend(more);
        if is_end {
            break;
        }
    }
    entries.reverse();
    Ok(entries)
}

fn last_of_all(socket: &Path) -> anyhow::Result<Option<u64>> {
    let query = AuditQuery {
        newest_first: true,
        limit: 1,
        ..AuditQuery::default()
    };
    Ok(page(socket, &query)?.first().map(|last| last.id))
}

fn page(socket: &Path, query: &AuditQuery) -> anyhow::Result<Vec<AuditRow>> {
    match ask(socket, &Request::Audit(query.clone()))? {
        Answer::Audit(entries) => Ok(entries),
        Answer::Failed(sentence) => Err(anyhow!(sentence)),
        _ => Err(anyhow!(
            "the answer is another than was asked for; is the running meshd-control of this \
             release?"
        )),
    }
}

/// Prints entries.
pub(super) fn write(entries: &[AuditRow], format: Format) -> anyhow::Result<Reader> {
    let mut text = String::new();
    for entry in entries {
        match format {
            Format::Json => text.push_str(&serde_json::to_string(entry)?),
            Format::Text => text.push_str(&line(entry)),
        }
        text.push('\n');
    }
    output::as_long_as_read(&text)
}

/// Time, actor, action, target and details; strings as JSON has them, so that none looks like
/// something else.
fn line(entry: &AuditRow) -> String {
    let mut text = format!(
        "{} {} {} {}",
        written(entry.at),
        entry.actor,
        entry.action,
        entry.target
    );
    for (name, value) in &entry.details {
        text.push_str(&format!(" {name}={value}"));
    }
    if entry.reported {
        text.push_str(" (as the node reports)");
    }
    text
}
