//! The embedded store: SQLite in WAL mode with `synchronous = FULL`, one writer, many readers.
//!
//! It is not shared between daemons ([`StoreLock`] sees to that) and not a general database: nothing
//! outside this folder writes SQL.
//!
//! # Layout
//!
//! | table | key | holds |
//! |---|---|---|
//! | `meta` | one row | next number, head, last time, bytes of events, highest number purged; rewritten in each commit |
//! | `events` | `seq` | topic and source (interned), time, session, expiry, last the envelope |
//! | `topics`, `sources` | `id` | interned names, never removed |
//! | `dedupe` | `(source, id)` | number of the first, its body, its place in the window |
//! | `dedupe_log` | `source << 42 \| number` | ids in the order they came, so that they can be forgotten |
//! | `state` | `key` | value, revision, expiry |
//!
//! Columns are in the order in which they are looked at: a reader that skips a row by its topic never
//! touches its envelope. There is no index on topics or sessions; a sparse filter walks the log.
//!
//! # Invariants
//!
//! - A batch is one transaction and one sync. Refusals are found before anything of their commit is
//!   written (or are undone by hand), so the usual path needs no savepoint.
//! - Checkpoints run between batches, on the writer, with their errors looked at: SQLite's own
//!   automatic checkpoint would ignore them. The log is truncated only at open and at close.
//! - After a failed sync, read or checkpoint nothing is retried, and closing leaves the log alone.
//! - On a full disk the batch is retried commit by commit; commits without events may use a reserve
//!   (see `reserve`).

mod apply;
mod dedupe;
mod fault;
mod intern;
mod lock;
mod maintain;
mod options;
mod reader;
mod reserve;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub use lock::{LockError, StoreLock};
pub use options::{OpenError, SqliteOptions};
pub use writer::SqliteStore;
