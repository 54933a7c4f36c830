//! When a delivery is tried again, and when it is given up.

use serde::{Deserialize, Serialize};

use super::limits::{LEASE_MS, LEASE_MS_MAX};

/// What becomes of an event whose `expires_at` passed before it was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpired {
    /// A dead letter with reason `expired`.
    #[default]
    Dead,
    /// Settled silently (counted).
    Drop,
}

/// Retry policy, limits and dead-lettering of one subscription: one object, one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Counted failures after which the event is dead (`delivery_limit`). At least 1.
    pub failures_max: u32,
    /// Wait before try n+1, in milliseconds; the last one repeats.
    pub backoff_ms: Vec<u64>,
    /// Part of the wait that chance adds or takes away, `0.0..=1.0`.
    pub jitter: f64,
    /// Deaths of the process with this event alone in flight after which it is dead (`crashed`).
    pub crashes_max: u32,
    /// Age since the first lease after which it is dead (`too_old`).
    pub age_max_ms: u64,
    /// How long one lease lasts without an extension.
    pub lease_ms: u64,
    /// What an expired event becomes.
    pub on_expired: OnExpired,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            failures_max: 6,
            backoff_ms: vec![1_000, 5_000, 30_000, 120_000, 600_000],
            jitter: 0.2,
            crashes_max: 2,
            age_max_ms: 24 * 3_600_000,
            lease_ms: LEASE_MS,
            on_expired: OnExpired::Dead,
        }
    }
}

impl RetryPolicy {
    /// Brings every field into its range.
    pub fn bounded(mut self) -> Self {
        self.failures_max = self.failures_max.max(1);
        self.crashes_max = self.crashes_max.max(1);
        self.jitter = self.jitter.clamp(0.0, 1.0);
        self.lease_ms = self.lease_ms.clamp(100, LEASE_MS_MAX);
        if self.backoff_ms.is_empty() {
            self.backoff_ms.push(1_000);
        }
        self
    }

    /// How long to wait after failure number `failures` (1 for the first), with `unit` in `0.0..1.0`.
    pub fn wait_ms(&self, failures: u32, unit: f64) -> u64 {
        let index = (failures.max(1) as usize - 1).min(self.backoff_ms.len() - 1);
        let base = self.backoff_ms[index] as f64;
        (base * (1.0 + self.jitter * (2.0 * unit - 1.0)))
            .round()
            .max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_table_and_stays_within_its_jitter() {
        let policy = RetryPolicy::default();
        for (failures, base) in [(1, 1_000.0), (2, 5_000.0), (5, 600_000.0), (9, 600_000.0)] {
            assert_eq!(policy.wait_ms(failures, 0.5), base as u64);
            assert_eq!(policy.wait_ms(failures, 0.0), (base * 0.8) as u64);
            assert!(policy.wait_ms(failures, 0.999_999) as f64 <= base * 1.2);
        }
    }
}
