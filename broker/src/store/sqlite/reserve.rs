//! Room that only commits without events may use: settlements and clean-up must work on a full disk,
//! or nothing could ever be freed.
//!
//! Two limits, two reserves. The size set by the operator (`max_bytes`) is kept by SQLite's
//! `max_page_count`, which is raised for such commits. The disk itself is kept by a file of allocated
//! blocks beside the store, which is given up (emptied) when such a commit finds no room; from then on
//! commits with events are refused, so that they cannot eat the freed blocks, until the disk has room
//! for the file again.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::options::SqliteOptions;
use super::schema::PAGE_BYTES;

/// The reserve takes at most one part in this many of the disk.
const DISK_SHARE: u64 = 8;

/// Who a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It appends events.
    Events,
    /// It only settles, deletes or keeps books.
    Settle,
}

/// The two reserves.
#[derive(Debug)]
pub(super) struct Reserve {
    dir: PathBuf,
    file: PathBuf,
    bytes: u64,
    pages_max: Option<u64>,
    claim: Option<Claim>,
    is_given_up: bool,
}

impl Reserve {
    /// Puts the file in place if the disk has room for it.
    pub(super) fn new(dir: &Path, options: &SqliteOptions) -> Self {
        let mut reserve = Self {
            dir: dir.to_owned(),
            file: dir.join("reserve"),
            bytes: options.reserve_bytes,
            pages_max: options.max_bytes.map(|bytes| bytes / PAGE_BYTES),
            claim: None,
            is_given_up: false,
        };
        let found = reserve.file.metadata().ok().map(|file| file.len());
        // An empty file says that the reserve was given up before the last stop.
        reserve.is_given_up = found == Some(0);
        if options.reserve_bytes > 0 && found.is_none_or(|bytes| bytes == 0) && !reserve.restore() {
            tracing::warn!(
                dir = %reserve.dir.display(),
                "No room for the reserve; on a full disk settlements may be refused."
            );
        }
        reserve
    }

    /// Says whether commits with events must be refused to save what was given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Empties the file so that its blocks are free. Returns false when there is nothing to give.
    pub(super) fn give_up(&mut self) -> bool {
        if self.is_given_up || !self.file.exists() {
            return false;
        }
        let emptied = OpenOptions::new()
            .write(true)
            .open(&self.file)
            .and_then(|f| f.set_len(0));
        match emptied {
            Ok(()) => {
                self.is_given_up = true;
                tracing::error!(
                    dir = %self.dir.display(),
                    "The disk is full; the reserve was given up and events are refused."
                );
                true
            }
            Err(error) => {
                tracing::error!(%error, "The reserve could not be given up.");
                false
            }
        }
    }

    /// Puts the file back if the disk has room for it twice. Returns whether it is in place.
    pub(super) fn restore(&mut self) -> bool {
        let (free, total) = match statvfs(&self.dir) {
            Ok(stat) => (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize),
            Err(error) => {
                tracing::warn!(%error, "The free space of the disk could not be read.");
                return false;
            }
        };
        // The size follows from the disk, not from what is free on it: a reserve that shrank each time
        // it was given up would be eaten by events in the end.
        let bytes = self.bytes.min(total / DISK_SHARE);
        if free < 2 * bytes {
            return false;
        }
        if let Err(error) = allocate(&self.file, bytes) {
            tracing::warn!(%error, "The reserve could not be put in place.");
            return false;
        }
        if self.is_given_up {
            tracing::info!(bytes, "The reserve is back; events are taken again.");
        }
        self.is_given_up = false;
        true
    }

    /// Sets the size limit for a transaction.
    pub(super) fn claim(&mut self, conn: &Connection, claim: Claim) -> rusqlite::Result<()> {
        let Some(pages) = self.pages_max else {
            return Ok(());
        };
        if self.claim == Some(claim) {
            return Ok(());
        }
        let pages = match claim {
            Claim::Events => pages,
            Claim::Settle => pages + self.bytes / PAGE_BYTES,
        };
        conn.query_row(
            &format!("PRAGMA max_page_count = {}", pages.max(1)),
            [],
            |_| Ok(()),
        )?;
        self.claim = Some(claim);
        Ok(())
    }
}

fn allocate(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    file.sync_all()
}
