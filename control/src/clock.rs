//! The one place where the wall clock is read.

use std::time::{SystemTime, UNIX_EPOCH};

use meshd_contract::time::Timestamp;

/// The present second; a clock before 1970 counts as 1970.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(since.as_secs())
}
