//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles with each failure and starts again after a success; half of it is chance, so that the
/// nodes of a mesh do not return to a restarted control all at once.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Forgets the failures.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure; `chance` lies between 0 and 1.
    pub fn failed(&mut self, chance: f64) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(LONGEST)
            .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// A number between 0 and 1; the middle where the system has no random bytes.
#[must_use]
pub fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_again() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(1.0), FIRST);
        assert_eq!(backoff.failed(1.0), FIRST * 2);
        assert_eq!(backoff.failed(0.0), FIRST * 2);
        for _ in 0..50 {
            backoff.failed(1.0);
        }
        assert_eq!(backoff.failed(1.0), LONGEST);
        backoff.succeeded();
        assert_eq!(backoff.failed(0.0), FIRST / 2);
    }
}
