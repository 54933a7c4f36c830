//! Why a schedule is none.

/// Says what was expected of a schedule and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The interval is too short or too long.
    #[error("expected an interval of {min} ms to {max} ms, found {found} ms")]
    Interval {
        /// Shortest.
        min: u64,
        /// Longest.
        max: u64,
        /// Found.
        found: u64,
    },
    /// The text is no cron expression.
    #[error("expected a cron expression of 5 or 6 fields, found {found:?}: {why}")]
    Cron {
        /// The text.
        found: String,
        /// What its reader says.
        why: String,
    },
    /// No instant ever matches, such as the 30th of February.
    #[error("expected a cron expression that is due some day, found {found:?}")]
    NeverDue {
        /// The text.
        found: String,
    },
    /// There is no such time zone.
    #[error("expected an IANA time zone such as \"Europe/Berlin\", found {found:?}")]
    Zone {
        /// The text.
        found: String,
    },
}
