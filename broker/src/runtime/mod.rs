//! Runs the core: one thread for it and its links, one for the store's writer, one for its reader,
//! two for the files of blobs.
//!
//! ```text
//!  links ──frames──► core thread ──batches──► writer thread ──► disk
//!        ◄─frames───      ▲ │ ────reads──────► reader thread
//!                         │ └─────────────► blob threads ──► files
//!                         │ └─signals, control, logs──► supervisor, control plane
//!                  [`Broker`] handle (closures)
//! ```
//!
//! Readers of links only apply frames; one task then lets the router act, hands out the batch and writes
//! to every link once. So whatever is ready at the same moment shares one commit and one write.
//!
//! Invariants:
//!
//! - The core thread never waits for the disk.
//! - Every channel is bounded; a full one makes the sender wait, and links are paused before that.

mod blob_threads;
mod broker;
mod core_thread;
mod io;
mod link;
mod store_threads;

pub use broker::{Broker, BrokerEvents, RuntimeOptions, Timing};
pub use io::Connection;
