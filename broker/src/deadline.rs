//! A bound on calls that may never return: the user database, PAM, logind, a dead file system.
//!
//! PAM must run on the main thread of this very process, so nobody in here could give up waiting.
//! The kernel ends the process instead, by SIGALRM, whose disposition is the default one. The
//! session process waits a little less, so the client has read by then that the host does not
//! answer.

use std::time::Duration;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::log;

/// How much longer the worker waits than its session process.
const MARGIN: Duration = Duration::from_secs(5);

/// Does `work`, and ends this process if that takes longer than `limit` and a small margin.
///
/// Children do not inherit the timer (timer_create(2)).
pub fn within<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    let timer = armed(limit + MARGIN);
    if let Err(errno) = &timer {
        log::line(&format!("no deadline can be set: {errno}"));
    }
    let done = work();
    drop(timer);
    done
}

fn armed(limit: Duration) -> nix::Result<Timer> {
    let alarm = SigEvent::new(SigevNotify::SigevSignal {
        signal: Signal::SIGALRM,
        si_value: 0,
    });
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, alarm)?;
    let once = Expiration::OneShot(limit.into());
    timer.set(once, TimerSetTimeFlags::empty())?;
    Ok(timer)
}
