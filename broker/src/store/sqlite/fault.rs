//! What an error of SQLite means for the store: full, or finished.

use rusqlite::{ErrorCode, ffi};

use crate::store::Failed;

/// A transaction that did not happen.
#[derive(Debug)]
pub(super) enum Fault {
    /// No room. Nothing is lost; smaller or later work may still succeed.
    Full,
    /// Durability can no longer be promised.
    Fatal(Failed),
}

pub(super) type Outcome<T> = Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) {
            Self::Full
        } else {
            Self::Fatal(failed(&error))
        }
    }
}

/// Says whether `error` only means that there is no room.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else {
        return false;
    };
    // The index of the write-ahead log grows by writing zeros; a full disk shows there as an I/O error
    // of its own, before anything was written.
    failure.code == ErrorCode::DiskFull || failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

/// Words an error that ends the store.
pub(super) fn failed(error: &rusqlite::Error) -> Failed {
    let code = error.sqlite_error().map_or(0, |e| e.extended_code);
    Failed {
        reason: format!("{error} (sqlite code {code})"),
    }
}
