//! How often somebody may do something: a burst, and then so many a second.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The most who are told apart at a time; more wait until one of these is as good as new.
const MOST: usize = 65_536;

/// A burst, and what follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// How often at once, at least one.
    pub(crate) burst: u32,
    /// How often a second after that, at least one.
    pub(crate) per_second: u32,
}

/// Who has done how much: for each, the moment at which a whole burst would be free again.
#[derive(Debug)]
pub(crate) struct Paces<K> {
    rate: Rate,
    free_at: HashMap<K, Instant>,
}

impl<K: Eq + Hash> Paces<K> {
    /// Nobody has done anything yet.
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            free_at: HashMap::new(),
        }
    }

    /// Counts `times` more of `who`.
    ///
    /// # Errors
    /// How long to wait; nothing is counted then.
    pub(crate) fn take(&mut self, who: K, times: u32, now: Instant) -> Result<(), Duration> {
        let step = Duration::from_secs(1) / self.rate.per_second.max(1);
        if self.free_at.len() >= MOST && !self.free_at.contains_key(&who) {
            self.free_at.retain(|_, free_at| *free_at > now);
            if self.free_at.len() >= MOST {
                return Err(step);
            }
        }
        let known = self.free_at.get(&who).copied();
        let begin = known.map_or(now, |free_at| free_at.max(now));
        let free_at = begin + step * times;
        let latest = now + step * self.rate.burst.max(times);
        if free_at > latest {
            return Err(free_at - latest);
        }
        self.free_at.insert(who, free_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        per_second: 2,
    };

    #[test]
    fn after_a_burst_everybody_has_a_pace_of_their_own() {
        let mut paces = Paces::new(RATE);
        let begin = Instant::now();
        let half = Duration::from_millis(500);
        for _ in 0..3 {
            assert_eq!(paces.take("a", 1, begin), Ok(()));
        }
        assert_eq!(paces.take("a", 1, begin), Err(half));
        assert_eq!(paces.take("b", 1, begin), Ok(()));
        assert_eq!(paces.take("a", 1, begin + half), Ok(()));
        assert_eq!(paces.take("a", 1, begin + half), Err(half));
        let later = begin + 100 * half;
        for _ in 0..3 {
            assert_eq!(paces.take("a", 1, later), Ok(()));
        }
        assert!(paces.take("a", 1, later).is_err());
    }

    #[test]
    fn more_than_a_burst_is_possible_for_those_who_have_done_nothing() {
        let mut paces = Paces::new(RATE);
        let begin = Instant::now();
        assert_eq!(paces.take("a", 5, begin), Ok(()));
        assert!(paces.take("a", 1, begin).is_err());
        assert!(paces.take("a", 5, begin + Duration::from_secs(2)).is_err());
        assert_eq!(
            paces.take("a", 5, begin + Duration::from_millis(2_500)),
            Ok(())
        );
    }

    #[test]
    fn a_crowd_takes_no_more_memory() {
        let mut paces = Paces::new(RATE);
        let begin = Instant::now();
        for who in 0..MOST {
            assert_eq!(paces.take(who, 1, begin), Ok(()));
        }
        assert!(paces.take(MOST, 1, begin).is_err());
        assert_eq!(paces.take(7, 1, begin), Ok(()));
        assert_eq!(paces.take(MOST, 1, begin + Duration::from_secs(3)), Ok(()));
        assert_eq!(paces.free_at.len(), 1);
    }
}
