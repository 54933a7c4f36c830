//! Readers: connections of their own, on threads of their own, in transactions of milliseconds.
//!
//! A read of the log goes in two passes over one snapshot. The first walks numbers and topics only and
//! notes the runs of rows that match; the second fetches those rows whole. SQLite computes every column
//! a query names before it hands out the row, so a single pass would read the envelopes of rows that
//! do not match.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params};
use rustc_hash::FxHashMap;
use trunkline_contract::topic::Filter;

use super::apply::Marks;
use super::fault::failed;
use super::intern::Names;
use super::schema;
use crate::store::{
    EventPage, Failed, ReadLimit, Reader, Seq, StateEntry, StoreFacts, StoredEvent,
};

/// How long one look at the log may take: a reader that stays longer keeps the log from being reused.
const READ_MS_MAX: Duration = Duration::from_millis(5);

/// Rows between two looks at the clock.
const ROWS_PER_CLOCK: usize = 512;

/// Sets of filters whose answers are kept; beyond it they are learned anew.
const FILTER_SETS: usize = 1_024;

const COLUMNS: &str =
    "SELECT seq, topic, source, stored_at, session, expires_at, envelope FROM events";

/// A reader of a SQLite store.
#[derive(Debug)]
pub(super) struct SqliteReader {
    conn: Connection,
    topics: Names,
    sources: Names,
    matching: FxHashMap<String, FxHashMap<i64, bool>>,
}

/// Rows next to each other that all match.
#[derive(Debug)]
struct Run {
    first: Seq,
    last: Seq,
    /// The row looked at before the first.
    before: Seq,
}

/// What the first pass found.
#[derive(Debug)]
struct Scan {
    runs: Vec<Run>,
    matches: u64,
    /// The last row looked at.
    last: Seq,
    is_end: bool,
}

impl SqliteReader {
    pub(super) fn open(path: &Path) -> Result<Self, Failed> {
        Ok(Self {
            conn: schema::open_reader(path)?,
            topics: Names::topics(),
            sources: Names::sources(),
            matching: FxHashMap::default(),
        })
    }

    /// Runs `read` on one snapshot.
    fn snapshot<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, Failed> {
        let run = |this: &mut Self| {
            this.conn.prepare_cached("BEGIN")?.execute([])?;
            let result = read(this);
            this.conn.prepare_cached("COMMIT")?.execute([])?;
            result
        };
        run(self).map_err(|error| failed(&error))
    }

    fn walk(&mut self, after: Seq, filters: &[Filter], limit: ReadLimit) -> rusqlite::Result<Scan> {
        let mut key = String::new();
        for filter in filters {
            key.push_str(filter.as_str());
            key.push(if filter.is_public() { '!' } else { ' ' });
        }
        if self.matching.len() >= FILTER_SETS {
            self.matching.clear();
        }
        let matching = self.matching.entry(key).or_default();
        let mut scan = Scan {
            runs: Vec::new(),
            matches: 0,
            last: after,
            is_end: false,
        };
        let mut is_run_open = false;
        let mut statement = self
            .conn
            .prepare_cached("SELECT seq, topic FROM events WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = statement.query([as_row(after)])?;
        let clock = Clock::start();
        let mut scanned = 0;
        loop {
            let Some(row) = rows.next()? else {
                scan.is_end = true;
                return Ok(scan);
            };
            let is_late = scanned % ROWS_PER_CLOCK == ROWS_PER_CLOCK - 1 && clock.is_over();
            if scanned >= limit.scanned || scan.matches >= limit.events as u64 || is_late {
                return Ok(scan);
            }
            let (seq, topic) = (row.get::<_, i64>(0)? as u64, row.get(1)?);
            let is_match = match matching.get(&topic) {
                Some(is_match) => *is_match,
                None => {
                    let name = self.topics.name(&self.conn, topic)?;
                    let is_match = filters.iter().any(|filter| filter.matches(&name));
                    matching.insert(topic, is_match);
                    is_match
                }
            };
            if is_match {
                match scan.runs.last_mut() {
                    Some(run) if is_run_open => run.last = seq,
                    _ => scan.runs.push(Run {
                        first: seq,
                        last: seq,
                        before: scan.last,
                    }),
                }
                scan.matches += 1;
            }
            is_run_open = is_match;
            scan.last = seq;
            scanned += 1;
        }
    }

    /// Fetches the rows of `runs` as far as the bytes allow; where they do not, returns the last row
    /// looked at.
    fn fetch(
        &mut self,
        runs: &[Run],
        bytes_max: usize,
        events: &mut Vec<StoredEvent>,
    ) -> rusqlite::Result<Option<Seq>> {
        let mut statement = self.conn.prepare_cached(&format!(
            "{COLUMNS} WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq"
        ))?;
        let mut bytes = 0;
        for run in runs {
            let mut before = run.before;
            let mut rows = statement.query([as_row(run.first), as_row(run.last)])?;
            while let Some(row) = rows.next()? {
                let size = row.get_ref(6)?.as_blob()?.len();
                if !events.is_empty() && bytes + size > bytes_max {
                    return Ok(Some(before));
                }
                bytes += size;
                let event = event(&self.conn, &mut self.topics, &mut self.sources, row)?;
                before = event.seq;
                events.push(event);
            }
        }
        Ok(None)
    }
}

/// Bounds a read; what is read never depends on it beyond where a page ends.
struct Clock(Instant);

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "bounds a transaction on a real disk"
    )]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() > READ_MS_MAX
    }
}

/// Numbers beyond what a row can have stand for the highest.
fn as_row(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn event(
    conn: &Connection,
    topics: &mut Names,
    sources: &mut Names,
    row: &Row<'_>,
) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        seq: row.get::<_, i64>(0)? as u64,
        topic: topics.name(conn, row.get(1)?)?,
        source: sources.name(conn, row.get(2)?)?,
        stored_at_ms: row.get(3)?,
        session: row.get(4)?,
        expires_at_ms: row.get(5)?,
        envelope: Arc::from(row.get_ref(6)?.as_blob()?),
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<StateEntry> {
    Ok(StateEntry {
        key: row.get(0)?,
        value: row.get(1)?,
        revision: row.get::<_, i64>(2)? as u64,
        expires_at_ms: row.get(3)?,
    })
}

fn is_live(entry: &StateEntry, now_ms: i64) -> bool {
    entry.expires_at_ms.is_none_or(|at| now_ms <= at)
}

impl Reader for SqliteReader {
    fn events(
        &mut self,
        after: Seq,
        filters: &[Filter],
        limit: ReadLimit,
    ) -> Result<EventPage, Failed> {
        self.snapshot(|this| {
            let mut page = EventPage {
                head: Marks::read(&this.conn)?.head,
                ..Default::default()
            };
            let scan = this.walk(after, filters, limit)?;
            page.next = match this.fetch(&scan.runs, limit.bytes, &mut page.events)? {
                Some(last) => last,
                None if scan.is_end => scan.last.max(page.head),
                None => scan.last,
            };
            Ok(page)
        })
    }

    fn events_at(&mut self, seqs: &[Seq]) -> Result<Vec<StoredEvent>, Failed> {
        self.snapshot(|this| {
            let mut statement = this
                .conn
                .prepare_cached(&format!("{COLUMNS} WHERE seq = ?1"))?;
            let mut events = Vec::with_capacity(seqs.len());
            for seq in seqs {
                let (topics, sources) = (&mut this.topics, &mut this.sources);
                let found = statement
                    .query_row([as_row(*seq)], |row| {
                        event(&this.conn, topics, sources, row)
                    })
                    .optional()?;
                events.extend(found);
            }
            Ok(events)
        })
    }

    fn get(&mut self, key: &[u8], now_ms: i64) -> Result<Option<StateEntry>, Failed> {
        let get = |conn: &Connection| {
            conn.prepare_cached(
                "SELECT key, value, revision, expires_at FROM state WHERE key = ?1",
            )?
            .query_row([key], entry)
            .optional()
        };
        let found = get(&self.conn).map_err(|error| failed(&error))?;
        Ok(found.filter(|entry| is_live(entry, now_ms)))
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<StateEntry>, Failed> {
        let scan = |conn: &Connection| {
            let (from, operator) = match after {
                Some(after) if after >= prefix => (after, ">"),
                _ => (prefix, ">="),
            };
            let mut statement = conn.prepare_cached(&format!(
                "SELECT key, value, revision, expires_at FROM state \
                 WHERE key {operator} ?1 AND (expires_at IS NULL OR expires_at >= ?2) ORDER BY key"
            ))?;
            let mut rows = statement.query(params![from, now_ms])?;
            let mut entries = Vec::new();
            while entries.len() < limit {
                let Some(row) = rows.next()? else { break };
                if !row.get_ref(0)?.as_blob()?.starts_with(prefix) {
                    break;
                }
                entries.push(entry(row)?);
            }
            Ok(entries)
        };
        scan(&self.conn).map_err(|error| failed(&error))
    }

    fn count(&mut self, after: Seq, filters: &[Filter]) -> Result<u64, Failed> {
        let limit = ReadLimit {
            events: usize::MAX,
            ..ReadLimit::default()
        };
        let (mut after, mut count) = (after, 0);
        loop {
            // Each piece is a transaction of its own, so that the log can be reused meanwhile.
            let scan = self.snapshot(|this| this.walk(after, filters, limit))?;
            count += scan.matches;
            after = scan.last;
            if scan.is_end {
                return Ok(count);
            }
        }
    }

    fn seq_before(&mut self, at_ms: i64) -> Result<Seq, Failed> {
        self.snapshot(|this| {
            // Numbers have holes: look at the row at or before the middle, and go on beside it.
            let mut at_or_before = this.conn.prepare_cached(
                "SELECT seq, stored_at FROM events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1",
            )?;
            let (mut low, mut high) = (0, Marks::read(&this.conn)?.head as i64);
            let mut found = 0;
            while low < high + 1 {
                let middle = low + (high - low + 1) / 2;
                let row: Option<(i64, i64)> = at_or_before
                    .query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                match row {
                    Some((seq, stored_at)) if stored_at >= at_ms => high = seq - 1,
                    Some((seq, _)) => {
                        found = found.max(seq);
                        low = middle + 1;
                    }
                    None => low = middle + 1,
                }
            }
            Ok(found as u64)
        })
    }

    fn facts(&mut self) -> Result<StoreFacts, Failed> {
        self.snapshot(|this| {
            let marks = Marks::read(&this.conn)?;
            let tail: Option<i64> = this
                .conn
                .prepare_cached("SELECT min(seq) FROM events")?
                .query_row([], |row| row.get(0))?;
            let pages = |name| {
                let sql = format!("PRAGMA {name}");
                this.conn
                    .prepare_cached(&sql)?
                    .query_row([], |row| row.get::<_, i64>(0))
            };
            let free = pages("freelist_count")? as u64;
            Ok(StoreFacts {
                head: marks.head,
                tail: tail.unwrap_or(0) as u64,
                purged: marks.purged,
                used_bytes: (pages("page_count")? as u64 - free) * schema::PAGE_BYTES,
                free_bytes: free * schema::PAGE_BYTES,
                event_bytes: marks.event_bytes,
            })
        })
    }
}
