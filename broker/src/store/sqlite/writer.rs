//! The one writer: batches, full disks, checkpoints, and the end after a failed sync.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::apply::{Apply, Marks};
use super::dedupe::Dedupe;
use super::fault::{Fault, Outcome, failed, is_full};
use super::intern::Topics;
use super::lock::StoreLock;
use super::options::{OpenError, SqliteOptions};
use super::reader::SqliteReader;
use super::reserve::{Claim, Reserve};
use super::schema;
use crate::store::{Batch, Commit, CommitError, Failed, Reader, Receipt, StateOp, Store, Trailer};

type Answer = Result<Receipt, CommitError>;

/// A store in one SQLite file.
pub struct SqliteStore {
    pub(super) conn: Connection,
    pub(super) marks: Marks,
    pub(super) topics: Topics,
    pub(super) dedupe: Dedupe,
    pub(super) reserve: Reserve,
    failed: Option<Failed>,
    wal: Wal,
    // Last: what is above is closed while the lock is still held.
    lock: StoreLock,
}

/// How long the write-ahead log is, and when to copy it next.
struct Wal {
    pages: Arc<AtomicU32>,
    limit: u32,
    due_at: u32,
}

impl SqliteStore {
    /// Opens the store in the directory of `lock`, making it if there is none.
    ///
    /// Takes milliseconds however large the store is; after a crash the write-ahead log, which is
    /// bounded, is recovered.
    ///
    /// # Errors
    /// [`OpenError`] for a file of another program or of a newer version, and for what the disk says.
    pub fn open(lock: StoreLock, options: SqliteOptions) -> Result<Self, OpenError> {
        let conn = schema::open_writer(lock.dir())?;
        let database = |source| OpenError::Database {
            path: schema::path(lock.dir()),
            source,
        };
        let marks = Marks::read(&conn).map_err(database)?;
        let pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&pages);
        let mut conn = conn;
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            seen.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(database)?;
        let limit = options.checkpoint_pages;
        Ok(Self {
            marks,
            topics: Topics::default(),
            dedupe: Dedupe::new(options.dedupe),
            reserve: Reserve::new(lock.dir(), &options),
            failed: None,
            wal: Wal {
                pages,
                limit,
                due_at: limit,
            },
            conn,
            lock,
        })
    }

    /// Locks the directory and opens the store in it.
    ///
    /// # Errors
    /// [`OpenError::Lock`] when another daemon has it, and the errors of [`SqliteStore::open`].
    pub fn open_dir(dir: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        Self::open(StoreLock::acquire(dir)?, options)
    }

    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        self.lock.dir()
    }

    /// Returns the path of the database file.
    pub fn path(&self) -> PathBuf {
        schema::path(self.lock.dir())
    }

    /// Says whether the reserve was given up, so that only commits without events are taken.
    pub fn is_on_reserve(&self) -> bool {
        self.reserve.is_given_up()
    }

    /// Returns the pages in the write-ahead log that the last commit left behind.
    pub fn wal_pages(&self) -> u32 {
        self.wal.pages.load(Ordering::Relaxed)
    }

    /// Runs `work` in a transaction; on any error nothing of it remains, in memory either.
    pub(super) fn transact<T>(
        &mut self,
        claim: Claim,
        work: impl FnOnce(&mut Apply<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let before = self.marks;
        let result = self.try_transact(claim, work);
        if result.is_err() {
            self.marks = before;
            self.topics.clear();
            self.dedupe.clear();
            // SQLite has rolled back by itself after some errors, so that there is nothing to do.
            if !self.conn.is_autocommit() {
                self.conn.prepare_cached("ROLLBACK")?.execute([])?;
            }
        }
        result
    }

    fn try_transact<T>(
        &mut self,
        claim: Claim,
        work: impl FnOnce(&mut Apply<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        self.reserve.claim(&self.conn, claim)?;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut apply = Apply::new(
            &self.conn,
            &mut self.marks,
            &mut self.topics,
            &mut self.dedupe,
        )?;
        let done = work(&mut apply)?;
        apply.finish()?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(done)
    }

    /// The usual way: everything in one transaction.
    fn commit_together(
        &mut self,
        commits: &[Commit],
        trailer: &mut Option<Box<dyn Trailer>>,
        now_ms: i64,
    ) -> Outcome<Vec<Answer>> {
        let claim = if commits.iter().any(|commit| !commit.events.is_empty()) {
            Claim::Events
        } else {
            Claim::Settle
        };
        self.transact(claim, |apply| {
            apply.advance(now_ms);
            let mut answers = Vec::with_capacity(commits.len());
            for commit in commits {
                answers.push(apply.commit(commit)?);
            }
            for op in trailing(trailer, &answers) {
                apply.write(&op)?;
            }
            Ok(answers)
        })
    }

    /// The way when there is no room: what still fits, one commit at a time.
    fn commit_one_by_one(
        &mut self,
        commits: &[Commit],
        trailer: &mut Option<Box<dyn Trailer>>,
        now_ms: i64,
    ) -> Outcome<Vec<Answer>> {
        // What is copied out of the log makes room in it.
        self.checkpoint()?;
        let mut answers = Vec::with_capacity(commits.len());
        for commit in commits {
            let answer = if commit.events.is_empty() {
                self.settle(now_ms, |apply| Ok(apply.commit(commit)?))?
            } else if self.reserve.is_given_up() && !self.reserve.restore() {
                None
            } else {
                let work = |apply: &mut Apply<'_>| {
                    apply.advance(now_ms);
                    Ok(apply.commit(commit)?)
                };
                unless_full(self.transact(Claim::Events, work))?
            };
            answers.push(answer.unwrap_or(Err(CommitError::StorageFull)));
        }
        let ops = trailing(trailer, &answers);
        if ops.is_empty() {
            return Ok(answers);
        }
        let written = self.settle(now_ms, |apply| {
            for op in &ops {
                apply.write(op)?;
            }
            Ok(())
        })?;
        match written {
            Some(()) => Ok(answers),
            None => Err(Fault::Fatal(Failed {
                reason: "the disk is full and the reserve used up; hint: free space, then restart"
                    .to_owned(),
            })),
        }
    }

    /// Does work that appends nothing, from the reserve if it must. `None` when even that is full.
    pub(super) fn settle<T>(
        &mut self,
        now_ms: i64,
        work: impl Fn(&mut Apply<'_>) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        let work = |apply: &mut Apply<'_>| {
            apply.advance(now_ms);
            work(apply)
        };
        match unless_full(self.transact(Claim::Settle, work))? {
            None if self.reserve.give_up() => unless_full(self.transact(Claim::Settle, work)),
            done => Ok(done),
        }
    }

    /// Copies the write-ahead log into the database, as far as readers allow.
    fn checkpoint(&mut self) -> Outcome<()> {
        let result = self
            .conn
            .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
            .and_then(|mut checkpoint| {
                checkpoint.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
            });
        let (pages, copied) = match result {
            Ok(counts) => counts,
            // The log keeps what did not fit into the database: nothing is lost.
            Err(error) if is_full(&error) => (i64::from(self.wal_pages()), 0),
            Err(error) => return Err(error.into()),
        };
        self.wal.due_at = if copied >= pages {
            self.wal.limit
        } else {
            // A reader holds the rest; asking again at once would only sync once more.
            u32::try_from(pages)
                .unwrap_or(u32::MAX)
                .saturating_add(self.wal.limit / 4)
        };
        Ok(())
    }

    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), Failed> {
        let pages = self.wal_pages();
        if pages < self.wal.limit {
            // The log began anew after it had been copied whole.
            self.wal.due_at = self.wal.limit;
            return Ok(());
        }
        if pages < self.wal.due_at {
            return Ok(());
        }
        let result = self.checkpoint();
        self.end_if_fatal(result).map(|_| ())
    }

    /// Remembers that the store is finished. `None` stands for "full".
    pub(super) fn end_if_fatal<T>(&mut self, result: Outcome<T>) -> Result<Option<T>, Failed> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Full) => Ok(None),
            Err(Fault::Fatal(failed)) => {
                self.failed = Some(failed.clone());
                Err(failed)
            }
        }
    }

    pub(super) fn refuse_if_failed(&self) -> Result<(), Failed> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

fn trailing(trailer: &mut Option<Box<dyn Trailer>>, answers: &[Answer]) -> Vec<StateOp> {
    let Some(trailer) = trailer else {
        return Vec::new();
    };
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    trailer.state(&accepted)
}

fn unless_full<T>(outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Full) => Ok(None),
        Err(fatal) => Err(fatal),
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, batch: Batch) -> Result<Vec<Answer>, Failed> {
        self.refuse_if_failed()?;
        let Batch {
            commits,
            mut trailer,
            now_ms,
        } = batch;
        self.dedupe.shrink();
        let appends = commits.iter().any(|commit| !commit.events.is_empty());
        let together = if appends && self.reserve.is_given_up() && !self.reserve.restore() {
            Err(Fault::Full)
        } else {
            self.commit_together(&commits, &mut trailer, now_ms)
        };
        let answers = match self.end_if_fatal(together)? {
            Some(answers) => answers,
            None => {
                let apart = self.commit_one_by_one(&commits, &mut trailer, now_ms);
                // Full is dealt with commit by commit; what is left of it would be a checkpoint's.
                self.end_if_fatal(apart)?.unwrap_or_else(|| {
                    commits
                        .iter()
                        .map(|_| Err(CommitError::StorageFull))
                        .collect()
                })
            }
        };
        self.checkpoint_if_due()?;
        Ok(answers)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Failed> {
        self.refuse_if_failed()?;
        Ok(Box::new(SqliteReader::open(&self.path())?))
    }

    fn maintain(&mut self, now_ms: i64) -> Result<bool, Failed> {
        self.refuse_if_failed()?;
        let more = self.maintain_step(now_ms);
        let more = self.end_if_fatal(more)?.unwrap_or(false);
        self.checkpoint_if_due()?;
        Ok(more)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // After a failed sync the log is the only truth; it must be left for the next start.
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = schema::truncate(&self.conn) {
            let failed = failed(&error);
            tracing::warn!(%failed, "The store was closed without copying its log.");
        }
    }
}
