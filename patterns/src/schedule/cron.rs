//! A cron expression in a time zone.
//!
//! Five fields (minute, hour, day of month, month, day of week) or six (a second before them); names of
//! months and days; lists, ranges, steps; `L`, `W`, `#`; `@hourly` and its like. Where both day fields are
//! given, either one is enough.

use croner::parser::{CronParser, Year};
use jiff::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::error::ScheduleError;

/// Longest expression that is read, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A cron expression and the zone whose clocks it is about.
#[derive(Debug, Clone)]
pub struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Arguments
    /// * `text` - five or six fields, or a nickname such as `@hourly`.
    /// * `zone` - an IANA name; none is UTC.
    ///
    /// # Errors
    /// [`ScheduleError::Cron`], [`ScheduleError::Zone`], or [`ScheduleError::NeverDue`] where no instant
    /// ever matches.
    ///
    /// ```
    /// use trunkline_patterns::schedule::Cron;
    /// assert!(Cron::parse("30 2 * * MON-FRI", Some("Europe/Berlin")).is_ok());
    /// assert!(Cron::parse("0 0 30 2 *", None).is_err());
    /// ```
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let refused = |why: String| ScheduleError::Cron {
            found: text.chars().take(TEXT_BYTES_MAX).collect(),
            why,
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(refused(format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let pattern = parser
            .parse(text)
            .map_err(|error| refused(error.to_string()))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => {
                let found = jiff::tz::db().get(name);
                found.map_err(|_| ScheduleError::Zone {
                    found: name.chars().take(TEXT_BYTES_MAX).collect(),
                })?
            }
        };
        let cron = Self { pattern, zone };
        // Every date and weekday pair there is comes within 28 years of any start.
        if cron.next_after(0).is_none() {
            return Err(ScheduleError::NeverDue {
                found: text.to_owned(),
            });
        }
        Ok(cron)
    }

    /// Gives the first instant after `now_ms` that matches.
    pub fn next_after(&self, now_ms: i64) -> Option<i64> {
        let found = self
            .pattern
            .find_next_occurrence(&self.at(now_ms)?, false)
            .ok()?
            .timestamp()
            .as_millisecond();
        (found > now_ms).then_some(found)
    }

    /// Gives the last instant that matches and is not after `now_ms`.
    pub fn last_until(&self, now_ms: i64) -> Option<i64> {
        let found = self
            .pattern
            .find_previous_occurrence(&self.at(now_ms)?, true)
            .ok()?
            .timestamp()
            .as_millisecond();
        (found <= now_ms).then_some(found)
    }

    fn at(&self, ms: i64) -> Option<Zoned> {
        let second = Timestamp::from_second(ms.div_euclid(1000)).ok()?;
        Some(second.to_zoned(self.zone.clone()))
    }
}
