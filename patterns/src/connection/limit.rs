//! How many connections may be made: servers count logins, and end credentials that log in too often.

/// A bucket of attempts: so many at once, and one more each `refill_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts {
    burst: u32,
    refill_ms: u64,
    /// When the bucket is full again, had nothing been taken since.
    full_at_ms: u64,
}

impl Attempts {
    /// Makes a full bucket; no number is taken as less than 1.
    ///
    /// ```
    /// // At most 1,000 a day, and not all of them in one minute.
    /// let attempts = trunkline_patterns::connection::Attempts::new(60, 86_400);
    /// assert_eq!(attempts.next_ms(5), 5);
    /// ```
    pub const fn new(burst: u32, refill_ms: u64) -> Self {
        Self {
            burst: if burst == 0 { 1 } else { burst },
            refill_ms: if refill_ms == 0 { 1 } else { refill_ms },
            full_at_ms: 0,
        }
    }

    /// When the next attempt may be made.
    pub fn next_ms(&self, now_ms: u64) -> u64 {
        let room_ms = self.refill_ms.saturating_mul(u64::from(self.burst) - 1);
        self.full_at_ms.saturating_sub(room_ms).max(now_ms)
    }

    /// Counts an attempt.
    pub fn take(&mut self, now_ms: u64) {
        self.full_at_ms = self.full_at_ms.max(now_ms).saturating_add(self.refill_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_at_a_time() {
        let mut attempts = Attempts::new(3, 100);
        for _ in 0..3 {
            assert_eq!(attempts.next_ms(1_000), 1_000);
            attempts.take(1_000);
        }
        assert_eq!(attempts.next_ms(1_000), 1_100);
        attempts.take(1_100);
        assert_eq!(attempts.next_ms(1_100), 1_200);
        assert_eq!(attempts.next_ms(9_000), 9_000);
    }
}
