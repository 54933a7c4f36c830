//! What the log forgets, and when.

use crate::clock::Now;
use crate::router::Hold;
use crate::store::{EventPage, StoreFacts};

use super::state::{Core, Timer};

/// How often retention looks, in milliseconds.
pub(crate) const RETIRE_INTERVAL_MS: u64 = 1_000;

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
    /// How long a subscription may keep events back.
    pub hold_age_ms: u64,
    /// Disk use at which publishes are refused, in percent.
    pub disk_full_percent: u8,
    /// Disk use at which `doctor` warns, in percent.
    pub disk_warn_percent: u8,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events_age_ms: 7 * 86_400_000,
            events_bytes: 4 << 30,
            dead_letters: 100_000,
            dead_letter_bytes: 1 << 30,
            hold_age_ms: 7 * 86_400_000,
            disk_full_percent: 92,
            disk_warn_percent: 85,
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
pub struct RetentionRead {}

/// Retention under way.
#[derive(Debug)]
pub(crate) struct Retirement {}

impl Retirement {
    pub(crate) fn new(_facts: StoreFacts, _now: Now) -> Self {
        Self {}
    }
    pub(crate) fn disk_percent(&self) -> f64 {
        0.0
    }
    pub(crate) fn stored(&mut self, _bytes: usize) {}
}

impl Core {
    /// Refuses what would make the store grow while the disk is full.
    pub(crate) fn check_room(&self) -> Result<(), trunkline_contract::error::Error> {
        Ok(())
    }

    pub(crate) fn retire(&mut self) {
        self.cut_dead_letters();
        self.arm(self.now.mono_ms + RETIRE_INTERVAL_MS, Timer::Retire);
    }
    pub(crate) fn retire_facts(&mut self, _facts: StoreFacts) {}
    pub(crate) fn retire_page(&mut self, _page: EventPage, _read: RetentionRead) {}
    pub(crate) fn retired(&mut self, _ok: bool) {}
}
