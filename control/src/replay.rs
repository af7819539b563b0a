//! The signatures that were seen, so that none counts twice.
//!
//! A signature counts only while its time is near control's clock, so that it need not be
//! remembered for longer than that.

use std::collections::{BTreeMap, HashMap};

use meshd_contract::key::PublicKey;
use meshd_contract::node_api::MAX_CLOCK_SKEW;
use meshd_contract::time::Timestamp;

/// The most signatures that are remembered of one key: one a second, and room for bursts.
const MAX_OF_ONE_KEY: usize = 2 * MAX_CLOCK_SKEW as usize + 400;
/// The most signatures that are remembered at all.
const MAX_IN_ALL: usize = 1 << 20;

/// The signatures of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    by_end: BTreeMap<(Timestamp, [u8; 64]), PublicKey>,
    by_key: HashMap<PublicKey, usize>,
}

/// Whether a signature may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is seen for the first time.
    New,
    /// It has counted before.
    Before,
    /// There is no room to remember it.
    TooMany,
}

impl Replays {
    /// Remembers a signature, made by `key` with the time `made_at`, at the time `now`.
    pub(crate) fn note(
        &mut self,
        key: &PublicKey,
        signature: [u8; 64],
        made_at: Timestamp,
        now: Timestamp,
    ) -> Seen {
        self.forget(now);
        let entry = (made_at.plus(MAX_CLOCK_SKEW), signature);
        if self.by_end.contains_key(&entry) {
            return Seen::Before;
        }
        let of_key = self.by_key.get(key).copied().unwrap_or_default();
        if of_key >= MAX_OF_ONE_KEY || self.by_end.len() >= MAX_IN_ALL {
            return Seen::TooMany;
        }
        self.by_key.insert(*key, of_key + 1);
        self.by_end.insert(entry, *key);
        Seen::New
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.by_end.first_entry()
            && first.key().0 < now
        {
            let key = first.remove();
            match self.by_key.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    self.by_key.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use meshd_contract::key::PrivateKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        PrivateKey::from_seed(&[seed; 32]).public()
    }

    fn signature(n: usize) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes
    }

    #[test]
    fn a_signature_counts_once() {
        let mut replays = Replays::default();
        let now = Timestamp(1_000);
        assert_eq!(replays.note(&key(1), signature(1), now, now), Seen::New);
        assert_eq!(replays.note(&key(1), signature(1), now, now), Seen::Before);
        assert_eq!(replays.note(&key(1), signature(2), now, now), Seen::New);
    }

    #[test]
    fn it_is_remembered_for_as_long_as_it_would_count() {
        let mut replays = Replays::default();
        let made = Timestamp(1_000);
        let early = Timestamp(made.0 - MAX_CLOCK_SKEW);
        let last = made.plus(MAX_CLOCK_SKEW);
        assert_eq!(replays.note(&key(1), signature(1), made, early), Seen::New);
        assert_eq!(
            replays.note(&key(1), signature(1), made, last),
            Seen::Before
        );
        replays.forget(last.plus(1));
        assert!(replays.by_end.is_empty() && replays.by_key.is_empty());
    }

    #[test]
    fn one_key_cannot_take_all_the_room() {
        let mut replays = Replays::default();
        let now = Timestamp(1_000);
        for n in 0..MAX_OF_ONE_KEY {
            assert_eq!(replays.note(&key(1), signature(n), now, now), Seen::New);
        }
        let one_more = signature(MAX_OF_ONE_KEY);
        assert_eq!(replays.note(&key(1), one_more, now, now), Seen::TooMany);
        assert_eq!(replays.note(&key(2), one_more, now, now), Seen::New);
    }
}
