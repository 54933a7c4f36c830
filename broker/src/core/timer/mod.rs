//! Timers: instances are told that it is time, by stored events to themselves.
//!
//! | key in the store | value |
//! |---|---|
//! | `w/<plugin>/<instance>/<name>` | how it was set, when it is due next, how often it was due before |
//! | `wf/<plugin>/<instance>/<name>` | its event that is not settled yet; the event's number is the row's minus 1 |
//!
//! A due timer's event and its `wf` row are one commit, on the condition that the `w` row is still what was
//! due. When the event is settled, one commit ends the `wf` row and says when the timer is due next. After a
//! crash between the two the `wf` row names an event that nobody holds, and the second commit is made up for.
//!
//! Invariants:
//!
//! - A timer with a `wf` row is not due: there is never an overlap.
//! - What memory says of a timer is durable; what is on its way to the disk counts for quotas only.
//! - The id of an event follows from what the store says, so that one due time has one id.
//! - Nothing waits longer than `LOOK_MS` for a clock that was set.

mod clockwork;
mod event;
mod record;
mod request;
mod restore;
mod table;

pub(crate) use clockwork::TimerTicket;
pub(crate) use request::TimerChange;
pub(crate) use table::Timers;
