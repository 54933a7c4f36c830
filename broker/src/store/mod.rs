//! The store: one log and one keyed state, changed together in one durable step.
//!
//! It knows nothing of subscriptions, plugins or topics beyond their text: a subscription's position is
//! a state entry like any other. That is what lets an embedded database, a plain memory model and one
//! JetStream stream with atomic batches all be a [`Store`], held to one conformance suite.
//!
//! Invariants every store keeps:
//!
//! - `seq` is strictly increasing over everything written (events and state entries alike), never
//!   reused, with holes. It is the only order there is; the wall clock never is.
//! - A [`Commit`] happens whole or not at all. A [`Batch`] is made durable by **one** sync; when
//!   [`Store::commit`] returns, every accepted commit survives a power cut.
//! - After a failed sync the store is finished: it answers [`Failed`] for ever, and the daemon exits.
//!
//! A commit is checked in this order, and the first thing that does not hold refuses it: conditions,
//! events, state operations. Time is the batch's `now_ms`, or the last one seen if that is later. An
//! entry expires when the time is past its `expires_at_ms`, not at it. `seq` is given in the order of
//! writing: new events, then state operations (deletions too), then the next commit, last the trailer.
//! Duplicates and refused commits take none.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod memory;
#[cfg(test)]
#[cfg(feature = "daemon")]
mod model;
#[cfg(feature = "daemon")]
pub mod sqlite;
mod types;

pub use types::{
    Batch, Commit, CommitError, Condition, DedupeWindow, EventPage, EventReceipt, Expect, NewEvent,
    OnConflict, ReadLimit, Receipt, StateEntry, StateOp, StoreFacts, StoredEvent, Trailer,
};

use trunkline_contract::topic::Filter;

/// Position in the store: strictly increasing, never reused, with holes. Compare it, never subtract it.
pub type Seq = u64;

/// The store stopped for good: a sync or a checkpoint failed, or the file is damaged.
///
/// Nothing may be acknowledged after it. The daemon exits with status 70 and recovers on restart; a
/// failed sync is never retried, because the kernel marks the lost pages clean.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store stopped: {reason}")]
pub struct Failed {
    /// What the disk or the database said.
    pub reason: String,
}

/// A durable log and keyed state with one writer.
pub trait Store: Send {
    /// Applies the commits of `batch` in order and makes them durable with one sync.
    ///
    /// The answer has one entry per commit, in order. A refused commit leaves no trace and does not
    /// disturb its neighbours. After the last commit the batch's [`Trailer`] is asked for state that
    /// depends on which commits were accepted; it becomes durable with them.
    ///
    /// When the disk fills up in the middle of a batch, its commits are retried one by one, each with
    /// a sync of its own, and the trailer after them with another: a crash in between may keep the
    /// commits without the trailer.
    ///
    /// # Errors
    /// [`Failed`] when durability can no longer be promised; every later call fails too.
    fn commit(&mut self, batch: Batch) -> Result<Vec<Result<Receipt, CommitError>>, Failed>;

    /// Opens a reader that sees every batch whose `commit` has returned. Readers live on other threads.
    ///
    /// # Errors
    /// [`Failed`] when the store cannot be opened again.
    fn reader(&self) -> Result<Box<dyn Reader>, Failed>;

    /// Bounded housekeeping between batches: expired state and dedupe entries, free pages.
    ///
    /// `now_ms` is wall-clock milliseconds since the epoch. Returns true when more is left to do.
    ///
    /// # Errors
    /// [`Failed`] as for [`Store::commit`].
    fn maintain(&mut self, now_ms: i64) -> Result<bool, Failed>;
}

/// Reads what is durable. Every call is bounded and holds no transaction when it returns.
pub trait Reader: Send {
    /// Events after `after` whose topic matches any of `filters`, oldest first.
    ///
    /// [`EventPage::next`] is how far the log was looked through, also past events that did not match;
    /// the head (or `after`, if that is later) when nothing is left to look at. A page may be shorter
    /// than its limit allows.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn events(
        &mut self,
        after: Seq,
        filters: &[Filter],
        limit: ReadLimit,
    ) -> Result<EventPage, Failed>;

    /// The events with these numbers, in the order asked; purged ones are left out.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn events_at(&mut self, seqs: &[Seq]) -> Result<Vec<StoredEvent>, Failed>;

    /// One state entry, if it is there and has not expired by `now_ms`.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn get(&mut self, key: &[u8], now_ms: i64) -> Result<Option<StateEntry>, Failed>;

    /// State entries whose key starts with `prefix` and is greater than `after`, in key order, at most
    /// `limit` of them. Expired entries are left out.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<StateEntry>, Failed>;

    /// How many events after `after` match any of `filters`. Costs time in the length of the log.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn count(&mut self, after: Seq, filters: &[Filter]) -> Result<u64, Failed>;

    /// The highest `seq` of an event that is still there and was stored before `at_ms` (wall clock,
    /// ms), or 0.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn seq_before(&mut self, at_ms: i64) -> Result<Seq, Failed>;

    /// Sizes and marks.
    ///
    /// # Errors
    /// [`Failed`] when the file cannot be read.
    fn facts(&mut self) -> Result<StoreFacts, Failed>;
}
