//! The time of day, by which documents count and grants end.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time, in seconds.
///
/// # Panics
/// If this machine's clock is before 1970.
#[must_use]
pub fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}
