//! When the next line may go: servers end connections that write too fast.
//!
//! A few lines may go at once, then one per interval. Time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// Lines that may go at once after a silence.
const BURST: u32 = 5;

/// Spaces out lines.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// When the line after the last would be due without a burst.
    due: Option<Instant>,
}

impl Pace {
    /// Begins with a full burst.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            due: None,
        }
    }

    /// Says from when on a line may go.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let credit = self.interval * (BURST - 1);
        self.due
            .map_or(now, |due| due.checked_sub(credit).unwrap_or(now).max(now))
    }

    /// Counts a line that goes now.
    pub(crate) fn count(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lines_go_at_once_then_one_per_interval() {
        let second = Duration::from_secs(1);
        let begin = Instant::now() + second * 60;
        let mut pace = Pace::new(second);
        for _ in 0..5 {
            assert_eq!(pace.next(begin), begin);
            pace.count(begin);
        }
        for n in 1..4 {
            let due = pace.next(begin);
            assert_eq!(due, begin + second * n);
            pace.count(due);
        }
        let later = begin + second * 60;
        assert_eq!(pace.next(later), later);
    }

    #[test]
    fn no_interval_is_no_wait() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::ZERO);
        for _ in 0..100 {
            assert_eq!(pace.next(now), now);
            pace.count(now);
        }
    }
}
