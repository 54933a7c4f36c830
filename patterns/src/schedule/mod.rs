//! When something is due: once, in intervals, or by cron in a real time zone.
//!
//! Pure: an instant in, an instant out. It keeps no clock, no state and no queue; who calls it says what
//! time it is and remembers what was done. Instants are milliseconds since the Unix epoch, wall clock.
//!
//! | kind | due |
//! |---|---|
//! | [`Schedule::at`] | once, then never again |
//! | [`Schedule::every`] | at its anchor plus 1, 2, 3 … intervals, so that no run makes the next one later |
//! | [`Schedule::cron`] | where the wall clock of its zone matches |
//!
//! Invariants:
//!
//! - What is due next is later than now, always.
//! - Where clocks skip an hour, a fixed time that falls into it is due once, right after it. Where they
//!   repeat an hour, a fixed time in it is due once. Expressions with `*` in their hours or minutes follow
//!   the time that passes instead.
//! - Every search is bounded ([`MISSED_MAX`]), however long nobody looked.
//!
//! The zone data is that of the machine, else what is built in.

mod cron;
mod error;
mod misfire;
mod rule;
#[cfg(test)]
mod tests;

pub use cron::Cron;
pub use error::ScheduleError;
pub use misfire::{
    BACKLOG_MAX, CLOCK_STEP_MS_MAX, Due, GRACE_MS, MISSED_MAX, Misfire, due_now, due_then, jittered,
};
pub use rule::{EVERY_MS_MAX, EVERY_MS_MIN, Schedule};
