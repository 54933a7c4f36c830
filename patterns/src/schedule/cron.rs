//! A cron expression in a time zone.
//!
//! Five fields (minute, hour, day of month, month, day of week) or six (a second before them); names of
//! months and days; lists, ranges, steps; `L`, `W`, `#`; `@hourly` and its like. Where both day fields are
//! given, either one is enough.
//!
//! What has `*` in its hours or minutes (or seconds) follows the time that passes. Everything else names times
//! of the wall clock, each of which comes once a day at most: one that the clocks skip right after the gap,
//! together with the others in it; one that they repeat the first time.

use croner::parser::{CronParser, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::error::ScheduleError;

/// Longest expression that is read, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A cron expression and the zone whose clocks it is about.
#[derive(Debug, Clone)]
pub struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
    /// It names times of the wall clock.
    is_fixed: bool,
}

/// Longest time that clocks are ever set back by.
const BACK: SignedDuration = SignedDuration::from_hours(3);

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
        let is_fixed = is_fixed(text);
        let cron = Self {
            pattern,
            zone,
            is_fixed,
        };
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
        let now = self.at(now_ms)?;
        if !self.is_fixed {
            let found = self.pattern.find_next_occurrence(&now, false).ok()?;
            return Some(found.timestamp().as_millisecond()).filter(|found| *found > now_ms);
        }
        let mut wall = as_utc(now.datetime())?;
        loop {
            wall = self.pattern.find_next_occurrence(&wall, false).ok()?;
            let found = self.comes(wall.datetime())?;
            if found > now_ms {
                return Some(found);
            }
        }
    }

    /// Gives the last instant that matches and is not after `now_ms`.
    pub fn last_until(&self, now_ms: i64) -> Option<i64> {
        let now = self.at(now_ms)?;
        if !self.is_fixed {
            let found = self.pattern.find_previous_occurrence(&now, true).ok()?;
            return Some(found.timestamp().as_millisecond()).filter(|found| *found <= now_ms);
        }
        // Shortly after the clocks were set back, what they showed then lies ahead of what they show now.
        let was_set_back = now.checked_sub(BACK).ok()?.offset() > now.offset();
        let shown = now.datetime();
        let from = if was_set_back {
            shown.checked_add(BACK).ok()?
        } else {
            shown
        };
        let (mut wall, mut is_inclusive) = (as_utc(from)?, true);
        loop {
            wall = self
                .pattern
                .find_previous_occurrence(&wall, is_inclusive)
                .ok()?;
            is_inclusive = false;
            let found = self.comes(wall.datetime())?;
            if found <= now_ms {
                return Some(found);
            }
        }
    }

    fn at(&self, ms: i64) -> Option<Zoned> {
        let second = Timestamp::from_second(ms.div_euclid(1000)).ok()?;
        Some(second.to_zoned(self.zone.clone()))
    }

    /// When a time of the wall clock comes.
    fn comes(&self, wall: DateTime) -> Option<i64> {
        let found = self.zone.to_ambiguous_timestamp(wall);
        let instant = match found.offset() {
            AmbiguousOffset::Gap { before, .. } => {
                // Read by the clock before the change it lies behind the change.
                let behind = before.to_timestamp(wall).ok()?;
                let mut changes = self
                    .zone
                    .preceding(behind.checked_add(SignedDuration::from_secs(1)).ok()?);
                changes.next()?.timestamp()
            }
            _ => found.earlier().ok()?,
        };
        Some(instant.as_millisecond())
    }
}

/// Takes a time of a wall clock for one of a clock that is never set.
fn as_utc(wall: DateTime) -> Option<Zoned> {
    wall.to_zoned(TimeZone::UTC).ok()
}

/// Says whether an expression names times: no `*` in hours, minutes and seconds.
fn is_fixed(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if let [nickname] = fields[..] {
        return !nickname.eq_ignore_ascii_case("@hourly");
    }
    let times = fields.len().saturating_sub(3);
    fields[..times].iter().all(|field| !field.contains('*'))
}
