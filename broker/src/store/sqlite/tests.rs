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
