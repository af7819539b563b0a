//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use crate::{LabError, Result};

/// How long anything in the lab may take unless a test says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(3);

/// Asks again and again until there is an answer, at most for `deadline`.
///
/// # Errors
/// [`LabError::Late`] with `what` when the deadline passes.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() >= end {
            return Err(LabError::Late {
                what: what.to_owned(),
                deadline,
            });
        }
        thread::sleep(PAUSE);
    }
}
