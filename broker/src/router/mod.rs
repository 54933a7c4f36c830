//! The router: who gets which event next, as a pure state machine.
//!
//! It is told what happened (an event became durable, a settlement came, a link went away, time passed)
//! and answers with [`Command`]s (lease this event to that link, read that range, write this state).
//! It does no I/O, reads no clock and has no threads, so that a seed replays a whole life of it.
//!
//! Invariants:
//!
//! - Only durable events enter ([`Router::committed`], [`Router::page`]), so nothing is delivered that a
//!   crash could erase.
//! - Per (subscription, ordering key) at most one event is in flight, and the lowest unsettled one is
//!   always the next.
//! - An event is leased only while its `seq` is at or below the subscription's durable `leased_to`, so
//!   that a repeat after `kill -9` of the broker says that it is one.
//! - A settlement counts only with the epoch of the current lease; any older one is stale.
//! - What waits and is selected no longer is a dead letter, or another subscription of the instance has it; it is
//!   never passed over.
//! - What is in memory per subscription is bounded by [`limits`]; beyond, it reads on later.

pub mod limits;

#[cfg(test)]
mod tests;

mod dead_letter;
mod delivery;
mod durable;
mod entry;
mod failed;
mod histogram;
mod intake;
mod lease;
mod membership;
mod meter;
mod operator;
mod policy;
mod position;
mod restore;
mod session;
mod subscription;
mod table;
mod withdraw;

pub use dead_letter::{DeadReason, Origin};
pub use delivery::DeliveryId;
pub use durable::Durable;
pub use entry::Failure;
pub(crate) use entry::cut;
pub use failed::Failed;
pub use histogram::{Histogram, LATENCY_MS};
pub use lease::{Nak, Prepared, Reject, Settle};
pub use membership::{LinkId, Loss, Window};
pub use meter::{DEAD_REASONS, Dropped, Meter, MeterId, Meters, TopicClass};
pub use policy::{OnExpired, RetryPolicy};
pub use position::PositionTrailer;
pub use subscription::{Hold, Owner, SubId, SubState, Subscription, SubscriptionView};
pub(crate) use table::put as put_record;
pub use table::{Command, EventRef, NEVER_MS, Router, SubscribeAs};
pub(crate) use withdraw::is_covered;
