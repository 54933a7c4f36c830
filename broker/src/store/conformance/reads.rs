//! What readers see: events, pages, scans, marks, and all of it after a reopen.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "these are test cases"
)]

use std::sync::Mutex;

use super::{Fixture, START_MS, commit_of, delete, event, filters, put, seqs, state_of};
use crate::store::{Commit, ReadLimit, Seq, StateOp, StoreFacts, StoredEvent};

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
    assert_eq!(facts.purged, numbers[3], "above what is still there");
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
    assert_eq!(facts.purged, numbers[4]);
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
    let marks = |f: StoreFacts| (f.head, f.tail, f.purged, f.event_bytes);
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
