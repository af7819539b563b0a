//! How often the session process may have something signed.

use std::time::{Duration, Instant};

/// As many key exchanges may come at once, before the pace counts.
const AT_ONCE: u32 = 16;

/// The pace of those that follow. A key exchange takes its client longer than that over any
/// network, and is never refused: it waits.
const EVERY: Duration = Duration::from_millis(5);

/// Keeps a session process that is not honest from having signatures made without end.
#[derive(Debug)]
pub(super) struct Pace {
    /// Until when the signatures so far would have taken.
    taken_until: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { taken_until: now }
    }

    /// Counts one.
    pub(super) fn take(&mut self, now: Instant) {
        self.taken_until = self.taken_until.max(now) + EVERY;
    }

    /// How long the next one has to wait; zero for not at all.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let ahead = self.taken_until.saturating_duration_since(now);
        ahead.saturating_sub(EVERY * (AT_ONCE - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_come_at_once_and_the_others_at_a_pace() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let mut now = began;
        for _ in 0..1000 + AT_ONCE {
            now += pace.wait(now);
            pace.take(now);
        }
        assert_eq!(now - began, EVERY * 1000);
    }

    #[test]
    fn who_pauses_may_begin_again() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        (0..AT_ONCE).for_each(|_| pace.take(began));
        assert_eq!(pace.wait(began), EVERY);
        let later = began + Duration::from_secs(3600);
        (1..AT_ONCE).for_each(|_| pace.take(later));
        assert_eq!(pace.wait(later), Duration::ZERO);
    }
}
