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

use std::sync::{Arc, Mutex};

use trunkline_contract::topic::Filter;

use super::{
    Batch, Commit, CommitError, Condition, DedupeWindow, Expect, NewEvent, OnConflict, ReadLimit,
    Reader, Receipt, Seq, StateOp, Store, StoredEvent, Trailer,
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

/// Every field of an event is kept, for ids of every form.
pub fn events_come_back_as_they_were_stored(mut f: Fixture) {
    let ids = [
        "0190f7a2-7c5b-7def-8123-456789abcdef",
        "0190F7A2-7C5B-7DEF-8123-456789ABCDEF",
        "x",
    ];
    let mut expected = Vec::new();
    for (i, id) in ids.into_iter().enumerate() {
        let mut new = event(&format!("a.{i}"), "plugin/p", id, &format!("{{\"n\":{i}}}"));
        if i == 1 {
            new.session = Some("chat 7".into());
            new.expires_at_ms = Some(START_MS + 5);
        }
        let (seq, duplicate) = f.publish(new.clone());
        assert!(!duplicate);
        expected.push(StoredEvent {
            seq,
            stored_at_ms: START_MS,
            topic: new.topic,
            source: new.source,
            session: new.session,
            expires_at_ms: new.expires_at_ms,
            envelope: new.envelope,
        });
    }
    assert_eq!(f.all(), expected);
    f.reopen();
    assert_eq!(f.all(), expected);
}

/// One counter numbers everything, through purges and reopens.
pub fn numbers_rise_over_events_and_state_and_are_never_reused(mut f: Fixture) {
    let mut last = 0;
    for round in 0..4 {
        let commit = Commit {
            events: vec![event("t", "s", &format!("{round}"), "{}")],
            state: vec![put("k", "v"), delete("k")],
            ..Commit::default()
        };
        let receipt = f.one(commit).unwrap();
        let numbers = [
            receipt.events[0].seq,
            receipt.revisions[0],
            receipt.revisions[1],
        ];
        for number in numbers {
            assert!(number > last, "{number} after {last}");
            last = number;
        }
        let purge = vec![numbers[0]];
        f.one(Commit {
            purge,
            ..Commit::default()
        })
        .unwrap();
        assert!(f.all().is_empty());
        if round % 2 == 0 {
            f.reopen();
        }
    }
}

/// The same (source, id) with the same body is stored once.
pub fn a_repeated_id_answers_with_the_first_number(mut f: Fixture) {
    let (first, _) = f.publish(event("t", "s", "id", "{}"));
    assert_eq!(f.publish(event("t", "s", "id", "{}")), (first, true));
    f.reopen();
    assert_eq!(f.publish(event("t", "s", "id", "{}")), (first, true));
    assert_eq!(f.all().len(), 1);
}

/// Another body under a known id is an error, unless the publisher asked to keep the first.
pub fn a_known_id_with_another_body_is_refused_or_kept(mut f: Fixture) {
    let (seq, _) = f.publish(event("t", "s", "id", "1"));
    let other = event("t", "s", "id", "2");
    let answer = f.one(commit_of(vec![event("t", "s", "new", "n"), other.clone()]));
    assert_eq!(answer, Err(CommitError::IdConflict { index: 1, seq }));
    let keep = NewEvent {
        on_conflict: OnConflict::KeepFirst,
        ..other
    };
    assert_eq!(f.publish(keep), (seq, true));
    assert_eq!(f.all().len(), 1);
    assert_eq!(&*f.all()[0].envelope, b"1");
}

/// Two sources may use the same id.
pub fn ids_belong_to_their_source(mut f: Fixture) {
    let (a, _) = f.publish(event("t", "a", "id", "1"));
    let (b, duplicate) = f.publish(event("t", "b", "id", "2"));
    assert!(b > a && !duplicate);
}

/// Repeats are found inside the commit that stores the first.
pub fn a_repeat_inside_one_commit_is_a_duplicate(mut f: Fixture) {
    let twice = vec![event("t", "s", "id", "1"), event("t", "s", "id", "1")];
    let receipt = f.one(commit_of(twice)).unwrap();
    assert_eq!(receipt.events[0].seq, receipt.events[1].seq);
    assert_eq!(
        (receipt.events[0].duplicate, receipt.events[1].duplicate),
        (false, true)
    );
    let conflict = vec![event("t", "s", "b", "1"), event("t", "s", "b", "2")];
    let answer = f.one(commit_of(conflict));
    assert!(
        matches!(answer, Err(CommitError::IdConflict { index: 1, .. })),
        "{answer:?}"
    );
    assert!(!f.publish(event("t", "s", "b", "2")).1);
}

/// Retention does not make a repeat new.
pub fn a_repeat_is_known_after_the_first_was_purged(mut f: Fixture) {
    let (seq, _) = f.publish(event("t", "s", "id", "1"));
    f.one(Commit {
        purge: vec![seq],
        ..Commit::default()
    })
    .unwrap();
    assert_eq!(f.publish(event("t", "s", "id", "1")), (seq, true));
}

/// The window counts new events of the source, and only those.
pub fn a_repeat_beyond_the_count_window_is_a_new_event(mut f: Fixture) {
    let (first, _) = f.publish(event("t", "s", "first", "1"));
    for i in 0..WINDOW.ids - 1 {
        f.publish(event("t", "s", &format!("{i}"), "1"));
        f.publish(event("t", "other", &format!("{i}"), "1"));
        f.publish(event("t", "s", &format!("{i}"), "1"));
    }
    f.maintain_to_the_end(START_MS);
    assert_eq!(f.publish(event("t", "s", "first", "1")), (first, true));
    f.publish(event("t", "s", "one more", "1"));
    let (again, duplicate) = f.publish(event("t", "s", "first", "2"));
    assert!(again > first && !duplicate);
    f.reopen();
    assert_eq!(f.publish(event("t", "s", "first", "2")), (again, true));
    for i in 0..WINDOW.ids - 1 {
        f.publish(event("t", "s", &format!("later {i}"), "1"));
        f.maintain_to_the_end(START_MS);
    }
    assert_eq!(f.publish(event("t", "s", "first", "2")), (again, true));
}

/// The window is as long as it says, to the millisecond.
pub fn a_repeat_beyond_the_age_window_is_a_new_event(mut f: Fixture) {
    let new = || vec![commit_of(vec![event("t", "s", "id", "1")])];
    let first = f.commit_at(START_MS, new()).remove(0).unwrap().events[0].seq;
    let edge = START_MS + WINDOW.age_ms;
    f.maintain_to_the_end(edge + 1_000_000);
    let known = f.commit_at(edge, new()).remove(0).unwrap().events[0];
    assert_eq!((known.seq, known.duplicate), (first, true));
    let fresh = f.commit_at(edge + 1, new()).remove(0).unwrap().events[0];
    assert!(fresh.seq > first && !fresh.duplicate);
}

/// A commit happens whole or not at all, and alone.
pub fn a_refused_commit_leaves_no_trace_and_its_neighbours_stand(mut f: Fixture) {
    f.one(state_of(vec![put("taken", "1")])).unwrap();
    let absent = StateOp {
        expect: Expect::Absent,
        ..put("taken", "2")
    };
    let answers = f.commit(vec![
        commit_of(vec![event("t", "s", "before", "1")]),
        Commit {
            events: vec![event("t", "s", "lost", "1"), event("u", "v", "lost", "1")],
            state: vec![put("new", "1"), absent],
            ..Commit::default()
        },
        commit_of(vec![event("t", "s", "after", "1")]),
    ]);
    let (before, after) = (answers[0].as_ref().unwrap(), answers[2].as_ref().unwrap());
    let refused = answers[1].as_ref().unwrap_err();
    assert!(matches!(
        refused,
        CommitError::RevisionConflict {
            index: 1,
            found: Some(_)
        }
    ));
    assert_eq!(
        seqs(&f.all()),
        vec![before.events[0].seq, after.events[0].seq]
    );
    assert!(f.reader().get(b"new", START_MS).unwrap().is_none());
    assert_eq!(
        f.reader().get(b"taken", START_MS).unwrap().unwrap().value,
        b"1"
    );
    assert!(
        !f.publish(event("t", "s", "lost", "2")).1,
        "a refused id may come again, changed"
    );
}

/// What a refused commit would have pushed out of the window is still known.
pub fn a_refused_commit_forgets_no_older_id(mut f: Fixture) {
    let (first, _) = f.publish(event("t", "s", "first", "1"));
    for i in 0..WINDOW.ids - 1 {
        f.publish(event("t", "s", &format!("{i}"), "1"));
    }
    // The first new event pushes `first` out, so the second is new as well; then the third conflicts.
    let (new, again) = (event("t", "s", "new", "1"), event("t", "s", "first", "2"));
    let answer = f.one(commit_of(vec![new, again, event("t", "s", "50", "2")]));
    assert!(
        matches!(answer, Err(CommitError::IdConflict { index: 2, .. })),
        "{answer:?}"
    );
    f.maintain_to_the_end(START_MS);
    assert_eq!(f.publish(event("t", "s", "first", "1")), (first, true));
}

/// A condition on a key that the commit does not write fences the whole commit.
pub fn conditions_are_checked_before_anything_is_written(mut f: Fixture) {
    let revision = f.one(state_of(vec![put("lock", "me")])).unwrap().revisions[0];
    let guarded = |expect, id: &str| Commit {
        conditions: vec![Condition {
            key: b"lock".to_vec(),
            expect,
        }],
        events: vec![event("t", "s", id, "1")],
        ..Commit::default()
    };
    f.one(guarded(Expect::Revision(revision), "a")).unwrap();
    f.one(guarded(Expect::Any, "b")).unwrap();
    let failed = Err(CommitError::ConditionFailed { index: 0 });
    assert_eq!(f.one(guarded(Expect::Absent, "c")), failed);
    f.one(state_of(vec![put("lock", "you")])).unwrap();
    assert_eq!(f.one(guarded(Expect::Revision(revision), "d")), failed);
    f.one(state_of(vec![delete("lock")])).unwrap();
    assert_eq!(f.one(guarded(Expect::Revision(revision), "e")), failed);
    f.one(guarded(Expect::Absent, "f")).unwrap();
    assert_eq!(f.all().len(), 3);
}

/// Absent, a revision, anything.
pub fn expectations_hold_or_refuse(mut f: Fixture) {
    let op = |expect, value: &str| {
        state_of(vec![StateOp {
            expect,
            ..put("k", value)
        }])
    };
    let first = f.one(op(Expect::Absent, "1")).unwrap().revisions[0];
    let conflict = |found| Err(CommitError::RevisionConflict { index: 0, found });
    assert_eq!(f.one(op(Expect::Absent, "2")), conflict(Some(first)));
    let second = f.one(op(Expect::Revision(first), "3")).unwrap().revisions[0];
    assert_eq!(
        f.one(op(Expect::Revision(first), "4")),
        conflict(Some(second))
    );
    let remove = StateOp {
        expect: Expect::Revision(second),
        ..delete("k")
    };
    f.one(state_of(vec![remove.clone()])).unwrap();
    assert_eq!(f.one(state_of(vec![remove])), conflict(None));
    f.one(state_of(vec![delete("k")])).unwrap();
    assert!(f.reader().get(b"k", START_MS).unwrap().is_none());
}

/// Expiry holds for readers, expectations and conditions, before and after maintenance.
pub fn expired_state_reads_as_absent(mut f: Fixture) {
    let until = START_MS + 100;
    let op = StateOp {
        expires_at_ms: Some(until),
        ..put("k", "1")
    };
    let revision = f.one(state_of(vec![op])).unwrap().revisions[0];
    let found = f.reader().get(b"k", until).unwrap().unwrap();
    assert_eq!(
        (found.revision, found.expires_at_ms),
        (revision, Some(until))
    );
    assert!(f.reader().get(b"k", until + 1).unwrap().is_none());
    assert_eq!(f.reader().scan(b"", None, 9, until).unwrap().len(), 1);
    assert_eq!(f.reader().scan(b"", None, 9, until + 1).unwrap().len(), 0);
    let stale = StateOp {
        expect: Expect::Revision(revision),
        ..put("k", "2")
    };
    let answer = f
        .commit_at(until + 1, vec![state_of(vec![stale])])
        .remove(0);
    assert_eq!(
        answer,
        Err(CommitError::RevisionConflict {
            index: 0,
            found: None
        })
    );
    let fresh = StateOp {
        expect: Expect::Absent,
        ..put("k", "3")
    };
    f.commit_at(until + 1, vec![state_of(vec![fresh])])
        .remove(0)
        .unwrap();
    f.maintain_to_the_end(until + 1_000_000);
    assert_eq!(
        f.reader()
            .get(b"k", until + 1_000_000)
            .unwrap()
            .unwrap()
            .value,
        b"3"
    );
}

/// Operations of a commit apply in order.
pub fn later_operations_of_a_commit_see_the_earlier_ones(mut f: Fixture) {
    let absent = StateOp {
        expect: Expect::Absent,
        ..put("k", "1")
    };
    let receipt = f
        .one(state_of(vec![absent.clone(), delete("k"), absent.clone()]))
        .unwrap();
    let found = Some(receipt.revisions[2]);
    assert_eq!(
        f.reader().get(b"k", START_MS).unwrap().unwrap().revision,
        receipt.revisions[2]
    );
    let next = receipt.revisions[2] + 1;
    let revised = StateOp {
        expect: Expect::Revision(next),
        ..put("k", "3")
    };
    f.one(state_of(vec![put("k", "2"), revised])).unwrap();
    let answer = f.one(state_of(vec![delete("k"), absent, delete("j")]));
    assert!(answer.is_ok() && found < Some(next), "{answer:?}");
}

/// Commits of a batch apply in order.
pub fn a_commit_sees_the_commits_before_it_in_the_batch(mut f: Fixture) {
    let absent = state_of(vec![StateOp {
        expect: Expect::Absent,
        ..put("k", "1")
    }]);
    let publish = commit_of(vec![event("t", "s", "id", "1")]);
    let answers = f.commit(vec![absent.clone(), absent, publish.clone(), publish]);
    let revision = answers[0].as_ref().unwrap().revisions[0];
    let found = Some(revision);
    assert_eq!(
        answers[1],
        Err(CommitError::RevisionConflict { index: 0, found })
    );
    let (first, second) = (answers[2].as_ref().unwrap(), answers[3].as_ref().unwrap());
    assert_eq!(first.events[0].seq, second.events[0].seq);
    assert!(second.events[0].duplicate);
}

struct Recorder(Arc<Mutex<Vec<Vec<bool>>>>);

impl Trailer for Recorder {
    fn state(&mut self, accepted: &[bool]) -> Vec<StateOp> {
        self.0.lock().unwrap().push(accepted.to_vec());
        vec![put("position", &format!("{accepted:?}"))]
    }
}

/// The trailer is asked once, last, and its state is durable with the batch.
pub fn the_trailer_learns_what_was_accepted_and_is_kept(mut f: Fixture) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let absent = state_of(vec![StateOp {
        expect: Expect::Absent,
        ..put("k", "1")
    }]);
    let batch = Batch {
        commits: vec![absent.clone(), absent],
        trailer: Some(Box::new(Recorder(Arc::clone(&asked)))),
        now_ms: START_MS,
    };
    let answers = f.store().commit(batch).unwrap();
    assert_eq!(*asked.lock().unwrap(), vec![vec![true, false]]);
    f.reopen();
    let entry = f.reader().get(b"position", START_MS).unwrap().unwrap();
    assert_eq!(entry.value, b"[true, false]");
    assert!(entry.revision > answers[0].as_ref().unwrap().revisions[0]);
}

/// Purging forgets events, not numbers.
pub fn purged_events_are_gone_and_the_head_stays(mut f: Fixture) {
    let numbers: Vec<Seq> = (0..5)
        .map(|i| f.publish(event("t", "s", &format!("{i}"), "12345")).0)
        .collect();
    let purge = vec![numbers[0], numbers[1], numbers[3], 9_999];
    f.one(Commit {
        purge,
        ..Commit::default()
    })
    .unwrap();
    assert_eq!(seqs(&f.all()), vec![numbers[2], numbers[4]]);
    let facts = f.reader().facts().unwrap();
    assert_eq!(
        (facts.tail, facts.head, facts.event_bytes),
        (numbers[2], numbers[4], 10)
    );
    f.one(Commit {
        purge: vec![numbers[2], numbers[4]],
        ..Commit::default()
    })
    .unwrap();
    f.reopen();
    let facts = f.reader().facts().unwrap();
    assert_eq!(
        (facts.tail, facts.head, facts.event_bytes),
        (0, numbers[4], 0)
    );
    let page = f
        .reader()
        .events(0, &filters(&[">"]), ReadLimit::default())
        .unwrap();
    assert_eq!(
        (page.events.len(), page.next, page.head),
        (0, numbers[4], numbers[4])
    );
    assert!(f.publish(event("t", "s", "new", "1")).0 > numbers[4]);
}

/// `stored_at` follows the order of the log, whatever the wall clock does.
pub fn the_clock_never_runs_backwards(mut f: Fixture) {
    let at = |f: &mut Fixture, ms, id: &str| {
        f.commit_at(ms, vec![commit_of(vec![event("t", "s", id, "1")])])
            .remove(0)
            .unwrap();
        f.all().last().unwrap().stored_at_ms
    };
    assert_eq!(at(&mut f, START_MS + 50, "a"), START_MS + 50);
    assert_eq!(at(&mut f, START_MS, "b"), START_MS + 50);
    f.reopen();
    assert_eq!(at(&mut f, START_MS - 999, "c"), START_MS + 50);
    assert_eq!(at(&mut f, START_MS + 51, "d"), START_MS + 51);
}

/// Events, bytes and scanned entries each end a page; one event always fits.
pub fn pages_keep_their_limits(mut f: Fixture) {
    let size = 1000;
    let numbers: Vec<Seq> = (0..10)
        .map(|i| {
            f.publish(event("t", "s", &format!("{i}"), &"x".repeat(size)))
                .0
        })
        .collect();
    let head = *numbers.last().unwrap();
    let mut reader = f.reader();
    let mut read = |after, limit| reader.events(after, &filters(&["t"]), limit).unwrap();
    let base = ReadLimit::default();
    let page = read(0, ReadLimit { events: 3, ..base });
    assert_eq!(
        (page.events.len(), page.next, page.head),
        (3, numbers[2], head)
    );
    let page = read(
        page.next,
        ReadLimit {
            bytes: 2 * size + 1,
            ..base
        },
    );
    assert_eq!(
        (seqs(&page.events), page.next),
        (numbers[3..5].to_vec(), numbers[4])
    );
    let page = read(page.next, ReadLimit { bytes: 0, ..base });
    assert_eq!(
        (seqs(&page.events), page.next),
        (vec![numbers[5]], numbers[5])
    );
    let page = read(page.next, ReadLimit { scanned: 2, ..base });
    assert_eq!((page.events.len(), page.next), (2, numbers[7]));
    let page = read(page.next, base);
    assert_eq!((page.events.len(), page.next), (2, head));
    let page = read(head, base);
    assert_eq!((page.events.len(), page.next), (0, head));
    let page = read(
        numbers[8],
        ReadLimit {
            events: 1,
            scanned: 1,
            ..base
        },
    );
    assert_eq!((page.events.len(), page.next), (1, head));
    let page = read(head + 5, base);
    assert_eq!(
        (page.events.len(), page.next, page.head),
        (0, head + 5, head)
    );
}

/// Entries that do not match are passed over, and counted as looked at.
pub fn a_sparse_filter_looks_past_what_does_not_match(mut f: Fixture) {
    let mut wanted = Vec::new();
    for i in 0..100 {
        let topic = if i % 40 == 39 {
            "rare.one".to_owned()
        } else {
            format!("often.{}", i % 7)
        };
        let (seq, _) = f.publish(event(&topic, "s", &format!("{i}"), "payload"));
        if i % 40 == 39 {
            wanted.push(seq);
        }
    }
    let mut reader = f.reader();
    let rare = filters(&["nothing", "rare.*"]);
    let page = reader.events(0, &rare, ReadLimit::default()).unwrap();
    assert_eq!((seqs(&page.events), page.next), (wanted.clone(), page.head));
    let page = reader
        .events(
            0,
            &rare,
            ReadLimit {
                scanned: 10,
                ..ReadLimit::default()
            },
        )
        .unwrap();
    assert!(page.events.is_empty() && page.next < wanted[0] && page.next > 0);
    assert_eq!(reader.count(0, &rare).unwrap(), 2);
    assert_eq!(reader.count(wanted[0], &rare).unwrap(), 1);
    assert_eq!(
        reader.count(0, &filters(&["often.>", "rare.one"])).unwrap(),
        100
    );
    assert_eq!(reader.count(0, &[]).unwrap(), 0);
    let page = reader
        .events(0, &filters(&["often.3"]), ReadLimit::default())
        .unwrap();
    assert!(page.events.iter().all(|e| &*e.topic == "often.3") && page.events.len() > 10);
}

/// Events are read by number in the order asked.
pub fn events_are_found_by_number(mut f: Fixture) {
    let numbers: Vec<Seq> = (0..4)
        .map(|i| f.publish(event("t", "s", &format!("{i}"), "1")).0)
        .collect();
    f.one(Commit {
        purge: vec![numbers[1]],
        ..Commit::default()
    })
    .unwrap();
    let asked = [numbers[3], numbers[1], 77_777, numbers[0]];
    let found = f.reader().events_at(&asked).unwrap();
    assert_eq!(seqs(&found), vec![numbers[3], numbers[0]]);
}

/// Scans go in key order, page by key, and end with their prefix, also at the end of all keys.
pub fn scans_stay_inside_their_prefix(mut f: Fixture) {
    let keys: [&[u8]; 7] = [b"a", b"a\0", b"a/1", b"a/2", b"b", b"\xff", b"\xff\xff"];
    for key in keys {
        let op = StateOp {
            key: key.to_vec(),
            ..put("", "v")
        };
        f.one(state_of(vec![op])).unwrap();
    }
    let mut reader = f.reader();
    let mut scan = |prefix: &[u8], after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
        let found = reader.scan(prefix, after, limit, START_MS).unwrap();
        found.into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(scan(b"", None, 99), keys);
    assert_eq!(scan(b"a", None, 99), keys[..4]);
    assert_eq!(scan(b"a", Some(b"a"), 2), keys[1..3]);
    assert_eq!(scan(b"a/", None, 99), keys[2..4]);
    assert_eq!(scan(b"a/", Some(b"a"), 99), keys[2..4]);
    assert_eq!(scan(b"a/", Some(b"a/1"), 99), keys[3..4]);
    assert_eq!(scan(b"a/", Some(b"b"), 99), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"\xff", None, 99), keys[5..]);
    assert_eq!(scan(b"\xff", Some(b"\xff"), 99), keys[6..]);
    assert_eq!(scan(b"c", None, 99), Vec::<Vec<u8>>::new());
    assert_eq!(scan(b"", None, 0), Vec::<Vec<u8>>::new());
}

/// The wall clock finds a place in the log.
pub fn a_time_finds_its_place_in_the_log(mut f: Fixture) {
    assert_eq!(f.reader().seq_before(START_MS).unwrap(), 0);
    let mut numbers = Vec::new();
    for i in 0..40 {
        let new = vec![commit_of(vec![event("t", "s", &format!("{i}"), "1")])];
        let answer = f.commit_at(START_MS + i / 4 * 10, new).remove(0).unwrap();
        numbers.push(answer.events[0].seq);
    }
    let mut reader = f.reader();
    assert_eq!(reader.seq_before(START_MS).unwrap(), 0);
    assert_eq!(reader.seq_before(START_MS + 1).unwrap(), numbers[3]);
    assert_eq!(reader.seq_before(START_MS + 10).unwrap(), numbers[3]);
    assert_eq!(reader.seq_before(START_MS + 35).unwrap(), numbers[15]);
    assert_eq!(reader.seq_before(i64::MAX).unwrap(), numbers[39]);
    f.one(Commit {
        purge: numbers[..8].to_vec(),
        ..Commit::default()
    })
    .unwrap();
    assert_eq!(f.reader().seq_before(START_MS + 11).unwrap(), 0);
}

/// Maintenance removes only what already reads as absent.
pub fn maintenance_changes_nothing_one_can_see(mut f: Fixture) {
    for i in 0..500 {
        let commit = Commit {
            events: vec![event(
                "t",
                &format!("s{}", i % 3),
                &format!("{i}"),
                "payload",
            )],
            state: vec![StateOp {
                expires_at_ms: (i % 2 == 0).then_some(START_MS + i),
                ..put(&format!("k{i:03}"), "v")
            }],
            ..Commit::default()
        };
        f.one(commit).unwrap();
    }
    let now_ms = START_MS + 250;
    let see = |f: &mut Fixture| {
        let mut reader = f.reader();
        let state = reader.scan(b"", None, 9999, now_ms).unwrap();
        let all = ReadLimit {
            events: 9999,
            ..ReadLimit::default()
        };
        (state, reader.events(0, &filters(&[">"]), all).unwrap())
    };
    let before = see(&mut f);
    assert_eq!((before.0.len(), before.1.events.len()), (250 + 125, 500));
    f.maintain_to_the_end(now_ms);
    assert_eq!(see(&mut f), before);
    f.reopen();
    assert_eq!(see(&mut f), before);
}

/// A reader made before a commit, on another thread, sees the commit once it has returned.
pub fn readers_on_other_threads_see_every_commit_that_returned(mut f: Fixture) {
    let reader = Mutex::new(f.reader());
    for i in 0..20 {
        let (seq, _) = f.publish(event("t", "s", &format!("{i}"), "1"));
        let seen = std::thread::scope(|scope| {
            let read = || {
                let mut reader = reader.lock().unwrap();
                reader
                    .events(seq - 1, &filters(&["t"]), ReadLimit::default())
                    .unwrap()
            };
            scope.spawn(read).join().unwrap()
        });
        assert_eq!((seqs(&seen.events), seen.head), (vec![seq], seq));
    }
}

/// Events, state, ids and facts are there after a close.
pub fn everything_survives_a_reopen(mut f: Fixture) {
    for i in 0..50 {
        let commit = Commit {
            events: vec![event(&format!("t.{i}"), "s", &format!("{i}"), "payload")],
            state: vec![put(&format!("k{i}"), "v")],
            ..Commit::default()
        };
        f.one(commit).unwrap();
    }
    let events = f.all();
    let state = f.reader().scan(b"k", None, 100, START_MS).unwrap();
    let facts = f.reader().facts().unwrap();
    f.reopen();
    assert_eq!(f.all(), events);
    assert_eq!(f.reader().scan(b"k", None, 100, START_MS).unwrap(), state);
    let again = f.reader().facts().unwrap();
    let marks = |f: super::StoreFacts| (f.head, f.tail, f.event_bytes);
    assert_eq!(marks(again), marks(facts));
    assert_eq!(
        f.publish(event("t.7", "s", "7", "payload")),
        (events[7].seq, true)
    );
}

/// Proves Q2 (store part): what was queued before a start is read fully and in order, page by page.
pub fn order_is_kept_over_ten_thousand_events(mut f: Fixture) {
    let total = 10_000;
    for chunk in 0..total / 100 {
        let commits = (0..100)
            .map(|i| {
                let n = chunk * 100 + i;
                let mut new = event("t", "s", &format!("{n}"), &n.to_string());
                new.session = Some(format!("chat {}", n % 10).into());
                commit_of(vec![new])
            })
            .collect();
        assert!(f.commit(commits).iter().all(Result::is_ok));
    }
    f.reopen();
    let mut reader = f.reader();
    let (mut after, mut n) = (0, 0);
    loop {
        let page = reader
            .events(after, &filters(&["t"]), ReadLimit::default())
            .unwrap();
        for event in &page.events {
            assert!(event.seq > after);
            after = event.seq;
            assert_eq!(*event.envelope, *n.to_string().as_bytes());
            n += 1;
        }
        after = page.next;
        if page.events.is_empty() {
            break;
        }
    }
    assert_eq!(n, total);
}
