//! How often what somebody else takes away is put back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time in which repairs are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// How many repairs within it are made at once.
const AT_ONCE: usize = 5;
/// The wait before the next one, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The repairs so far. A program that takes something away once is answered at once; with one that
/// does so again and again the manager does not race.
#[derive(Debug, Default)]
pub struct RepairPace {
    recent: VecDeque<Instant>,
    pause: Option<Duration>,
    not_before: Option<Instant>,
}

impl RepairPace {
    /// Whether a repair may be made now; if not, when.
    ///
    /// # Errors
    /// The time of the next one.
    pub fn ask(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(time) = self.not_before {
            if now < time {
                return Err(time);
            }
            self.not_before = None;
            self.recent.clear();
            return Ok(());
        }
        let is_old = |time: &Instant| now.duration_since(*time) >= WINDOW;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.pause = None;
        }
        // After a pause there is no second chance in the same minute.
        let at_once = if self.pause.is_some() { 1 } else { AT_ONCE };
        if self.recent.len() < at_once {
            return Ok(());
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        self.pause = Some(pause);
        self.not_before = Some(now + pause);
        Err(now + pause)
    }

    /// A repair was made.
    pub fn repaired(&mut self, now: Instant) {
        self.recent.push_back(now);
    }

    /// Whether the next repair has to wait.
    #[must_use]
    pub fn is_waiting(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|time| now < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Asks at `now`, and repairs if that is permitted.
    fn repair(pace: &mut RepairPace, now: Instant) -> Result<(), Duration> {
        let asked = pace.ask(now).map_err(|time| time - now);
        if asked.is_ok() {
            pace.repaired(now);
        }
        asked
    }

    #[test]
    fn a_few_are_repaired_at_once_and_then_it_waits_longer_each_time() {
        let mut pace = RepairPace::default();
        let mut now = Instant::now();
        for _ in 0..AT_ONCE {
            assert_eq!(repair(&mut pace, now), Ok(()));
        }
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(repair(&mut pace, now), Err(pause));
            assert!(pace.is_waiting(now));
            assert_eq!(repair(&mut pace, now + pause - SECOND), Err(SECOND));
            now += pause;
            assert_eq!(repair(&mut pace, now), Ok(()));
            now += SECOND;
        }
    }

    #[test]
    fn a_quiet_minute_is_a_new_beginning() {
        let mut pace = RepairPace::default();
        let mut now = Instant::now();
        while repair(&mut pace, now).is_ok() {}
        now += FIRST_PAUSE;
        assert_eq!(repair(&mut pace, now), Ok(()));
        now += WINDOW;
        for _ in 0..AT_ONCE {
            assert_eq!(repair(&mut pace, now), Ok(()));
        }
        assert_eq!(repair(&mut pace, now), Err(FIRST_PAUSE));
    }

    #[test]
    fn now_and_then_is_no_storm() {
        let mut pace = RepairPace::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            assert_eq!(repair(&mut pace, now), Ok(()));
            now += Duration::from_secs(13);
        }
    }
}
