//! Random histories: the SQLite store must answer exactly as the memory store does.

use proptest::prelude::*;

use super::conformance::{START_MS, event, filters};
use super::memory::{MemoryOptions, MemoryStore};
use super::sqlite::{SqliteOptions, SqliteStore};
use super::{
    Batch, Commit, Condition, DedupeWindow, EventPage, Expect, NewEvent, OnConflict, ReadLimit,
    Reader, Seq, StateEntry, StateOp, Store, StoredEvent, Trailer,
};

/// Small enough that ids leave it all the time.
const WINDOW: DedupeWindow = DedupeWindow {
    ids: 6,
    age_ms: 400,
};

const TOPICS: [&str; 4] = ["a", "a.b", "a.b.c", "d.e"];

#[derive(Debug, Clone)]
enum Step {
    Batch {
        commits: Vec<Commit>,
        trailer: Option<u8>,
        after_ms: i64,
    },
    Maintain {
        after_ms: i64,
    },
    Reopen,
    Read {
        after: Seq,
        filter: usize,
        limit: ReadLimit,
    },
}

struct Positions(u8);

impl Trailer for Positions {
    fn state(&mut self, accepted: &[bool]) -> Vec<StateOp> {
        let count = accepted.iter().filter(|accepted| **accepted).count();
        (0..self.0)
            .map(|n| StateOp {
                key: vec![b'k', n],
                value: (count % 3 != 2).then(|| vec![count as u8, n]),
                expect: Expect::Any,
                expires_at_ms: None,
            })
            .collect()
    }
}

fn any_event() -> impl Strategy<Value = NewEvent> {
    let id = prop_oneof![
        (0..6u8).prop_map(|n| format!("0190f7a2-7c5b-7def-8123-45678900000{n}")),
        (0..6u8).prop_map(|n| format!("id {n}")),
    ];
    let expiry = prop_oneof![3 => Just(None), 1 => (0..900i64).prop_map(|ms| Some(START_MS + ms))];
    (
        id,
        0..TOPICS.len(),
        0..2u8,
        0..2u8,
        any::<bool>(),
        expiry,
        0..3u8,
    )
        .prop_map(
            |(id, topic, source, body, keeps, expires_at_ms, session)| NewEvent {
                session: (session > 0).then(|| format!("chat {session}").into()),
                expires_at_ms,
                on_conflict: if keeps {
                    OnConflict::KeepFirst
                } else {
                    OnConflict::Refuse
                },
                ..event(
                    TOPICS[topic],
                    &format!("s{source}"),
                    &id,
                    &"x".repeat(1 + body as usize * 90),
                )
            },
        )
}

fn any_expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        4 => Just(Expect::Any),
        2 => Just(Expect::Absent),
        2 => (1..40u64).prop_map(Expect::Revision),
    ]
}

fn any_op() -> impl Strategy<Value = StateOp> {
    let expiry = prop_oneof![2 => Just(None), 1 => (0..900i64).prop_map(|ms| Some(START_MS + ms))];
    (
        0..5u8,
        prop::option::weighted(0.8, 0..250u8),
        any_expect(),
        expiry,
    )
        .prop_map(|(key, value, expect, expires_at_ms)| StateOp {
            key: vec![b'k', key],
            value: value.map(|byte| vec![byte; byte as usize]),
            expect,
            expires_at_ms,
        })
}

fn any_commit() -> impl Strategy<Value = Commit> {
    let condition = (0..5u8, any_expect()).prop_map(|(key, expect)| Condition {
        key: vec![b'k', key],
        expect,
    });
    (
        prop::collection::vec(condition, 0..2),
        prop::collection::vec(any_event(), 0..5),
        prop::collection::vec(any_op(), 0..4),
        prop::collection::vec(1..60u64, 0..3),
    )
        .prop_map(|(conditions, events, state, purge)| Commit {
            conditions,
            events,
            state,
            purge,
        })
}

fn any_step() -> impl Strategy<Value = Step> {
    let commits = prop::collection::vec(any_commit(), 0..5);
    let limit =
        (0..20usize, 0..300usize, 0..30usize).prop_map(|(events, bytes, scanned)| ReadLimit {
            events,
            bytes,
            scanned,
        });
    prop_oneof![
        8 => (commits, prop::option::of(0..4u8), -20..60i64)
            .prop_map(|(commits, trailer, after_ms)| Step::Batch { commits, trailer, after_ms }),
        1 => (-20..300i64).prop_map(|after_ms| Step::Maintain { after_ms }),
        1 => Just(Step::Reopen),
        3 => (0..60u64, 0..5usize, limit)
            .prop_map(|(after, filter, limit)| Step::Read { after, filter, limit }),
    ]
}

fn read(
    reader: &mut dyn Reader,
    after: Seq,
    filter: usize,
    limit: ReadLimit,
) -> (EventPage, u64, Vec<StoredEvent>) {
    let filters = filters(match filter {
        0 => &[">"],
        1 => &["a.>", "a.b"],
        2 => &["d.*"],
        3 => &["a"],
        _ => &[],
    });
    (
        reader.events(after, &filters, limit).unwrap(),
        reader.count(after, &filters).unwrap(),
        reader.events_at(&[after + 3, after, after + 1]).unwrap(),
    )
}

type Seen = (
    Vec<StateEntry>,
    Option<StateEntry>,
    EventPage,
    Vec<Seq>,
    [u64; 4],
);

fn see(reader: &mut dyn Reader, now_ms: i64) -> Seen {
    let facts = reader.facts().unwrap();
    (
        reader.scan(b"k", None, 100, now_ms).unwrap(),
        reader.get(b"k\x01", now_ms).unwrap(),
        reader
            .events(0, &filters(&[">"]), ReadLimit::default())
            .unwrap(),
        (-1..5)
            .map(|i| reader.seq_before(START_MS + i * 100).unwrap())
            .collect(),
        [facts.head, facts.tail, facts.purged, facts.event_bytes],
    )
}

fn batch(commits: &[Commit], trailer: Option<u8>, now_ms: i64) -> Batch {
    let trailer = trailer.map(|n| Box::new(Positions(n)) as Box<dyn Trailer>);
    Batch {
        commits: commits.to_vec(),
        trailer,
        now_ms,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Proves Q5 (store part): whatever is committed together happens together, or not at all, in
    /// both stores alike, through conflicts, expiry, purges, housekeeping and reopens.
    #[test]
    fn sqlite_answers_as_the_memory_model_does(steps in prop::collection::vec(any_step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions {
            dedupe: WINDOW,
            reserve_bytes: 0,
            checkpoint_pages: 20,
            ..SqliteOptions::default()
        };
        let open = || SqliteStore::open_dir(dir.path(), options).unwrap();
        let mut slot = Some(open());
        let mut memory = MemoryStore::new(MemoryOptions { dedupe: WINDOW, max_bytes: None });
        let mut reader = slot.as_ref().unwrap().reader().unwrap();
        let mut model_reader = memory.reader().unwrap();
        let mut now_ms = START_MS;
        for step in &steps {
            let store = slot.as_mut().unwrap();
            match step {
                Step::Batch { commits, trailer, after_ms } => {
                    now_ms += after_ms;
                    let expected = memory.commit(batch(commits, *trailer, now_ms)).unwrap();
                    let found = store.commit(batch(commits, *trailer, now_ms)).unwrap();
                    prop_assert_eq!(found, expected);
                }
                Step::Maintain { after_ms } => {
                    let at_ms = now_ms + after_ms;
                    while memory.maintain(at_ms).unwrap() {}
                    while store.maintain(at_ms).unwrap() {}
                }
                Step::Reopen => {
                    drop(slot.take());
                    slot = Some(open());
                    reader = slot.as_ref().unwrap().reader().unwrap();
                }
                Step::Read { after, filter, limit } => {
                    let expected = read(&mut *model_reader, *after, *filter, *limit);
                    let found = read(&mut *reader, *after, *filter, *limit);
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(see(&mut *reader, now_ms), see(&mut *model_reader, now_ms));
        }
    }
}
