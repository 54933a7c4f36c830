//! Durations as people write them: `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`.
//!
//! One whole number and one unit. A bare number is refused: it means seconds to one reader and
//! milliseconds to the next.

use std::time::Duration;

/// Shows the accepted form.
pub const HINT: &str = r#"write "250ms", "30s", "5m", "2h" or "7d""#;

/// Says why a bare number is refused.
pub const BARE_HINT: &str = r#"a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms""#;

/// The longest duration accepted: 10 000 days, far from every overflow in milliseconds.
const DAYS_MAX: u64 = 10_000;

const UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Says why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// There is a number and no unit.
    #[error("expected a duration with a unit, found the bare number {found:?}")]
    UnitMissing {
        /// The text.
        found: String,
    },
    /// It is not one whole number followed by a unit.
    #[error("expected a whole number and a unit (ms, s, m, h, d), found {found:?}")]
    NotADuration {
        /// The text.
        found: String,
    },
    /// It is longer than 10 000 days.
    #[error("expected at most {DAYS_MAX}d, found {found:?}")]
    TooLong {
        /// The text.
        found: String,
    },
}

/// Parses a duration.
///
/// # Example
/// ```
/// use std::time::Duration;
/// assert_eq!(trunkline_contract::duration::parse("5m"), Ok(Duration::from_secs(300)));
/// assert!(trunkline_contract::duration::parse("300").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let found = || text.to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(DurationError::NotADuration { found: found() });
    }
    if unit.is_empty() {
        return Err(DurationError::UnitMissing { found: found() });
    }
    let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::NotADuration { found: found() });
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*unit_ms))
        .filter(|ms| *ms <= DAYS_MAX * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(|| DurationError::TooLong { found: found() })
}

/// Writes a duration in the largest unit that holds it exactly; parts of a millisecond are cut.
pub fn format(duration: Duration) -> String {
    let ms = duration.as_millis() as u64;
    if ms == 0 {
        return "0s".to_owned();
    }
    let (unit, unit_ms) = UNITS
        .iter()
        .rev()
        .find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms))
        .unwrap_or(&("ms", 1));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_reads_back_as_it_was_written() {
        for text in ["250ms", "30s", "5m", "2h", "7d", "1500ms", "0s", "10000d"] {
            let duration = parse(text).unwrap();
            assert_eq!(parse(&format(duration)), Ok(duration), "{text}");
        }
        assert_eq!(
            format(Duration::from_mins(1) + Duration::from_secs(30)),
            "90s"
        );
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn a_bare_number_is_refused_and_says_why() {
        assert_eq!(
            parse("30"),
            Err(DurationError::UnitMissing {
                found: "30".to_owned()
            })
        );
        assert_eq!(
            parse("30").unwrap_err().to_string(),
            r#"expected a duration with a unit, found the bare number "30""#
        );
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", "s", "1.5s", "-1s", "1 s", "1S", "1w", "1h30m", " 1s", "٣s",
        ] {
            assert!(
                matches!(parse(text), Err(DurationError::NotADuration { .. })),
                "{text:?}"
            );
        }
        for text in ["10001d", "99999999999999999999s", "18446744073709551615d"] {
            assert!(
                matches!(parse(text), Err(DurationError::TooLong { .. })),
                "{text:?}"
            );
        }
    }
}
