//! What only a store on a disk must do.

use std::path::Path;

use super::*;
use crate::store::conformance::{Fixture, START_MS, WINDOW, delete, event, filters, put};
use crate::store::{Batch, Commit, CommitError, ReadLimit, StateOp, Store};

fn options() -> SqliteOptions {
    SqliteOptions {
        dedupe: WINDOW,
        reserve_bytes: 256 << 10,
        ..SqliteOptions::default()
    }
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open_dir(dir, options()).unwrap()
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let reopen = move |store: Box<dyn Store>| {
        drop(store);
        Box::new(open(dir.path())) as Box<dyn Store>
    };
    Fixture::new(Box::new(store), Box::new(reopen))
}

crate::conformance_suite!(fixture);

fn publish(id: &str, payload: &str) -> Commit {
    Commit {
        events: vec![event("t", "s", id, payload)],
        ..Commit::default()
    }
}

fn state(ops: Vec<StateOp>) -> Commit {
    Commit {
        state: ops,
        ..Commit::default()
    }
}

fn commit(
    store: &mut SqliteStore,
    commits: Vec<Commit>,
) -> Vec<Result<crate::store::Receipt, CommitError>> {
    store
        .commit(Batch {
            commits,
            trailer: None,
            now_ms: START_MS,
        })
        .unwrap()
}

/// Copies what a crash at this moment would leave on the disk.
fn crash_copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        let to = copy.path().join(name);
        std::fs::copy(from.join(name), &to).unwrap();
        // What a crashed daemon leaves has long been written; opening must not pay for the copy.
        std::fs::File::options()
            .append(true)
            .open(&to)
            .unwrap()
            .sync_all()
            .unwrap();
    }
    copy
}

fn integrity(store: &SqliteStore) -> String {
    store
        .conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_second_opener_is_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = SqliteStore::open_dir(dir.path(), options()).err().unwrap();
    let own = std::process::id();
    let OpenError::Lock(LockError::Held { pid, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(*pid, Some(own));
    assert!(
        error
            .to_string()
            .ends_with(&format!("is held by process {own}")),
        "{error}"
    );
    drop(store);
    open(dir.path());
}

#[test]
fn the_file_is_ours_and_laid_out_as_promised() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let read = |name: &str| -> i64 {
        store
            .conn
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(read("page_size"), 4096);
    assert_eq!(read("auto_vacuum"), 2);
    assert_eq!(read("synchronous"), 2);
    assert_eq!(read("application_id"), 0x5452_4b4c);
    assert_eq!(read("user_version"), 2);
    let mode: String = store
        .conn
        .query_row("PRAGMA journal_mode", [], |r| r.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_newer_store_is_refused_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.conn.pragma_update(None, "user_version", 7).unwrap();
    drop(store);
    let error = SqliteStore::open_dir(dir.path(), options()).err().unwrap();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 7,
                supported: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("expected store version 2 or older"),
        "{error}"
    );
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
        .unwrap();
    drop(conn);
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open_dir(dir.path(), options()).err().unwrap();
    assert!(
        matches!(error, OpenError::Foreign { found: 0, .. }),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Proves Q1 (store part): what `commit` answered for is there after a crash at that moment.
#[test]
fn every_answered_commit_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for round in 0..30 {
        let commits: Vec<Commit> = (0..20)
            .map(|i| publish(&format!("{round} {i}"), &"x".repeat(200 * i)))
            .collect();
        assert!(commit(&mut store, commits).iter().all(Result::is_ok));
        commit(
            &mut store,
            vec![state(vec![put("round", &round.to_string())])],
        );
        let copy = crash_copy(dir.path());
        let recovered = open(copy.path());
        assert_eq!(integrity(&recovered), "ok");
        let mut reader = recovered.reader().unwrap();
        assert_eq!(reader.count(0, &filters(&["t"])).unwrap(), 20 * (round + 1));
        let value = reader.get(b"round", START_MS).unwrap().unwrap().value;
        assert_eq!(value, round.to_string().as_bytes());
        assert_eq!(recovered.marks, store.marks);
    }
}

/// Proves O7 (store part): a full store refuses events with a typed error, still settles, is not
/// damaged, and takes events again once something was purged.
#[test]
fn a_full_store_still_settles_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        max_bytes: Some(1 << 20),
        ..options()
    };
    let mut store = SqliteStore::open_dir(dir.path(), options).unwrap();
    let payload = "x".repeat(3000);
    let mut stored = Vec::new();
    for i in 0.. {
        // The settlement beside the event must not share its fate.
        let settle = state(vec![put("position", &i.to_string()), delete("none")]);
        let batch = vec![publish(&format!("{i}"), &payload), settle];
        let answers = commit(&mut store, batch);
        assert!(answers[1].is_ok(), "settling failed with {:?}", answers[1]);
        match &answers[0] {
            Ok(receipt) => stored.push(receipt.events[0].seq),
            Err(error) => {
                assert_eq!(*error, CommitError::StorageFull);
                break;
            }
        }
    }
    assert!(stored.len() > 200, "only {} events fitted", stored.len());
    assert_eq!(integrity(&store), "ok");
    for i in 0..500 {
        let settle = state(vec![put(&format!("settled {}", i % 20), "something small")]);
        assert!(commit(&mut store, vec![settle])[0].is_ok());
        let again = commit(&mut store, vec![publish("too much", &payload)]);
        assert_eq!(again[0], Err(CommitError::StorageFull));
    }
    let known = commit(&mut store, vec![publish("0", &payload)]);
    assert!(known[0].as_ref().is_ok_and(|r| r.events[0].duplicate) || known[0].is_err());
    for purge in stored.chunks(64) {
        let purge = Commit {
            purge: purge.to_vec(),
            ..Commit::default()
        };
        assert!(commit(&mut store, vec![purge])[0].is_ok());
    }
    assert!(commit(&mut store, vec![publish("room again", &payload)])[0].is_ok());
    assert_eq!(integrity(&store), "ok");
}

struct Tell(std::sync::Arc<std::sync::Mutex<Vec<Vec<bool>>>>);

impl crate::store::Trailer for Tell {
    fn state(&mut self, accepted: &[bool]) -> Vec<StateOp> {
        self.0.lock().unwrap().push(accepted.to_vec());
        vec![put("accepted", &format!("{accepted:?}"))]
    }
}

#[test]
fn the_trailer_of_a_batch_that_filled_the_store_knows_who_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        max_bytes: Some(256 << 10),
        ..options()
    };
    let mut store = SqliteStore::open_dir(dir.path(), options).unwrap();
    let asked = std::sync::Arc::default();
    let large = "x".repeat(300 << 10);
    let batch = Batch {
        commits: vec![publish("a", "1"), publish("b", &large), publish("c", "1")],
        trailer: Some(Box::new(Tell(std::sync::Arc::clone(&asked)))),
        now_ms: START_MS,
    };
    let answers = store.commit(batch).unwrap();
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1], Err(CommitError::StorageFull));
    assert_eq!(asked.lock().unwrap().last().unwrap(), &[true, false, true]);
    let value = store
        .reader()
        .unwrap()
        .get(b"accepted", START_MS)
        .unwrap()
        .unwrap()
        .value;
    assert_eq!(value, b"[true, false, true]");
}

#[test]
fn a_broken_store_stays_broken_and_leaves_its_log_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(&mut store, vec![publish("a", "1")]);
    // Any error that is not "full" must do; this one is easy to have.
    store.conn.pragma_update(None, "query_only", true).unwrap();
    let batch = || Batch {
        commits: vec![publish("b", "1")],
        trailer: None,
        now_ms: START_MS,
    };
    let first = store.commit(batch()).unwrap_err();
    store.conn.pragma_update(None, "query_only", false).unwrap();
    assert_eq!(store.commit(batch()).unwrap_err().reason, first.reason);
    assert_eq!(store.maintain(START_MS).unwrap_err().reason, first.reason);
    assert!(store.reader().is_err());
    drop(store);
    assert!(
        std::fs::metadata(dir.path().join("store.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    let store = open(dir.path());
    assert_eq!(
        store.reader().unwrap().count(0, &filters(&["t"])).unwrap(),
        1
    );
}

#[test]
fn the_log_stays_bounded_while_readers_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        checkpoint_pages: 100,
        ..options()
    };
    let mut store = SqliteStore::open_dir(dir.path(), options).unwrap();
    let mut reader = store.reader().unwrap();
    let mut after = 0;
    for i in 0..400 {
        commit(
            &mut store,
            vec![publish(&format!("{i}"), &"x".repeat(8000))],
        );
        after = reader
            .events(after, &filters(&["t"]), ReadLimit::default())
            .unwrap()
            .next;
    }
    assert_eq!(after, store.marks.head);
    let bytes = std::fs::metadata(dir.path().join("store.db-wal"))
        .unwrap()
        .len();
    assert!(bytes < 200 * 4096, "the log has {bytes} bytes");
    drop((store, reader));
    let left = std::fs::metadata(dir.path().join("store.db-wal")).map_or(0, |m| m.len());
    assert_eq!(left, 0, "closing copies the log");
}

/// Proves O7 (store part): what was purged and forgotten is given back to the disk, in small steps.
#[test]
fn maintenance_gives_pages_back_and_keeps_the_tables_small() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut seqs = Vec::new();
    for round in 0..20 {
        let commits: Vec<Commit> = (0..100)
            .map(|i| {
                let mut one = publish(&format!("{round} {i}"), &"x".repeat(4000));
                one.state.push(StateOp {
                    expires_at_ms: Some(START_MS + 1),
                    ..put(&format!("{round} {i}"), "v")
                });
                one
            })
            .collect();
        let answers = commit(&mut store, commits);
        seqs.extend(
            answers
                .into_iter()
                .map(|answer| answer.unwrap().events[0].seq),
        );
    }
    let mut reader = store.reader().unwrap();
    let before = reader.facts().unwrap();
    for purge in seqs.chunks(64) {
        commit(
            &mut store,
            vec![Commit {
                purge: purge.to_vec(),
                ..Commit::default()
            }],
        );
    }
    let mut steps = 0;
    while store.maintain(START_MS + 10).unwrap() {
        steps += 1;
        assert!(steps < 500, "maintenance does not end");
    }
    assert!(steps > 8, "{steps} steps were not small");
    let after = reader.facts().unwrap();
    assert!(
        after.used_bytes * 10 < before.used_bytes,
        "{before:?} {after:?}"
    );
    assert!(after.free_bytes <= 2 << 20, "{after:?}");
    let count = |sql: &str| {
        store
            .conn
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM state"), 0);
    let ids = count("SELECT count(*) FROM dedupe");
    assert!(
        ids >= WINDOW.ids as i64 && ids <= WINDOW.ids as i64 + 64,
        "{ids} ids"
    );
    drop((store, reader));
    let bytes = std::fs::metadata(dir.path().join("store.db"))
        .unwrap()
        .len();
    assert!(bytes < 3 << 20, "the file still has {bytes} bytes");
}

#[test]
fn uuids_take_sixteen_bytes_and_rows_that_do_not_match_keep_their_envelopes_unread() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(
        &mut store,
        vec![publish("0190f7a2-7c5b-7def-8123-456789abcdef", "1")],
    );
    let length: i64 = store
        .conn
        .query_row("SELECT length(id) FROM dedupe", [], |row| row.get(0))
        .unwrap();
    assert_eq!(length, 16);
    let sql: String = store
        .conn
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'events'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let columns: Vec<&str> = sql
        .lines()
        .skip(1)
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(columns.last(), Some(&")"));
    assert_eq!(
        columns[columns.len() - 2],
        "envelope",
        "the envelope comes last"
    );
}

#[test]
fn a_hundred_thousand_events_open_in_milliseconds() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open_dir(dir.path(), SqliteOptions::default()).unwrap();
    for chunk in 0..100 {
        let commits = (0..1000).map(|i| publish(&format!("{chunk} {i}"), &"x".repeat(300)));
        commit(&mut store, commits.collect());
    }
    // The least of some: opening syncs, and the disk may have other work.
    let mut least = std::time::Duration::MAX;
    for _ in 0..8 {
        let copy = crash_copy(dir.path());
        #[expect(clippy::disallowed_methods, reason = "this measures")]
        let start = std::time::Instant::now();
        let recovered = SqliteStore::open_dir(copy.path(), SqliteOptions::default()).unwrap();
        least = least.min(start.elapsed());
        assert_eq!(recovered.marks, store.marks);
        if least.as_millis() < 250 {
            break;
        }
    }
    eprintln!("opening took {least:?}");
    assert!(least.as_millis() < 250, "opening took {least:?}");
}
