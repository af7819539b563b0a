//! Rows of figures: ours, sshd's, and their ratio.

use std::io::{self, Write};

use meshd_lab::{LabError, Result};

use crate::server::Server;

/// How often each server has its turn.
pub(crate) const TURNS: usize = 7;

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures both servers by turns, so that both meet the same load of the machine. The first turn
/// warms up and is left out.
pub(crate) fn by_turns(once: impl FnMut(Server) -> Result<f64>) -> Result<(f64, f64)> {
    turns(TURNS, once)
}

/// The same with so many turns.
pub(crate) fn turns(
    count: usize,
    mut once: impl FnMut(Server) -> Result<f64>,
) -> Result<(f64, f64)> {
    let mut turns = Vec::new();
    for _ in 0..=count {
        turns.push((once(Server::Meshd)?, once(Server::Sshd)?));
    }
    let (ours, theirs) = turns.into_iter().skip(1).unzip();
    Ok((median(ours), median(theirs)))
}

/// What stands above rows.
pub(crate) fn head() -> Result<()> {
    say("                                    meshd       sshd      ratio")
}

/// One row.
pub(crate) fn row(what: &str, (ours, theirs): (f64, f64)) -> Result<()> {
    let ratio = ours / theirs;
    say(&format!("{what:31}{ours:10.2} {theirs:10.2} {ratio:10.2}"))
}

/// One line.
pub(crate) fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| LabError::system("write", error))
}
