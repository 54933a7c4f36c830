//! The three kinds of schedule, behind one question: when is it due next?

use super::cron::Cron;
use super::error::ScheduleError;

/// Shortest interval, in ms.
pub const EVERY_MS_MIN: u64 = 1_000;
/// Longest interval, in ms: 10 000 days.
pub const EVERY_MS_MAX: u64 = 10_000 * 86_400_000;

/// When something is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    At(i64),
    Every { every_ms: i64, anchor_ms: i64 },
    Cron(Box<Cron>),
}

impl Schedule {
    /// Is due once.
    pub fn at(at_ms: i64) -> Self {
        Self {
            kind: Kind::At(at_ms),
        }
    }

    /// Is due in intervals, counted from `anchor_ms`.
    ///
    /// # Errors
    /// [`ScheduleError::Interval`] below [`EVERY_MS_MIN`] and above [`EVERY_MS_MAX`].
    ///
    /// ```
    /// use trunkline_patterns::schedule::Schedule;
    /// let minutes = Schedule::every(60_000, 5_000).unwrap();
    /// assert_eq!(minutes.next_after(5_000), Some(65_000));
    /// assert_eq!(minutes.next_after(199_000), Some(245_000));
    /// ```
    pub fn every(every_ms: u64, anchor_ms: i64) -> Result<Self, ScheduleError> {
        if !(EVERY_MS_MIN..=EVERY_MS_MAX).contains(&every_ms) {
            return Err(ScheduleError::Interval {
                min: EVERY_MS_MIN,
                max: EVERY_MS_MAX,
                found: every_ms,
            });
        }
        let every_ms = every_ms as i64;
        Ok(Self {
            kind: Kind::Every {
                every_ms,
                anchor_ms,
            },
        })
    }

    /// Is due where the clocks of a zone match an expression.
    ///
    /// # Errors
    /// As [`Cron::parse`].
    ///
    /// ```
    /// use trunkline_patterns::schedule::Schedule;
    /// let daily = Schedule::cron("30 2 * * *", Some("UTC")).unwrap();
    /// assert_eq!(daily.next_after(0), Some(9_000_000));
    /// ```
    pub fn cron(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(text, zone)?;
        Ok(Self {
            kind: Kind::Cron(Box::new(cron)),
        })
    }

    /// Says whether it may be due more than once.
    pub fn is_repeating(&self) -> bool {
        !matches!(self.kind, Kind::At(_))
    }

    /// Gives the first instant after `now_ms` at which it is due; none when there is none left.
    pub fn next_after(&self, now_ms: i64) -> Option<i64> {
        match &self.kind {
            Kind::At(at_ms) => (*at_ms > now_ms).then_some(*at_ms),
            Kind::Every {
                every_ms,
                anchor_ms,
            } => {
                let passed = now_ms.saturating_sub(*anchor_ms).div_euclid(*every_ms);
                let next = anchor_ms.saturating_add((passed + 1).saturating_mul(*every_ms));
                (next > now_ms).then_some(next)
            }
            Kind::Cron(cron) => cron.next_after(now_ms),
        }
    }

    /// Gives the last instant at which it was due and that is not after `now_ms`.
    pub fn last_until(&self, now_ms: i64) -> Option<i64> {
        match &self.kind {
            Kind::At(at_ms) => (*at_ms <= now_ms).then_some(*at_ms),
            Kind::Every {
                every_ms,
                anchor_ms,
            } => {
                let passed = now_ms.saturating_sub(*anchor_ms).div_euclid(*every_ms);
                Some(anchor_ms.saturating_add(passed.saturating_mul(*every_ms)))
            }
            Kind::Cron(cron) => cron.last_until(now_ms),
        }
    }

    /// Counts the instants from `first_ms`, which is one, to `now_ms`, and stops at `most`.
    pub(super) fn count(&self, first_ms: i64, now_ms: i64, most: u32) -> u32 {
        if first_ms > now_ms {
            return 0;
        }
        match &self.kind {
            Kind::At(_) => 1,
            Kind::Every { every_ms, .. } => {
                let more = now_ms.saturating_sub(first_ms) / every_ms;
                u32::try_from(more + 1).unwrap_or(u32::MAX).min(most)
            }
            Kind::Cron(cron) => {
                let (mut count, mut at_ms) = (1, first_ms);
                while count < most {
                    match cron.next_after(at_ms) {
                        Some(next) if next <= now_ms => at_ms = next,
                        _ => break,
                    }
                    count += 1;
                }
                count
            }
        }
    }
}
