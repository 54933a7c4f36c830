//! What every store must do, as test cases that take any store.
//!
//! A backend is held to it with [`conformance_suite!`](crate::conformance_suite), which makes one
//! test per case. It is not about speed, power cuts or full disks: those need a real disk and have
//! tests of their own.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "these are test cases"
)]

mod commits;
mod reads;

pub use commits::*;
pub use reads::*;

use trunkline_contract::topic::Filter;

use super::{
    Batch, Commit, CommitError, DedupeWindow, Expect, NewEvent, OnConflict, ReadLimit, Reader,
    Receipt, Seq, StateOp, Store, StoredEvent,
};

/// The answers to a batch.
pub type Answers = Vec<Result<Receipt, CommitError>>;

/// Closes a store and opens what it left behind.
pub type Reopen = Box<dyn FnMut(Box<dyn Store>) -> Box<dyn Store>>;

/// An empty store under test. Made with [`WINDOW`].
pub struct Fixture {
    store: Option<Box<dyn Store>>,
    reopen: Reopen,
}

/// The dedupe window the cases count on.
pub const WINDOW: DedupeWindow = DedupeWindow {
    ids: 100,
    age_ms: 10_000,
};

/// When the cases begin, ms since the epoch.
pub const START_MS: i64 = 1_800_000_000_000;

impl Fixture {
    /// Wraps an empty store and the way to open it again.
    pub fn new(store: Box<dyn Store>, reopen: Reopen) -> Self {
        Self {
            store: Some(store),
            reopen,
        }
    }

    /// The store.
    pub fn store(&mut self) -> &mut dyn Store {
        self.store
            .as_mut()
            .expect("only absent while it is being reopened")
            .as_mut()
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self) {
        let store = self
            .store
            .take()
            .expect("only absent while it is being reopened");
        self.store = Some((self.reopen)(store));
    }

    /// Opens a reader.
    pub fn reader(&mut self) -> Box<dyn Reader> {
        self.store().reader().unwrap()
    }

    /// Commits at [`START_MS`].
    pub fn commit(&mut self, commits: Vec<Commit>) -> Answers {
        self.commit_at(START_MS, commits)
    }

    /// Commits at a time.
    pub fn commit_at(&mut self, now_ms: i64, commits: Vec<Commit>) -> Answers {
        self.store()
            .commit(Batch {
                commits,
                trailer: None,
                now_ms,
            })
            .unwrap()
    }

    fn one(&mut self, commit: Commit) -> Result<Receipt, CommitError> {
        self.commit(vec![commit]).remove(0)
    }

    fn publish(&mut self, event: NewEvent) -> (Seq, bool) {
        let receipt = self.one(commit_of(vec![event])).unwrap();
        (receipt.events[0].seq, receipt.events[0].duplicate)
    }

    fn all(&mut self) -> Vec<StoredEvent> {
        self.reader()
            .events(0, &filters(&[">"]), ReadLimit::default())
            .unwrap()
            .events
    }

    fn maintain_to_the_end(&mut self, now_ms: i64) {
        while self.store().maintain(now_ms).unwrap() {}
    }
}

/// Parses filters.
pub fn filters(texts: &[&str]) -> Vec<Filter> {
    texts
        .iter()
        .map(|text| Filter::parse(text).expect("the cases use valid filters"))
        .collect()
}

/// An event whose body follows from `payload`.
pub fn event(topic: &str, source: &str, id: &str, payload: &str) -> NewEvent {
    let mut body = [0; 16];
    for (i, byte) in payload.bytes().enumerate() {
        body[i % 16] ^= byte.rotate_left(i as u32 / 16) ^ (i as u8);
    }
    NewEvent {
        topic: topic.into(),
        source: source.into(),
        id: id.into(),
        body,
        session: None,
        expires_at_ms: None,
        on_conflict: OnConflict::Refuse,
        envelope: payload.as_bytes().into(),
    }
}

/// A write without a condition.
pub fn put(key: &str, value: &str) -> StateOp {
    StateOp {
        key: key.as_bytes().to_vec(),
        value: Some(value.as_bytes().to_vec()),
        expect: Expect::Any,
        expires_at_ms: None,
    }
}

/// A deletion without a condition.
pub fn delete(key: &str) -> StateOp {
    StateOp {
        value: None,
        ..put(key, "")
    }
}

fn commit_of(events: Vec<NewEvent>) -> Commit {
    Commit {
        events,
        ..Commit::default()
    }
}

fn state_of(state: Vec<StateOp>) -> Commit {
    Commit {
        state,
        ..Commit::default()
    }
}

fn seqs(events: &[StoredEvent]) -> Vec<Seq> {
    events.iter().map(|e| e.seq).collect()
}

/// Makes one test per case of the suite; the argument is a function that returns a
/// [`Fixture`](crate::store::conformance::Fixture).
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_suite!(@cases $make;
            events_come_back_as_they_were_stored
            numbers_rise_over_events_and_state_and_are_never_reused
            a_repeated_id_answers_with_the_first_number
            a_known_id_with_another_body_is_refused_or_kept
            ids_belong_to_their_source
            a_repeat_inside_one_commit_is_a_duplicate
            a_repeat_is_known_after_the_first_was_purged
            a_repeat_beyond_the_count_window_is_a_new_event
            a_repeat_beyond_the_age_window_is_a_new_event
            a_refused_commit_leaves_no_trace_and_its_neighbours_stand
            a_refused_commit_forgets_no_older_id
            conditions_are_checked_before_anything_is_written
            expectations_hold_or_refuse
            expired_state_reads_as_absent
            later_operations_of_a_commit_see_the_earlier_ones
            a_commit_sees_the_commits_before_it_in_the_batch
            the_trailer_learns_what_was_accepted_and_is_kept
            purged_events_are_gone_and_the_head_stays
            the_clock_never_runs_backwards
            pages_keep_their_limits
            a_sparse_filter_looks_past_what_does_not_match
            events_are_found_by_number
            scans_stay_inside_their_prefix
            a_time_finds_its_place_in_the_log
            maintenance_changes_nothing_one_can_see
            readers_on_other_threads_see_every_commit_that_returned
            everything_survives_a_reopen
            order_is_kept_over_ten_thousand_events
        );
    };
    (@cases $make:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::store::conformance::$case($make());
            }
        )*
    };
}
