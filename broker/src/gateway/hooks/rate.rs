//! Rates per source: token buckets in a table that never grows.
//!
//! A source is an address (of IPv6 its /64, which is one customer) and the webhook that it calls. The table
//! is set-associative: a source has four places, and a new one takes the place used longest ago, so a flood
//! of sources makes some forget what they used and refuses nobody else. The places of a source come from a
//! keyed hash: nobody outside can choose whose they share.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Sources remembered at once, of all webhooks; 24 bytes each.
const SOURCES_MAX: usize = 65_536;
/// Places that one source may take.
const WAYS: usize = 4;
/// A source may send this many seconds' worth at once.
const BURST_SECONDS: f32 = 2.0;

/// Holds the buckets.
#[derive(Debug)]
pub(in crate::gateway) struct Rates {
    per_source: u32,
    overall: Option<u32>,
    hasher: RandomState,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    overall: Bucket,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The keyed hash of the source; 0: free.
    source: u64,
    bucket: Bucket,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    tokens: f32,
    /// Milliseconds since the start, when `tokens` was right.
    at_ms: u64,
}

impl Bucket {
    fn full(per_second: u32, now_ms: u64) -> Self {
        Self {
            tokens: per_second as f32 * BURST_SECONDS,
            at_ms: now_ms,
        }
    }

    /// Takes one, or says how long to wait for it.
    fn take(&mut self, per_second: u32, now_ms: u64) -> Result<(), Duration> {
        let per_second = per_second as f32;
        let gained = now_ms.saturating_sub(self.at_ms) as f32 / 1000.0 * per_second;
        self.tokens = (self.tokens + gained).min(per_second * BURST_SECONDS);
        self.at_ms = now_ms;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f32((1.0 - self.tokens) / per_second))
    }
}

impl Rates {
    /// Makes an empty table; `overall` is the rate of all sources together.
    pub(in crate::gateway) fn new(per_source: u32, overall: Option<u32>) -> Self {
        Self {
            per_source,
            overall,
            hasher: RandomState::new(),
            start: Instant::now(),
            state: Mutex::new(State {
                slots: vec![Slot::default(); SOURCES_MAX],
                overall: Bucket::full(overall.unwrap_or_default(), 0),
            }),
        }
    }

    /// Takes one request of a source.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub(in crate::gateway) fn take(
        &self,
        source: Option<IpAddr>,
        path: &str,
    ) -> Result<(), Duration> {
        self.take_at(source, path, self.start.elapsed().as_millis() as u64)
    }

    fn take_at(&self, source: Option<IpAddr>, path: &str, now_ms: u64) -> Result<(), Duration> {
        let place = self.hasher.hash_one(Source(source, path)).max(1);
        let mut state = self.state.lock().expect("no panic while held");
        let sets = state.slots.len() / WAYS;
        let first = (place as usize % sets) * WAYS;
        let set = &mut state.slots[first..first + WAYS];
        let found = set.iter().position(|slot| slot.source == place);
        let at = found.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|at| (set[*at].source != 0, set[*at].bucket.at_ms));
            oldest.expect("a set has places")
        });
        if found.is_none() {
            set[at] = Slot {
                source: place,
                bucket: Bucket::full(self.per_source, now_ms),
            };
        }
        set[at].bucket.take(self.per_source, now_ms)?;
        match self.overall {
            Some(overall) => state.overall.take(overall, now_ms),
            None => Ok(()),
        }
    }
}

/// Who sends where.
struct Source<'a>(Option<IpAddr>, &'a str);

impl Hash for Source<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self.0 {
            Some(IpAddr::V6(address)) => (address.to_bits() >> 64).hash(state),
            other => other.hash(state),
        }
        self.1.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "a source may be unknown")]
    fn v4(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_source_has_its_rate_and_no_other_source_uses_it_up() {
        let rates = Rates::new(5, None);
        let taken = (0..100)
            .filter(|_| rates.take_at(v4(1), "a", 0).is_ok())
            .count();
        assert_eq!(taken, 10, "two seconds' worth at once");
        let wait = rates.take_at(v4(1), "a", 0).unwrap_err();
        assert!(wait <= Duration::from_millis(201), "{wait:?}");
        assert_eq!(rates.take_at(v4(2), "a", 0), Ok(()));
        assert_eq!(rates.take_at(v4(1), "b", 0), Ok(()));
        let later_ms = wait.as_millis() as u64 + 1;
        assert_eq!(rates.take_at(v4(1), "a", later_ms), Ok(()));
        assert!(rates.take_at(v4(1), "a", later_ms).is_err());
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let rates = Rates::new(1, None);
        let address = |text: &str| Some(text.parse().unwrap());
        for end in 1..=2 {
            assert_eq!(
                rates.take_at(address(&format!("2001:db8::{end}")), "a", 0),
                Ok(())
            );
        }
        assert!(rates.take_at(address("2001:db8::ffff"), "a", 0).is_err());
        assert_eq!(rates.take_at(address("2001:db8:0:1::1"), "a", 0), Ok(()));
    }

    #[test]
    fn all_sources_together_have_a_rate() {
        let rates = Rates::new(100, Some(5));
        let taken = (0..100)
            .filter(|number| rates.take_at(v4(*number), "a", 0).is_ok())
            .count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_memory_and_refuses_nobody() {
        let rates = Rates::new(1, None);
        let bytes = |rates: &Rates| {
            let state = rates.state.lock().unwrap();
            state.slots.capacity() * size_of::<Slot>()
        };
        let before = bytes(&rates);
        assert!(before <= 2 << 20, "{before}");
        for number in 0..300_000 {
            assert_eq!(rates.take_at(v4(number), "a", 0), Ok(()));
        }
        assert_eq!(bytes(&rates), before);
    }
}
