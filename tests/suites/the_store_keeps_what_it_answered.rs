//! The embedded store on disks that lose their power and on disks that are full, without a daemon
//! around it.

#![expect(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use trunkline_broker::store::sqlite::{SqliteOptions, SqliteStore};
use trunkline_broker::store::{
    Batch, Commit, CommitError, Expect, NewEvent, OnConflict, ReadLimit, Receipt, StateOp, Store,
};
use trunkline_contract::topic::Filter;
use trunkline_tests::full_disk::{FULL_DISK_BYTES, FullDisk};
use trunkline_tests::powercut::PowerCutDisk;
use trunkline_tests::skip::has_root;

const NOW_MS: i64 = 1_800_000_000_000;

fn open(dir: &Path) -> SqliteStore {
    // A log that is copied often, so that faults meet checkpoints too.
    let options = SqliteOptions {
        checkpoint_pages: 40,
        ..SqliteOptions::default()
    };
    SqliteStore::open_dir(dir, options).unwrap()
}

fn publish(n: usize, bytes: usize) -> Commit {
    let event = NewEvent {
        topic: "t".into(),
        source: "s".into(),
        id: n.to_string().into(),
        body: (n as u128).to_le_bytes(),
        session: None,
        expires_at_ms: None,
        on_conflict: OnConflict::Refuse,
        envelope: format!("{n:0bytes$}").into_bytes().into(),
    };
    Commit {
        events: vec![event],
        ..Commit::default()
    }
}

fn settle(n: usize) -> Commit {
    let op = StateOp {
        key: b"position".to_vec(),
        value: Some(n.to_string().into_bytes()),
        expect: Expect::Any,
        expires_at_ms: None,
    };
    Commit {
        state: vec![op],
        ..Commit::default()
    }
}

fn commit(store: &mut SqliteStore, commits: Vec<Commit>) -> Vec<Result<Receipt, CommitError>> {
    store
        .commit(Batch {
            commits,
            trailer: None,
            now_ms: NOW_MS,
        })
        .unwrap()
}

/// Returns the numbers that the events of the store carry.
fn stored(store: &SqliteStore) -> Vec<usize> {
    let filters = [Filter::parse("t").unwrap()];
    let mut reader = store.reader().unwrap();
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = reader
            .events(after, &filters, ReadLimit::default())
            .unwrap();
        let number = |envelope: &[u8]| std::str::from_utf8(envelope).unwrap().parse().unwrap();
        found.extend(
            page.events
                .iter()
                .map(|event| -> usize { number(&event.envelope) }),
        );
        if page.next == after {
            return found;
        }
        after = page.next;
    }
}

/// Proves Q1 (store part): what was answered is there after a power cut, in order and once.
#[test]
fn every_answered_commit_survives_a_power_cut() {
    if !has_root("powercut") {
        return;
    }
    let mut disk = PowerCutDisk::create(64 << 20).unwrap();
    let mut answered: Vec<usize> = Vec::new();
    let mut asked = 0;
    for cut in 0..12 {
        let mut store = open(&disk.path());
        let found = stored(&store);
        assert!(
            found.len() >= answered.len(),
            "cut {cut}: {} events were answered, {} are there",
            answered.len(),
            found.len()
        );
        assert_eq!(found[..answered.len()], answered, "cut {cut}");
        assert!(found.is_sorted_by(|a, b| a < b), "cut {cut}: out of order");
        // What was written but not answered may be there; from now on it counts.
        answered = found;
        let (sender, receiver) = std::sync::mpsc::sync_channel(0);
        let is_cut = Arc::new(AtomicBool::new(false));
        let sees_cut = Arc::clone(&is_cut);
        let worker = std::thread::spawn(move || {
            let mut done = Vec::new();
            loop {
                let numbers: Vec<usize> = (asked..asked + 7).collect();
                asked += 7;
                let commits = numbers.iter().map(|n| publish(*n, 600)).collect();
                let batch = Batch {
                    commits,
                    trailer: None,
                    now_ms: NOW_MS,
                };
                let result = store.commit(batch);
                // A sync that is under way when the cut comes can return success and still be lost: the
                // request stops the journal first. With real power nobody would hear that answer, so it
                // counts as none.
                if sees_cut.load(Ordering::SeqCst) {
                    return (done, asked);
                }
                match result {
                    Ok(answers) => {
                        assert!(answers.iter().all(Result::is_ok));
                        done.extend(numbers);
                    }
                    Err(_) => return (done, asked),
                }
                if done.len() == 7 * (3 + 5 * cut) {
                    sender.send(()).unwrap();
                }
            }
        });
        receiver.recv().unwrap();
        is_cut.store(true, Ordering::SeqCst);
        disk.cut().unwrap();
        let (done, next) = worker.join().unwrap();
        answered.extend(done);
        asked = next;
        disk.remount().unwrap();
    }
    assert!(stored(&open(&disk.path())).len() >= answered.len());
}

/// Proves O7 (store part): on a full disk publishes are refused with a typed error, settling goes on
/// from the reserve, nothing is damaged, and with room again everything goes on.
#[test]
fn a_full_disk_refuses_events_and_still_settles() {
    if !has_root("full-disk") {
        return;
    }
    let disk = FullDisk::create(FULL_DISK_BYTES).unwrap();
    let mut store = open(&disk.path());
    let mut kept: Vec<usize> = (0..50).collect();
    let commits = kept.iter().map(|n| publish(*n, 2000)).collect();
    assert!(commit(&mut store, commits).iter().all(Result::is_ok));
    disk.fill().unwrap();
    let mut refused = 0;
    for n in 50..400 {
        let answers = commit(&mut store, vec![publish(n, 2000), settle(n)]);
        match &answers[0] {
            Ok(_) => kept.push(n),
            Err(error) => {
                assert_eq!(*error, CommitError::StorageFull);
                refused += 1;
            }
        }
        assert!(answers[1].is_ok(), "settling {n} failed: {:?}", answers[1]);
        store.maintain(NOW_MS).unwrap();
    }
    assert!(refused > 0, "the disk was never full");
    assert_eq!(stored(&store), kept);
    drop(store);
    let mut store = open(&disk.path());
    let refused = commit(&mut store, vec![publish(900, 2000), settle(399)]);
    assert_eq!(
        refused[0],
        Err(CommitError::StorageFull),
        "a restart does not free the reserve"
    );
    assert!(refused[1].is_ok());
    disk.free().unwrap();
    store.maintain(NOW_MS).unwrap();
    assert!(commit(&mut store, vec![publish(1000, 2000)])[0].is_ok());
    kept.push(1000);
    drop(store);
    let store = open(&disk.path());
    assert_eq!(stored(&store), kept);
    let position = store
        .reader()
        .unwrap()
        .get(b"position", NOW_MS)
        .unwrap()
        .unwrap();
    assert_eq!(position.value, b"399");
}
