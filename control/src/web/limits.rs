//! How often somebody may try to sign in.
//!
//! Wrong passwords must be slow to try, and must not lock anybody out. So tries are counted apart
//! for browsers in which the user has signed in before (OWASP's device cookies): whoever tries from
//! elsewhere empties the account's own bucket and that of their address, and the owner in the usual
//! browser has a bucket of their own. Somebody who is under attack and has no known browser is given
//! a link by an administrator, which makes one.
//!
//! There is a fixed number of buckets, and a try belongs to the one that its key falls into by a
//! hash that nobody can foresee. So memory is bounded, and a login that does not exist is counted
//! like one that does.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::auth_key::SecretHash;

const SLOTS: usize = 1 << 14;

/// All buckets.
pub(super) struct Limits {
    began: Instant,
    sources: Buckets,
    accounts: Buckets,
    browsers: Buckets,
    joins: Buckets,
}

/// Who tries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trier<'a> {
    /// A browser that the user has signed in with before.
    Known(&'a SecretHash),
    /// Somebody at this address who says nothing of a login.
    Source(IpAddr),
    /// Somebody at this address who says to have this login.
    Unknown(IpAddr, &'a str),
}

/// A try that was permitted; it counts unless it is given back.
#[derive(Debug)]
pub(super) struct Try<'a> {
    taken: Vec<(&'a Buckets, usize)>,
}

impl Limits {
    /// Full buckets.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            // Many people may share an address.
            sources: Buckets::new(30, Duration::from_secs(20)),
            // Together with a code that is one of a million, of which three count at a time: who
            // knows the password needs more than a year for an even chance.
            accounts: Buckets::new(10, Duration::from_secs(300)),
            browsers: Buckets::new(10, Duration::from_secs(60)),
            joins: Buckets::new(20, Duration::from_secs(30)),
        }
    }

    /// Permits a try.
    ///
    /// # Errors
    /// How long to wait, if there were too many.
    pub(super) fn permit(&self, trier: Trier<'_>) -> Result<Try<'_>, Duration> {
        self.permit_at(trier, self.began.elapsed())
    }

    /// Permits a host at this address to ask to be let in.
    ///
    /// # Errors
    /// How long to wait, if it was too often.
    pub(super) fn permit_join(&self, address: IpAddr) -> Result<(), Duration> {
        let taken = self.joins.take(&network(address), self.began.elapsed());
        taken.map(drop)
    }

    fn permit_at(&self, trier: Trier<'_>, now: Duration) -> Result<Try<'_>, Duration> {
        let mut tried = Try { taken: Vec::new() };
        match trier {
            Trier::Known(browser) => tried.take(&self.browsers, browser.as_bytes(), now)?,
            Trier::Source(address) => tried.take(&self.sources, &network(address), now)?,
            Trier::Unknown(address, login) => {
                tried.take(&self.sources, &network(address), now)?;
                if let Err(wait) = tried.take(&self.accounts, login.as_bytes(), now) {
                    // A bucket that others have emptied is not the fault of this address.
                    tried.give_back();
                    return Err(wait);
                }
            }
        }
        Ok(tried)
    }
}

impl<'a> Try<'a> {
    /// The try was right.
    pub(super) fn give_back(self) {
        for (buckets, slot) in self.taken {
            buckets.give_back(slot);
        }
    }

    fn take(&mut self, buckets: &'a Buckets, key: &[u8], now: Duration) -> Result<(), Duration> {
        let slot = buckets.take(key, now)?;
        self.taken.push((buckets, slot));
        Ok(())
    }
}

/// What counts as one source: an IPv6 host has a whole /64 to itself.
fn network(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

/// Buckets of `burst` tries, into each of which one drips every `interval`.
struct Buckets {
    /// When each bucket is full again.
    full_at: Mutex<Vec<Duration>>,
    hasher: RandomState,
    burst: u32,
    interval: Duration,
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buckets")
    }
}

impl Buckets {
    fn new(burst: u32, interval: Duration) -> Self {
        Self {
            full_at: Mutex::new(vec![Duration::ZERO; SLOTS]),
            hasher: RandomState::new(),
            burst,
            interval,
        }
    }

    fn take(&self, key: &[u8], now: Duration) -> Result<usize, Duration> {
        // The remainder is less than the number of slots.
        let slot = (self.hasher.hash_one(key) % SLOTS as u64) as usize;
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = all[slot].max(now);
        let latest = now + self.interval * (self.burst - 1);
        if full_at > latest {
            return Err(full_at - latest);
        }
        all[slot] = full_at + self.interval;
        Ok(slot)
    }

    fn give_back(&self, slot: usize) {
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        all[slot] = all[slot].saturating_sub(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "alice@example.com";
    const NOW: Duration = Duration::from_secs(1_000);

    fn from(n: u16) -> IpAddr {
        IpAddr::V6([0x2001, 0xdb8, n, 0, 1, 2, 3, 4].into())
    }

    /// Tries until one is refused; how many were not.
    fn exhaust(limits: &Limits, trier: impl Fn(u16) -> IpAddr) -> u16 {
        let refused = (0..).find(|n| {
            limits
                .permit_at(Trier::Unknown(trier(*n), ALICE), NOW)
                .is_err()
        });
        refused.expect("there is an end")
    }

    #[test]
    fn whoever_tries_from_everywhere_does_not_lock_the_owner_out() {
        let limits = Limits::new();
        assert_eq!(exhaust(&limits, from), 10);
        let browser = SecretHash::of("the owner's browser");
        assert!(limits.permit_at(Trier::Known(&browser), NOW).is_ok());
        let later = NOW + Duration::from_secs(301);
        assert!(
            limits
                .permit_at(Trier::Unknown(from(9), ALICE), later)
                .is_ok()
        );
        assert!(
            limits
                .permit_at(Trier::Unknown(from(9), ALICE), later)
                .is_err()
        );
    }

    #[test]
    fn one_address_tries_so_many_logins_and_no_more() {
        let limits = Limits::new();
        let tried = (0..).find(|n| {
            let login = format!("user{n}@example.com");
            limits
                .permit_at(Trier::Unknown(from(1), &login), NOW)
                .is_err()
        });
        assert_eq!(tried, Some(30));
        let neighbour = IpAddr::V6([0x2001, 0xdb8, 1, 0, 9, 9, 9, 9].into());
        assert!(
            limits
                .permit_at(Trier::Unknown(neighbour, "x"), NOW)
                .is_err()
        );
        assert!(limits.permit_at(Trier::Unknown(from(2), "x"), NOW).is_ok());
    }

    #[test]
    fn what_was_right_does_not_count() {
        let limits = Limits::new();
        for _ in 0..100 {
            let tried = limits.permit_at(Trier::Unknown(from(1), ALICE), NOW);
            tried.expect("is permitted").give_back();
        }
        let browser = SecretHash::of("a browser that somebody else holds now");
        let wrong = (0..).find(|_| limits.permit_at(Trier::Known(&browser), NOW).is_err());
        assert_eq!(
            wrong,
            Some(10),
            "a known browser may not try for ever either"
        );
    }

    #[test]
    fn an_account_that_others_have_emptied_does_not_empty_an_address() {
        let limits = Limits::new();
        exhaust(&limits, from);
        for _ in 0..100 {
            assert!(
                limits
                    .permit_at(Trier::Unknown(from(99), ALICE), NOW)
                    .is_err()
            );
        }
        assert!(
            limits
                .permit_at(Trier::Unknown(from(99), "bob@example.com"), NOW)
                .is_ok()
        );
    }
}
