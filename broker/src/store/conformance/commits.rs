//! What a batch does: ids, conditions, expectations, refusals, trailers.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "these are test cases"
)]

use std::sync::{Arc, Mutex};

use super::{Fixture, START_MS, WINDOW, commit_of, delete, event, put, seqs, state_of};
use crate::store::{
    Batch, Commit, CommitError, Condition, Expect, NewEvent, OnConflict, StateOp, Trailer,
};

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
