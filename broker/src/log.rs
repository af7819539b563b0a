//! Lines for the journal.

use std::io::Write;

pub use meshd_contract::log::line;

/// Writes one line about one connection.
pub fn connection(id: &str, text: &str) {
    line(&format!("connection={id} {}", text.replace('\n', "?")));
}

/// Writes one line to standard output.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
