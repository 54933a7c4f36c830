//! How an embedded store is opened, and why that can fail.

use std::path::PathBuf;

use super::lock::LockError;
use crate::store::DedupeWindow;

/// Settings of an embedded store.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions {
    /// Window in which repeats are recognised.
    pub dedupe: DedupeWindow,
    /// Size of the database file after which commits with events get `storage_full`; `None` leaves
    /// that to the disk.
    pub max_bytes: Option<u64>,
    /// Bytes kept for commits without events: beyond `max_bytes`, and as a file that is given up when
    /// the disk is full. The file takes at most an eighth of the disk.
    pub reserve_bytes: u64,
    /// Pages in the write-ahead log after which it is copied into the database.
    pub checkpoint_pages: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            dedupe: DedupeWindow::default(),
            max_bytes: None,
            reserve_bytes: 16 << 20,
            checkpoint_pages: 4_000,
        }
    }
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another daemon holds it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file belongs to another program.
    #[error("expected a trunkline store at {path}, found a database with application id {found}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its `application_id`.
        found: i32,
    },
    /// A newer daemon wrote it.
    #[error(
        "expected store version {supported} or older at {path}, found {found}; hint: run the \
         version of trunkline that wrote it, or a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The version this build writes.
        supported: i32,
    },
    /// The database refused.
    #[error("cannot open the store at {path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("cannot prepare the store directory {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}
