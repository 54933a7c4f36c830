//! Chance that can be had again: every choice of a run comes from one printed seed.

/// A small generator (SplitMix64); not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Takes a seed from `TRUNKLINE_SEED` or from the machine, and prints it.
    ///
    /// # Panics
    /// When the variable holds no number.
    pub fn from_environment(test: &str) -> (u64, Self) {
        let seed = match std::env::var("TRUNKLINE_SEED") {
            Ok(text) => text.parse().expect("TRUNKLINE_SEED is a number"),
            Err(_) => getrandom::u64().expect("the machine has random numbers"),
        };
        eprintln!("{test}: TRUNKLINE_SEED={seed}");
        (seed, Self::new(seed))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.number() % end }
    }

    /// A number from `range`.
    pub fn between(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A generator for one part of the run, so that threads do not share one.
    pub fn split(&mut self) -> Self {
        Self::new(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_run() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.between(3..17)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        assert!(numbers(3).iter().all(|number| (3..17).contains(number)));
    }
}
