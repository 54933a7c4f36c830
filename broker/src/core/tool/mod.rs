//! Tools: what instances declare as callable, and the calls that are on their way.
//!
//! | concern | file |
//! |---|---|
//! | schemas and what is allowed in them | `schema` |
//! | which instance has which tool | `registry`, `declare`, `list` |
//! | a call from the caller to the plugin | `accept`, `hand_over` |
//! | its answer | `answer`, `result` |
//! | chunks, credit, progress | `stream` |
//! | cancel, deadlines, links that end | `cancel` |
//! | repeats under one key | `idempotent` |
//! | calls made by events | `event` |
//! | figures | `stats` |
//!
//! Invariants:
//!
//! - Every call is answered exactly once: result, error, or the end of the caller's link.
//! - A plugin sees only arguments that fit its input schema; a caller only outputs that fit the output schema.
//! - What waits in memory for a slow peer is bounded by [`limits`]: chunks by their window, calls by queues.
//! - A call that was handed over and whose outcome is lost is never run again unless its tool is idempotent.

mod accept;
mod answer;
mod cancel;
mod declare;
mod event;
mod hand_over;
mod idempotent;
pub(crate) mod limits;
mod list;
mod registry;
mod result;
mod running;
pub(crate) mod schema;
mod stats;
mod stream;

pub(crate) use running::Tools;
pub use schema::check_tools;
pub use stats::{LATENCY_BOUNDS_MS, ToolStats};
