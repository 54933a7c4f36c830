//! What goes into a store and what comes out of it.

use std::sync::Arc;

use super::Seq;

/// What to do when a (source, id) is already known with another body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Refuse the commit with [`CommitError::IdConflict`].
    #[default]
    Refuse,
    /// Keep the first body and answer as a duplicate (hooks and pollers).
    KeepFirst,
}

/// How long a repeated (source, id) is recognised. Beyond it a repeat is a new event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupeWindow {
    /// Ids remembered per source, counted in new events of that source.
    pub ids: u64,
    /// Milliseconds an id is remembered, by the store's clock that never runs backwards.
    pub age_ms: i64,
}

impl Default for DedupeWindow {
    fn default() -> Self {
        Self {
            ids: 100_000,
            age_ms: 72 * 3_600_000,
        }
    }
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Complete topic, instance included.
    pub topic: Arc<str>,
    /// Who published it, as stamped by the broker. With `id` the dedupe key.
    pub source: Arc<str>,
    /// The event's id, at most 128 bytes.
    pub id: Box<str>,
    /// First 16 bytes of SHA-256 over topic, session and payload: what "the same body" means.
    pub body: [u8; 16],
    /// Conversation, if order is asked.
    pub session: Option<Box<str>>,
    /// Wall-clock milliseconds after which it is not to be delivered.
    pub expires_at_ms: Option<i64>,
    /// What happens when the id is known with another body.
    pub on_conflict: OnConflict,
    /// The final envelope, one JSON object, exactly as it will be delivered.
    pub envelope: Arc<[u8]>,
}

/// What must be true of a key for its commit to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Nothing.
    #[default]
    Any,
    /// The key is absent (or expired).
    Absent,
    /// The key is there with exactly this revision.
    Revision(Seq),
}

/// One change of keyed state. Its revision is a `seq` of the same counter as events.
#[derive(Debug, Clone)]
pub struct StateOp {
    /// Key, at most 512 bytes.
    pub key: Vec<u8>,
    /// The new value, or `None` to delete the key.
    pub value: Option<Vec<u8>>,
    /// What must hold before.
    pub expect: Expect,
    /// Wall-clock milliseconds after which the entry reads as absent and is later removed.
    pub expires_at_ms: Option<i64>,
}

/// A condition on a key that the commit does not write (a lock's token, a generation).
#[derive(Debug, Clone)]
pub struct Condition {
    /// Key.
    pub key: Vec<u8>,
    /// What must hold.
    pub expect: Expect,
}

/// Events and state that become durable together, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Checked before anything is written.
    pub conditions: Vec<Condition>,
    /// Appended in order.
    pub events: Vec<NewEvent>,
    /// Applied in order, after the events.
    pub state: Vec<StateOp>,
    /// Events to forget, at most 64: retention's share of this commit.
    pub purge: Vec<Seq>,
}

/// State that depends on which commits of a batch were accepted (subscription positions).
pub trait Trailer: Send {
    /// Entries to write; `accepted[i]` belongs to the batch's commit `i`. Their `expect` is `Any`.
    ///
    /// Asked once, and again only when the disk filled up in between, so that fewer commits were
    /// accepted than it was first told; the last answer is the one that is stored.
    fn state(&mut self, accepted: &[bool]) -> Vec<StateOp>;
}

/// What one sync makes durable.
#[derive(Default)]
pub struct Batch {
    /// In order.
    pub commits: Vec<Commit>,
    /// Asked after the last commit.
    pub trailer: Option<Box<dyn Trailer>>,
    /// Wall clock for `stored_at` and expiry, ms since the epoch. The store never lets it run backwards.
    pub now_ms: i64,
}

/// Where an event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventReceipt {
    /// Its number; for a duplicate the number of the first.
    pub seq: Seq,
    /// True when (source, id) was already stored.
    pub duplicate: bool,
}

/// An accepted commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// One per event, in order.
    pub events: Vec<EventReceipt>,
    /// One revision per state operation, in order.
    pub revisions: Vec<Seq>,
}

/// Why a commit was refused. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitError {
    /// Event `index` has a known (source, id) and another body; the original has number `seq`.
    IdConflict {
        /// Position among the commit's events.
        index: usize,
        /// Number of the original.
        seq: Seq,
    },
    /// State operation `index` found another revision (`None`: absent).
    RevisionConflict {
        /// Position among the commit's state operations.
        index: usize,
        /// What was found.
        found: Option<Seq>,
    },
    /// Condition `index` did not hold.
    ConditionFailed {
        /// Position among the commit's conditions.
        index: usize,
    },
    /// There is no room. Commits that only settle or delete are tried from the reserve first.
    StorageFull,
}

/// A durable event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number.
    pub seq: Seq,
    /// Wall-clock milliseconds at which it was stored; never runs backwards.
    pub stored_at_ms: i64,
    /// Complete topic.
    pub topic: Arc<str>,
    /// Who published it.
    pub source: Arc<str>,
    /// Conversation, if order is asked.
    pub session: Option<Box<str>>,
    /// Wall-clock milliseconds after which it is not to be delivered.
    pub expires_at_ms: Option<i64>,
    /// The envelope as it will be delivered.
    pub envelope: Arc<[u8]>,
}

/// How much one read may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Most events to return.
    pub events: usize,
    /// Most envelope bytes to return; one event is always returned, however large.
    pub bytes: usize,
    /// Most log entries to look at, matching or not.
    pub scanned: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self {
            events: 256,
            bytes: 1 << 20,
            scanned: 16_384,
        }
    }
}

/// A bounded piece of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventPage {
    /// Matching events, oldest first.
    pub events: Vec<StoredEvent>,
    /// Everything up to here was looked at.
    pub next: Seq,
    /// Highest number given to an event so far.
    pub head: Seq,
}

/// A state entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
    /// `seq` of its last write.
    pub revision: Seq,
    /// Wall-clock milliseconds after which it reads as absent.
    pub expires_at_ms: Option<i64>,
}

/// Sizes and marks of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFacts {
    /// Highest number given to an event.
    pub head: Seq,
    /// Lowest number of an event that is still there, or 0.
    pub tail: Seq,
    /// Highest number of an event that was purged, or 0: every event above it is still there.
    pub purged: Seq,
    /// Bytes in use (pages that are not free).
    pub used_bytes: u64,
    /// Bytes of free pages inside the file.
    pub free_bytes: u64,
    /// Bytes of envelopes of events that are still there.
    pub event_bytes: u64,
}
