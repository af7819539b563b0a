//! The system's clock as documents count time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshd_contract::time::Timestamp;

/// This second.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |duration| duration.as_secs()))
}

/// The second that lies so long before another.
#[must_use]
pub fn before(time: Timestamp, age: Duration) -> Timestamp {
    Timestamp(time.0.saturating_sub(age.as_secs()))
}
