//! One connection to the broker: bytes to messages, messages to bytes, and who waits for what.
//!
//! A [`Link`] does no user work: it answers pings, completes calls, merges acks, and queues the rest
//! for its owner. One task drives it ([`pump`]); when that task does not get to run, because a
//! handler blocks its thread, the [`guard`] thread pumps in its place.
//!
//! Invariants: control frames overtake data frames, data frames keep their order; an ack is written
//! after every publish that was sent before it; nobody who waits is forgotten when the link ends.

mod ask;
mod calls;
mod frames;
mod guard;
mod io;
mod leases;
mod outbox;
mod pump;
mod state;
mod traffic;

pub(crate) use calls::{Answer, Seen};
pub(crate) use frames::{CommitOut, EventOut, PublishOut};
pub(crate) use io::Stream;
pub(crate) use leases::Lease;
pub(crate) use pump::drive;
pub(crate) use state::Link;
pub(crate) use traffic::{Inbound, Request};
