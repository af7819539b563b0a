//! Lines for the journal.

use std::io::Write;

/// Writes one line to standard error; control characters become `?`, so that no name that a
/// client chose can forge a second line.
pub fn line(text: &str) {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect();
    let _ = writeln!(std::io::stderr(), "{clean}");
}

/// Writes one line about one connection.
pub fn connection(id: &str, text: &str) {
    line(&format!("connection={id} {}", text.replace('\n', "?")));
}

/// Writes one line to standard output.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
