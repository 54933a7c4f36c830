//! What the core counts itself, beside what the router counts by owner.

use crate::router::{Histogram, LATENCY_MS, TopicClass};

/// Commits in one batch.
const BATCH_COMMITS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Durations on the machine's own scale, in microseconds.
const SHORT_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// Counted since the daemon started.
#[derive(Debug)]
pub(crate) struct CoreMeter {
    /// Commits per batch.
    pub(crate) batch_commits: Histogram,
    /// How long the store took for a batch, its sync included, in microseconds.
    pub(crate) sync_us: Histogram,
    /// How late timers of the core fired, in ms: while it lags, it does nothing else in time either.
    pub(crate) timer_lag_ms: Histogram,
    /// Reads of the log that memory answered.
    pub(crate) ring_hits: u64,
    /// Reads of the log that the store answered.
    pub(crate) ring_misses: u64,
    /// Events that were stored, by class, those of the broker itself included.
    pub(crate) stored: [u64; TopicClass::NAMES.len()],
    /// Of them those that matched no subscription.
    pub(crate) unmatched: [u64; TopicClass::NAMES.len()],
}

impl Default for CoreMeter {
    fn default() -> Self {
        Self {
            batch_commits: Histogram::new(BATCH_COMMITS),
            sync_us: Histogram::new(SHORT_US),
            timer_lag_ms: Histogram::new(LATENCY_MS),
            ring_hits: 0,
            ring_misses: 0,
            stored: Default::default(),
            unmatched: Default::default(),
        }
    }
}
