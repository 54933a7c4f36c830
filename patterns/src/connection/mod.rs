//! A long-running connection: WebSocket, server-sent events, lines over TCP.
//!
//! [`Machine`] decides when to open and close sockets, whether one is dead, which frame is handled
//! next, and when something may be said to the outside. It is pure: sockets, handlers, commits, time
//! and randomness are its inputs and outputs, so that a simulation can run every order of events.
//!
//! Invariants, each one checked by the simulation:
//! - a frame is acked only after what it came to is durable;
//! - frames are handled one at a time, in the order they came;
//! - there is one live socket, and a second one only while a new one takes over from the old;
//! - no wait before an attempt is longer than the backoff's cap, unless the server or the limit of
//!   attempts asks for it;
//! - what is held in memory is bounded: [`FRAMES_WAITING_MAX`], [`SENDS_WAITING_MAX`].
//!
//! Not here: how bytes become frames, kv, locks, and who is told about the status.

mod fill;
mod io;
mod limit;
mod live;
mod machine;
mod options;
#[cfg(test)]
mod simulation;
mod status;
#[cfg(test)]
mod tests;
mod work;

pub use fill::{NoValue, answers, fill};
pub use io::{Frame, Input, Output, Socket};
pub use limit::Attempts;
pub use live::Heartbeat;
pub use machine::{FRAMES_WAITING_MAX, Machine, SENDS_WAITING_MAX};
pub use options::{CLOSE_DONE, CLOSE_KEPT, Options};
pub use status::{End, Status};
pub use work::{CommitFault, FAILURES_MAX, Moved, Store, Verdict};
