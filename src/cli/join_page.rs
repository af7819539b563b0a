//! What a person reads who has to open a page so that this host may join.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::{CliError, tell};
use crate::local_api::Page;

/// Longer than the manager waits.
const MARGIN: u64 = 60;

/// Shows the page's address, on a terminal as a QR code too.
///
/// # Errors
/// Where the address is none of a page: then control is not what it should be.
pub(super) fn show(page: &Page) -> Result<(), CliError> {
    let is_address =
        page.url.starts_with("https://") && page.url.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_address {
        let sentence = "the control server gave an address that is none: is it of this release?";
        return Err(CliError::Refused(sentence.to_owned()));
    }
    tell("To let this host in, open this page in a browser:\n");
    tell(&format!("    {}\n", page.url));
    if io::stderr().is_terminal()
        && let Some(code) = qr(&page.url)
    {
        // Output that nobody takes is no reason to stop.
        let _ = writeln!(io::stderr(), "{code}");
    }
    let minutes = remaining(page) / 60;
    tell(&format!(
        "The page has to show the key {}. Waiting for {minutes} minutes; Ctrl-C ends it.",
        page.fingerprint
    ));
    Ok(())
}

/// How long to wait for the person.
pub(super) fn patience(page: &Page) -> Duration {
    Duration::from_secs(remaining(page) + MARGIN)
}

fn remaining(page: &Page) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    page.expires_at
        .0
        .saturating_sub(now.unwrap_or_default().as_secs())
}

/// Two modules to a character, black on white whatever the terminal's colours are: not every reader
/// takes the inverse. None where the address is too long.
fn qr(url: &str) -> Option<String> {
    const BLACK_ON_WHITE: &str = "\u{1b}[30;107m";
    const PLAIN: &str = "\u{1b}[0m";
    let code = QrCode::new(url).ok()?;
    let drawn = code.render::<Dense1x2>().build();
    let lines = drawn.lines();
    let lines: Vec<String> = lines
        .map(|line| format!("{BLACK_ON_WHITE}{line}{PLAIN}\n"))
        .collect();
    Some(lines.concat())
}

#[cfg(test)]
mod tests {
    use meshd_contract::time::Timestamp;

    use super::*;

    fn page(url: &str) -> Page {
        Page {
            url: url.to_owned(),
            fingerprint: String::new(),
            expires_at: Timestamp(0),
        }
    }

    #[test]
    fn only_an_address_of_a_page_is_shown() {
        for url in [
            "http://control/join/1",
            "https://control/\u{1b}[2J",
            "x",
            "https://a b",
        ] {
            assert!(show(&page(url)).is_err(), "{url}");
        }
        assert_eq!(patience(&page("")), Duration::from_secs(MARGIN));
    }

    #[test]
    fn a_code_is_as_wide_on_every_line() {
        let code = qr("https://control.example.com/join/AAAAAAAAAAAAAAAAAAAAAA").expect("fits");
        let widths: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
        assert!(widths.len() > 15, "{widths:?}");
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
    }
}
