//! Whether a silent server is still there: it is asked after a silence, and dead after two answers
//! that did not come. Time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// Silence after which the server is asked.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// Questions without any sign of life that make it dead.
const MISSES_MAX: u32 = 2;

/// What to do when a silence is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask whether it is there.
    Ask,
    /// Give the connection up.
    Dead,
}

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Watchdog {
    due: Instant,
    misses: u32,
}

impl Watchdog {
    /// Begins when the connection does.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: now + SILENCE,
            misses: 0,
        }
    }

    /// Notes that anything came.
    pub(crate) fn heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Looks, once [`Watchdog::due`] has come.
    pub(crate) fn look(&mut self, now: Instant) -> Verdict {
        if self.misses == MISSES_MAX {
            return Verdict::Dead;
        }
        self.misses += 1;
        self.due = now + SILENCE;
        Verdict::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_unanswered_questions_are_the_end() {
        let mut watchdog = Watchdog::new(Instant::now());
        let mut ask = || {
            let due = watchdog.due();
            watchdog.look(due)
        };
        assert_eq!(
            [ask(), ask(), ask()],
            [Verdict::Ask, Verdict::Ask, Verdict::Dead]
        );
    }

    #[test]
    fn any_sign_of_life_begins_anew() {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(begin);
        for n in 1..5 {
            let due = watchdog.due();
            assert_eq!(due, begin + (SILENCE * 2) * n - SILENCE);
            assert_eq!(watchdog.look(due), Verdict::Ask);
            watchdog.heard(due + SILENCE);
        }
    }
}
