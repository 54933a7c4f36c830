//! Bounds how much one instance may log; pure, time comes in.

use super::sink::LogLimits;

/// A budget that fills up with time, in lines and in bytes.
#[derive(Debug)]
pub(super) struct Limiter {
    lines: f64,
    bytes: f64,
    at_ms: u64,
    suppressed: u64,
    suppressed_total: u64,
}

impl Limiter {
    /// Starts with a full budget.
    pub(super) fn new(limits: &LogLimits, now_ms: u64) -> Self {
        Self {
            lines: limits.lines_burst as f64,
            bytes: limits.bytes_burst as f64,
            at_ms: now_ms,
            suppressed: 0,
            suppressed_total: 0,
        }
    }

    /// Takes a line from the budget; false: it is suppressed, and counted.
    pub(super) fn admits(&mut self, limits: &LogLimits, now_ms: u64, bytes: usize) -> bool {
        self.fill(limits, now_ms);
        // A few lines and some bytes at a time, so that a flood is not admitted line by line
        // with a count of suppressed ones between any two.
        let opens_at = if self.suppressed > 0 {
            limits.lines_burst as f64 / 10.0
        } else {
            1.0
        };
        if self.lines < opens_at || self.bytes < bytes as f64 {
            self.lost();
            return false;
        }
        self.lines -= 1.0;
        self.bytes -= bytes as f64;
        true
    }

    /// Counts a line that was admitted but could not be kept.
    pub(super) fn lost(&mut self) {
        self.suppressed += 1;
        self.suppressed_total += 1;
    }

    /// Returns how many lines were suppressed since it began.
    pub(super) fn suppressed_total(&self) -> u64 {
        self.suppressed_total
    }

    /// Returns how many lines were suppressed since the last call, and forgets them.
    pub(super) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }

    /// Returns true when lines are missing but new ones would be admitted.
    pub(super) fn owes_a_count(&mut self, limits: &LogLimits, now_ms: u64) -> bool {
        self.fill(limits, now_ms);
        self.suppressed > 0 && self.lines >= limits.lines_burst as f64 / 10.0
    }

    fn fill(&mut self, limits: &LogLimits, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        self.at_ms = self.at_ms.max(now_ms);
        let lines = self.lines + seconds * limits.lines_per_second as f64;
        self.lines = lines.min(limits.lines_burst as f64);
        let bytes = self.bytes + seconds * limits.bytes_per_second as f64;
        self.bytes = bytes.min(limits.bytes_burst as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_suppressed_counted_and_admitted_again_later() {
        let limits = LogLimits {
            lines_per_second: 10,
            lines_burst: 20,
            bytes_per_second: 1_000,
            bytes_burst: 10_000,
            ..LogLimits::default()
        };
        let mut limiter = Limiter::new(&limits, 0);
        let admitted = (0..1_000)
            .filter(|_| limiter.admits(&limits, 0, 10))
            .count();
        assert_eq!(admitted, 20);
        assert!(!limiter.owes_a_count(&limits, 0));
        assert!(limiter.owes_a_count(&limits, 1_000));
        assert_eq!(limiter.take_suppressed(), 980);
        assert!(limiter.admits(&limits, 1_000, 10));
    }

    #[test]
    fn large_lines_use_up_the_bytes() {
        let limits = LogLimits {
            bytes_burst: 100,
            bytes_per_second: 100,
            ..LogLimits::default()
        };
        let mut limiter = Limiter::new(&limits, 0);
        assert!(limiter.admits(&limits, 0, 100));
        assert!(!limiter.admits(&limits, 0, 1));
    }
}
