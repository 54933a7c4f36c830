//! What the log forgets, and when; and what is refused while the disk is full.
//!
//! Events older than their age, and the oldest above their bytes, go, at most 64 per commit, unless a
//! subscription holds them. The search moves over what is held and comes back when something was let go.
//! What one subscription may hold is bounded by `hold`. One page of the log is read at a time.

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{BLOB_AGE_MS, BLOB_BYTES_MAX, BLOB_SOURCE_BYTES_MAX};
use trunkline_contract::topic::Filter;

use crate::clock::Now;
use crate::router::Hold;
use crate::store::{Commit, EventPage, ReadLimit, Seq, StoreFacts};

use super::batch::Ticket;
use super::hold::HoldCheck;
use super::read::{FactsThen, LogThen, ReadRequest};
use super::state::{Core, Output, Timer};

/// How often retention looks, in milliseconds.
pub(crate) const RETIRE_INTERVAL_MS: u64 = 1_000;
/// Events one commit forgets: the store's share for retention.
const PURGE_EVENTS: usize = 64;
/// Pages looked at before the next second.
const PAGES_MAX: usize = 128;
/// One page.
const PAGE: ReadLimit = ReadLimit {
    events: 1024,
    bytes: 4 << 20,
    scanned: 16_384,
};
/// How long the search stays beyond something held when nothing seems to have changed.
const RETURN_MS: u64 = 60_000;
/// When a publish refused for lack of room may be tried again.
const FULL_RETRY_MS: u64 = 5_000;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events older than this may go.
    pub events_age_ms: u64,
    /// Above this many bytes the oldest may go.
    pub events_bytes: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Bytes of dead letters kept.
    pub dead_letter_bytes: u64,
    /// How long a blob is kept that no event names.
    pub blobs_age_ms: u64,
    /// Bytes of blobs kept.
    pub blobs_bytes: u64,
    /// Bytes of blobs that one source put.
    pub blobs_source_bytes: u64,
    /// How long a subscription may keep events back.
    pub hold_age_ms: u64,
    /// Disk use at which publishes are refused, in percent.
    pub disk_full_percent: u8,
    /// Disk use at which `doctor` warns, in percent.
    pub disk_warn_percent: u8,
    /// Bytes the whole store may use, if less than its disk: counts like a disk of this size.
    pub store_bytes_max: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events_age_ms: 7 * 86_400_000,
            events_bytes: 4 << 30,
            dead_letters: 100_000,
            dead_letter_bytes: 1 << 30,
            blobs_age_ms: BLOB_AGE_MS,
            blobs_bytes: BLOB_BYTES_MAX,
            blobs_source_bytes: BLOB_SOURCE_BYTES_MAX,
            hold_age_ms: 7 * 86_400_000,
            disk_full_percent: 92,
            disk_warn_percent: 85,
            store_bytes_max: None,
        }
    }
}

impl Retention {
    /// What one subscription may keep back: the age, and a quarter of the store.
    pub fn hold(&self) -> Hold {
        Hold {
            age_ms: self.hold_age_ms,
            bytes: self.events_bytes / 4,
        }
    }
}

/// A piece of the log that retention looks at.
#[derive(Debug)]
pub struct RetentionRead(pub(super) Looking);

#[derive(Debug)]
pub(super) enum Looking {
    /// For what may go.
    Purge,
    /// For what one subscription holds.
    Hold(Box<HoldCheck>),
}

/// Retention under way.
#[derive(Debug)]
pub(crate) struct Retirement {
    disk_percent: f64,
    store_percent: f64,
    /// Bytes of events, as the store said last, and what changed since.
    event_bytes: u64,
    /// Everything up to here was looked at.
    cursor: Seq,
    /// The first event that should go and is held, and where every subscription stood then.
    held: Option<(Seq, Seq)>,
    returned_at_ms: u64,
    pages_left: usize,
    /// A page is being read, or its commits are under way.
    is_busy: bool,
    /// Commits under way.
    commits: usize,
    /// Nothing more is to go.
    is_done: bool,
    pub(super) holds: super::hold::Holds,
}

impl Retirement {
    pub(crate) fn new(facts: StoreFacts, now: Now) -> Self {
        Self {
            disk_percent: 0.0,
            store_percent: 0.0,
            event_bytes: facts.event_bytes,
            cursor: 0,
            held: None,
            returned_at_ms: now.mono_ms,
            pages_left: 0,
            is_busy: false,
            commits: 0,
            is_done: false,
            holds: super::hold::Holds::default(),
        }
    }

    pub(crate) fn stored(&mut self, bytes: usize) {
        self.event_bytes += bytes as u64;
    }

    /// Share of the disk, or of what the store may use, that is used.
    pub(crate) fn disk_percent(&self) -> f64 {
        self.disk_percent.max(self.store_percent)
    }
}

impl Core {
    /// Says how full the disk under the store is, in percent. The driver looks from time to time.
    pub fn set_disk(&mut self, percent: f64) {
        self.retirement.disk_percent = percent;
    }

    /// Refuses what would make the store grow while the disk is full.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        let (used, full) = (
            self.retirement.disk_percent(),
            self.options.retention.disk_full_percent,
        );
        if used < f64::from(full) {
            return Ok(());
        }
        Err(Error::new(
            Code::StorageFull,
            format!("expected less than {full} % of the disk to be used, found {used:.0} %"),
        )
        .retry_after(FULL_RETRY_MS))
    }

    /// Says when something is due beside the look for what is over its limits, each second.
    #[cfg(any(test, feature = "testing"))]
    pub fn next_event_ms(&self) -> Option<u64> {
        let mut own = self.timers.iter();
        let own = own.find(|(_, timer)| !matches!(timer, Timer::Retire));
        self.sooner(own.map(|(at, _)| *at))
    }

    /// Every second: what is over its limits goes, a bounded piece of it.
    pub(crate) fn retire(&mut self) {
        self.arm(self.now.mono_ms + RETIRE_INTERVAL_MS, Timer::Retire);
        self.cut_dead_letters();
        self.router.note_served(self.now);
        self.check_holds();
        self.collect_blobs();
        if !self.retirement.is_busy {
            self.retirement.is_busy = true;
            self.note_asked();
            self.outputs.push(Output::Read(ReadRequest::Facts {
                counts: Vec::new(),
                then: FactsThen::Retention,
            }));
        }
    }

    pub(crate) fn retire_facts(&mut self, facts: StoreFacts) {
        let retirement = &mut self.retirement;
        retirement.event_bytes = facts.event_bytes;
        retirement.store_percent = match self.options.retention.store_bytes_max {
            Some(max) => facts.used_bytes as f64 / max.max(1) as f64 * 100.0,
            None => 0.0,
        };
        if let Some((lowest, floor)) = retirement.held {
            let is_long_ago = self.now.mono_ms >= retirement.returned_at_ms + RETURN_MS;
            if is_long_ago || self.router.floor() > floor {
                retirement.cursor = retirement.cursor.min(lowest - 1);
                retirement.held = None;
                retirement.returned_at_ms = self.now.mono_ms;
            }
        }
        retirement.pages_left = PAGES_MAX;
        self.look_on();
    }

    fn look_on(&mut self) {
        let retirement = &mut self.retirement;
        if retirement.pages_left == 0 || retirement.cursor >= self.router.head() {
            retirement.is_busy = false;
            return;
        }
        retirement.pages_left -= 1;
        self.outputs.push(Output::Read(ReadRequest::Log {
            after: retirement.cursor,
            filters: vec![Filter::parse(">").expect("a literal filter")],
            limit: PAGE,
            then: LogThen::Retention(RetentionRead(Looking::Purge)),
        }));
    }

    pub(crate) fn retire_page(&mut self, page: EventPage, read: RetentionRead) {
        match read.0 {
            Looking::Purge => self.purge_page(&page),
            Looking::Hold(check) => self.hold_page(&page, check),
        }
    }

    fn purge_page(&mut self, page: &EventPage) {
        let retention = self.options.retention;
        let age_ms = i64::try_from(retention.events_age_ms).unwrap_or(i64::MAX);
        let oldest_ms = self.now.wall_ms.saturating_sub(age_ms);
        let held = self.router.needed(&page.events);
        let floor = self.router.floor();
        let retirement = &mut self.retirement;
        let mut purge = Vec::new();
        retirement.is_done = page.next <= retirement.cursor;
        let mut looked_to = page.next;
        for (event, is_held) in page.events.iter().zip(held) {
            let is_over = retirement.event_bytes > retention.events_bytes;
            if event.stored_at_ms >= oldest_ms && !is_over {
                looked_to = event.seq - 1;
                retirement.is_done = true;
                break;
            }
            if is_held {
                retirement.held.get_or_insert((event.seq, floor));
                continue;
            }
            let bytes = event.envelope.len() as u64;
            retirement.event_bytes = retirement.event_bytes.saturating_sub(bytes);
            purge.push(event.seq);
        }
        retirement.cursor = retirement.cursor.max(looked_to);
        self.counters.add("events_retired", purge.len() as u64);
        self.retirement.commits = purge.chunks(PURGE_EVENTS).len();
        for seqs in purge.chunks(PURGE_EVENTS) {
            let commit = Commit {
                purge: seqs.to_vec(),
                ..Commit::default()
            };
            self.stage(commit, Ticket::Retired);
        }
        if self.retirement.commits == 0 {
            self.page_retired();
        }
    }

    fn page_retired(&mut self) {
        if self.retirement.is_done {
            self.retirement.is_busy = false;
        } else {
            self.look_on();
        }
    }

    pub(crate) fn retired(&mut self, ok: bool) {
        self.retirement.commits -= 1;
        self.retirement.is_done |= !ok;
        if self.retirement.commits == 0 {
            self.page_retired();
        }
    }
}
