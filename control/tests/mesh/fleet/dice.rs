//! Chance that can be had again.

/// Numbers that follow from a seed.
#[derive(Clone)]
pub(super) struct Dice(u64);

/// The seed of this run, told when its test fails.
pub(super) struct Seed(u64);

impl Seed {
    /// That of `MESHD_SEED`, or a new one.
    pub(super) fn new() -> Self {
        let given = std::env::var("MESHD_SEED").ok();
        let given = given.map(|text| text.parse().expect("MESHD_SEED is a number"));
        Self(given.unwrap_or_else(|| getrandom::u64().expect("random bytes")))
    }

    /// Dice of their own for one purpose, whatever else is thrown meanwhile.
    pub(super) fn dice(&self, purpose: u64) -> Dice {
        let mut dice = Dice(self.0 ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.next();
        dice
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        use std::io::Write;
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "again with MESHD_SEED={}", self.0);
        }
    }
}

impl Dice {
    /// One of the numbers below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a number");
        usize::try_from(self.next() % end).expect("a number")
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
