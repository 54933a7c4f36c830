//! How long to wait before the next attempt.
//!
//! Pure arithmetic: randomness comes in as a unit float in `0.0..1.0`, so that every schedule can
//! be simulated. It keeps no state; who counts the attempts decides when the count starts again.

/// An exponential schedule with a ceiling.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    /// Wait before the second attempt, in milliseconds.
    pub initial_ms: u64,
    /// What each wait is multiplied with; below 1 counts as 1.
    pub factor: f64,
    /// No wait is longer than this (before jitter), in milliseconds.
    pub cap_ms: u64,
}

impl Backoff {
    /// Builds a schedule.
    pub const fn new(initial_ms: u64, factor: f64, cap_ms: u64) -> Self {
        Self {
            initial_ms,
            factor,
            cap_ms,
        }
    }

    /// Returns the wait after `failures` failures in a row, without jitter (0 counts as 1).
    ///
    /// ```
    /// let backoff = trunkline_patterns::backoff::Backoff::new(500, 2.0, 60_000);
    /// assert_eq!(backoff.delay_ms(1), 500);
    /// assert_eq!(backoff.delay_ms(3), 2_000);
    /// assert_eq!(backoff.delay_ms(1_000), 60_000);
    /// ```
    pub fn delay_ms(&self, failures: u32) -> u64 {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = self.initial_ms as f64 * self.factor.max(1.0).powi(exponent);
        if delay.is_finite() && delay < self.cap_ms as f64 {
            delay as u64
        } else {
            self.cap_ms
        }
    }

    /// Returns the wait spread evenly over ±`spread` (0.2 is ±20 %) by `unit` in `0.0..1.0`.
    ///
    /// ```
    /// let backoff = trunkline_patterns::backoff::Backoff::new(1_000, 2.0, 60_000);
    /// assert_eq!(backoff.jittered_ms(1, 0.2, 0.0), 800);
    /// assert_eq!(backoff.jittered_ms(1, 0.2, 0.5), 1_000);
    /// ```
    pub fn jittered_ms(&self, failures: u32, spread: f64, unit: f64) -> u64 {
        let unit = unit.clamp(0.0, 1.0);
        let spread = spread.clamp(0.0, 1.0);
        (self.delay_ms(failures) as f64 * (1.0 - spread + 2.0 * spread * unit)).round() as u64
    }

    /// Returns a wait anywhere between nothing and the schedule's: for many peers that lost the
    /// same server at the same time and must not come back together.
    pub fn full_jitter_ms(&self, failures: u32, unit: f64) -> u64 {
        (self.delay_ms(failures) as f64 * unit.clamp(0.0, 1.0)).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(500, 2.0, 60_000);

    #[test]
    fn each_wait_doubles_up_to_the_cap() {
        let waits: Vec<u64> = (0..10).map(|failures| BACKOFF.delay_ms(failures)).collect();
        let expected = [
            500, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
        ]
        .to_vec();
        assert_eq!(waits, expected);
        assert_eq!(BACKOFF.delay_ms(u32::MAX), 60_000);
    }

    #[test]
    fn jitter_stays_within_its_spread() {
        for failures in 0..40 {
            let plain = BACKOFF.delay_ms(failures) as f64;
            for step in 0..=100 {
                let unit = f64::from(step) / 100.0;
                let wait = BACKOFF.jittered_ms(failures, 0.2, unit) as f64;
                assert!((plain * 0.8 - 1.0..=plain * 1.2 + 1.0).contains(&wait));
                assert!(BACKOFF.full_jitter_ms(failures, unit) as f64 <= plain);
            }
        }
    }

    #[test]
    fn nonsense_settings_still_give_a_bounded_wait() {
        let odd = Backoff::new(u64::MAX, f64::NAN, 1_000);
        assert_eq!(odd.delay_ms(7), 1_000);
        assert_eq!(Backoff::new(0, 2.0, 0).jittered_ms(3, 9.0, 4.0), 0);
    }
}
