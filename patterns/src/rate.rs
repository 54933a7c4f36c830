//! How often something may happen: `"30/s"`, `"20/m"`, and who has to wait.
//!
//! A bucket keeps the promise exactly: in no stretch of time as long as the rate's period does more
//! happen than the rate says, and what may happen may happen at once. (A classic token bucket lets
//! twice as much through around a burst, which providers answer with 429.) For that it remembers
//! when tokens were taken, in [`GRAINS`] grains of the period at most, each rounded to the later
//! side. Time comes in as milliseconds of any clock that does not go back; the state is data.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Grains that a period is remembered in.
pub const GRAINS: u64 = 256;
/// The most that a rate may allow in its period.
pub const COUNT_MAX: u32 = 1_000_000;
/// Keys that a [`Table`] keeps when nobody says otherwise.
pub const KEYS_MAX: usize = 10_000;

/// Is so many in a period.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    count: u32,
    per_ms: u64,
}

/// Says that a text is no rate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoRate {
    found: String,
}

impl fmt::Display for NoRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected a rate like \"30/s\", \"20/m\" or \"500/h\", found {:?}",
            self.found
        )
    }
}

impl std::error::Error for NoRate {}

impl Rate {
    /// Makes a rate; none when nothing would be allowed, or more than [`COUNT_MAX`].
    pub fn new(count: u32, per_ms: u64) -> Option<Self> {
        (count > 0 && count <= COUNT_MAX && per_ms > 0).then_some(Self { count, per_ms })
    }

    /// Reads `"<count>/s"`, `/m`, `/h` or `/d`.
    ///
    /// ```
    /// use trunkline_patterns::rate::Rate;
    /// assert_eq!(Rate::parse("20/m").unwrap().to_string(), "20/m");
    /// assert!(Rate::parse("20").is_err() && Rate::parse("0/s").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, NoRate> {
        let refused = || NoRate {
            found: text.chars().take(40).collect(),
        };
        let (count, unit) = text.split_once('/').ok_or_else(refused)?;
        let per_ms = match unit.trim() {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        let count = count.trim();
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let count = count.parse().map_err(|_| refused())?;
        Self::new(count, per_ms).ok_or_else(refused)
    }

    /// Gives how many may happen in the period.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Gives the period, in milliseconds.
    pub fn per_ms(&self) -> u64 {
        self.per_ms
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, per_ms } = self;
        match per_ms {
            1_000 => write!(f, "{count}/s"),
            60_000 => write!(f, "{count}/m"),
            3_600_000 => write!(f, "{count}/h"),
            86_400_000 => write!(f, "{count}/d"),
            _ => write!(f, "{count} in {per_ms} ms"),
        }
    }
}

/// Is a rate, and what was taken of it lately.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Latest time in the grain, and how much was taken in it; oldest first.
    taken: VecDeque<(u64, u32)>,
    total: u32,
    /// Nothing is given before this time: somebody outside said so.
    closed_until_ms: u64,
}

impl Bucket {
    /// Makes one of which nothing was taken.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            taken: VecDeque::new(),
            total: 0,
            closed_until_ms: 0,
        }
    }

    /// Takes one, or says how many milliseconds to wait before asking again.
    ///
    /// ```
    /// use trunkline_patterns::rate::{Bucket, Rate};
    /// let mut bucket = Bucket::new(Rate::parse("2/s").unwrap());
    /// assert_eq!(bucket.take(0), Ok(()));
    /// assert_eq!(bucket.take(100), Ok(()));
    /// assert_eq!(bucket.take(200), Err(800));
    /// assert_eq!(bucket.take(1_000), Ok(()));
    /// ```
    pub fn take(&mut self, now_ms: u64) -> Result<(), u64> {
        self.check(now_ms)?;
        let grain_ms = self.rate.per_ms / GRAINS;
        match self.taken.back_mut() {
            Some((at_ms, count)) if grain_ms > 0 && *at_ms / grain_ms == now_ms / grain_ms => {
                (*at_ms, *count) = (now_ms, *count + 1);
            }
            _ => self.taken.push_back((now_ms, 1)),
        }
        self.total += 1;
        Ok(())
    }

    /// Says whether one could be taken, without taking it.
    pub fn check(&mut self, now_ms: u64) -> Result<(), u64> {
        self.forget(now_ms);
        let mut free_at_ms = self.closed_until_ms;
        if self.total >= self.rate.count {
            let (oldest_ms, _) = self.taken.front().expect("something was taken");
            free_at_ms = free_at_ms.max(oldest_ms.saturating_add(self.rate.per_ms));
        }
        match free_at_ms.saturating_sub(now_ms) {
            0 => Ok(()),
            wait_ms => Err(wait_ms),
        }
    }

    /// Gives nothing before a time: a provider said so.
    pub fn close_until(&mut self, at_ms: u64) {
        self.closed_until_ms = self.closed_until_ms.max(at_ms);
    }

    /// Says when it will be as if nothing had ever been taken.
    pub fn idle_at_ms(&self) -> u64 {
        let last = self.taken.back();
        let last = last.map_or(0, |(at_ms, _)| at_ms.saturating_add(self.rate.per_ms));
        last.max(self.closed_until_ms)
    }

    fn forget(&mut self, now_ms: u64) {
        // A clock that went back would else keep everybody waiting for the difference.
        for (at_ms, _) in self.taken.iter_mut().rev() {
            if *at_ms <= now_ms {
                break;
            }
            *at_ms = now_ms;
        }
        while let Some((at_ms, count)) = self.taken.front() {
            if at_ms.saturating_add(self.rate.per_ms) > now_ms {
                break;
            }
            self.total -= count;
            self.taken.pop_front();
        }
    }
}

/// Is a bucket per key, for at most so many keys that are in use.
///
/// At the limit a new key waits until one is idle: to forget one in use would break its rate.
#[derive(Clone, Debug)]
pub struct Table {
    rate: Rate,
    keys_max: usize,
    buckets: BTreeMap<String, Bucket>,
}

impl Table {
    /// Makes an empty one for [`KEYS_MAX`] keys.
    pub fn new(rate: Rate) -> Self {
        Self::with_keys_max(rate, KEYS_MAX)
    }

    /// Makes an empty one.
    pub fn with_keys_max(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            keys_max: keys_max.max(1),
            buckets: BTreeMap::new(),
        }
    }

    /// Takes one of a key's, or says how many milliseconds to wait before asking again.
    pub fn take(&mut self, key: &str, now_ms: u64) -> Result<(), u64> {
        self.bucket(key, now_ms)?.take(now_ms)
    }

    /// Says whether one could be taken, without taking it.
    pub fn check(&mut self, key: &str, now_ms: u64) -> Result<(), u64> {
        self.bucket(key, now_ms)?.check(now_ms)
    }

    /// Gives nothing of a key's before a time.
    pub fn close_until(&mut self, key: &str, now_ms: u64, at_ms: u64) {
        if let Ok(bucket) = self.bucket(key, now_ms) {
            bucket.close_until(at_ms);
        }
    }

    /// Says how many keys are kept.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Says whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    fn bucket(&mut self, key: &str, now_ms: u64) -> Result<&mut Bucket, u64> {
        if !self.buckets.contains_key(key) {
            if self.buckets.len() >= self.keys_max {
                self.buckets
                    .retain(|_, bucket| bucket.idle_at_ms() > now_ms);
            }
            if self.buckets.len() >= self.keys_max {
                let idle_at_ms = self.buckets.values().map(Bucket::idle_at_ms).min();
                return Err(idle_at_ms.map_or(1, |at_ms| (at_ms - now_ms).max(1)));
            }
            self.buckets.insert(key.to_owned(), Bucket::new(self.rate));
        }
        Ok(self.buckets.get_mut(key).expect("it was put in"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_and_written_and_what_is_none_is_refused() {
        for (text, count, per_ms) in [
            ("1/s", 1, 1_000),
            ("30/s", 30, 1_000),
            ("20/m", 20, 60_000),
            ("500/h", 500, 3_600_000),
            ("1/d", 1, 86_400_000),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.count(), rate.per_ms()), (count, per_ms));
            assert_eq!(rate.to_string(), text);
        }
        for text in [
            "",
            "/",
            "30",
            "30/",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "30/sec",
            "1000001/s",
        ] {
            let error = Rate::parse(text).unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn what_is_closed_from_outside_gives_nothing_before_its_time() {
        let mut bucket = Bucket::new(Rate::parse("10/s").unwrap());
        bucket.close_until(5_000);
        assert_eq!(bucket.take(1_000), Err(4_000));
        assert_eq!(bucket.take(5_000), Ok(()));
        assert_eq!(bucket.idle_at_ms(), 6_000);
    }

    #[test]
    fn a_table_at_its_limit_lets_new_keys_wait_and_forgets_idle_ones() {
        let mut table = Table::with_keys_max(Rate::parse("1/s").unwrap(), 2);
        assert_eq!(table.take("a", 0), Ok(()));
        assert_eq!(table.take("b", 400), Ok(()));
        assert_eq!(table.take("c", 500), Err(500));
        assert_eq!(table.take("a", 500), Err(500));
        assert_eq!(table.take("c", 1_000), Ok(()));
        assert_eq!(table.len(), 2);
        assert_eq!(table.take("b", 1_000), Err(400));
    }

    #[test]
    fn a_clock_that_went_back_makes_nobody_wait_longer_than_a_period() {
        let mut bucket = Bucket::new(Rate::parse("1/s").unwrap());
        assert_eq!(bucket.take(1_000_000), Ok(()));
        assert_eq!(bucket.take(500), Err(1_000));
        assert_eq!(bucket.take(1_500), Ok(()));
    }

    proptest! {
        /// Proves: in no stretch as long as the period does more happen than the rate says, and
        /// who waits as told is let through.
        #[test]
        fn a_rate_is_never_exceeded_and_waiting_as_told_suffices(
            count in 1u32..600,
            per_ms in prop_oneof![Just(1_000u64), Just(60_000), Just(100)],
            steps in prop::collection::vec(0u64..200, 1..400),
        ) {
            let mut bucket = Bucket::new(Rate::new(count, per_ms).unwrap());
            let (mut now_ms, mut taken) = (0, Vec::new());
            for step in steps {
                now_ms += step;
                match bucket.take(now_ms) {
                    Ok(()) => taken.push(now_ms),
                    Err(wait_ms) => {
                        prop_assert!(wait_ms > 0 && wait_ms <= per_ms);
                        now_ms += wait_ms;
                        prop_assert_eq!(bucket.take(now_ms), Ok(()));
                        taken.push(now_ms);
                    }
                }
                prop_assert!(bucket.taken.len() as u64 <= 2 * GRAINS);
            }
            for (index, start) in taken.iter().enumerate() {
                let within = taken[index..].iter().filter(|at| **at < start + per_ms).count();
                prop_assert!(within <= count as usize, "{} within {} ms", within, per_ms);
            }
        }
    }
}
