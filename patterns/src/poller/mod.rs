//! The scheduled poller: what one tick fetches, which items are new, what is committed, when the next
//! tick is due, and when it stops by itself.
//!
//! Two variants. [`Run`] fetches a feed or a list of JSON and hands each new item to a handler. [`Call`]
//! fetches nothing: the handler gets the cursor and gives events and the next cursor. Both are driven
//! by a shell that loads [`Stored`] state, does what each step says, and tells what came of it:
//!
//! ```text
//! timer event → kv → Run::start ─┬─ Fetch  → http    → answered ─┐
//!                                ├─ Item   → handler → handled  ─┤
//!                                ├─ Commit → broker  → committed ┤  (more to come)
//!                                └─ Commit { last }  → the batch that settles the timer event
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `options` | what is declared, and what follows from it |
//! | `state` | what is kept between ticks |
//! | `seen` | which items were handed over |
//! | `answer` | what a server answers and asks for |
//! | `trouble` | what a failure means: later, or never |
//! | `commit` | what becomes durable together |
//! | `gather` | operations in commits of bounded size |
//! | `fetch` | which request is next |
//! | `items` | what an answer holds |
//! | `run` | a tick that fetches |
//! | `call` | a tick that asks a handler |
//! | `control` | pause, resume, reset |
//!
//! It does no I/O and reads no clock: time is given in milliseconds since the epoch, chance as a unit
//! float. The schedule is not here either: ticks come from the broker's timers, which never overlap.
//!
//! Invariants: an item is marked as handed over only in the commit that holds all its operations;
//! cursor, validators and the next page advance only behind the last item before them; a commit has at
//! most [`OPERATIONS_MAX`] operations of handlers. So a process that dies anywhere loses nothing, and
//! what is handed over again was never committed.

mod answer;
mod call;
mod commit;
mod control;
mod fetch;
mod gather;
mod items;
mod options;
mod run;
mod seen;
#[cfg(test)]
#[expect(clippy::format_collect, reason = "documents made for a test are short")]
mod simulation;
mod state;
#[cfg(test)]
#[expect(clippy::format_collect, reason = "documents made for a test are short")]
mod tests;
mod trouble;

pub use answer::{Answer, NetworkError};
pub use call::{Call, CallStep, Cursor, Returned};
pub use commit::{Alert, AlertKind, Commit, Next, Op, Operation, Park, Parked, Skip};
pub use commit::{OPERATION_BYTES_MAX, OPERATIONS_MAX};
pub use control::{Control, Controlled, control};
pub use fetch::Fetch;
pub use items::{Item, NewItem, event_id};
pub use options::{AlertTo, Misfire, Options, OptionsError, Plan, Source};
pub use run::{Cause, Handled, Run, Step, Tick};
pub use seen::{SEEN_MAX, Seen};
pub use state::{Breaker, LastError, Paused, State, Stored, Wait, WaitReason};
