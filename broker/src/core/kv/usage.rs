//! How much each owner keeps, and how far back a watch can resume.
//!
//! Sizes are remembered per entry under a hash of its key (two keys that share one miscount by one entry,
//! no more). Entries and tombstones count until the store has forgotten them.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap};
use trunkline_contract::error::{Code, Error};

use crate::clock::Now;
use crate::core::limits::{KV_BYTES_MAX, KV_ENTRIES_MAX, TOMBSTONE_MS};
use crate::core::state::Core;
use crate::router::LinkId;
use crate::store::{Commit, Expect, Failed, Reader, Seq, StateEntry, StateOp};

use super::key::owner_of;
use super::watch::Watch;

/// Entries looked at in one read while usage is restored.
const RESTORE_ENTRIES: usize = 64;
/// How often a mark is set while keys change.
const MARK_INTERVAL_MS: i64 = 600_000;
/// How often an owner at its quota is looked through for entries that ran out.
const SWEEP_INTERVAL_MS: u64 = 1_000;

/// Everything the core knows of keyed state.
#[derive(Debug, Default)]
pub(crate) struct KvState {
    owners: FxHashMap<Box<str>, Usage>,
    pub(super) watches: FxHashMap<LinkId, Vec<Watch>>,
    pub(super) next_watch: u64,
    /// When which number was the last: `(wall ms, seq)`, oldest first.
    marks: VecDeque<(i64, Seq)>,
    /// Number of the last change of this life.
    last_change: Option<Seq>,
}

/// What one owner keeps.
#[derive(Debug, Default)]
struct Usage {
    bytes: u64,
    sizes: FxHashMap<u64, Size>,
    /// On the way to the disk.
    pending_entries: u64,
    pending_bytes: u64,
    swept_at_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u32,
    expires_at_ms: i64,
}

impl Usage {
    fn set(&mut self, key: &[u8], size: Option<Size>) {
        let hash = FxBuildHasher.hash_one(key);
        let old = match size {
            Some(size) => {
                self.bytes += u64::from(size.bytes);
                self.sizes.insert(hash, size)
            }
            None => self.sizes.remove(&hash),
        };
        self.bytes -= old.map_or(0, |old| u64::from(old.bytes));
    }

    fn get(&self, key: &[u8]) -> Option<Size> {
        self.sizes.get(&FxBuildHasher.hash_one(key)).copied()
    }

    fn sweep(&mut self, now: Now) {
        if now.mono_ms < self.swept_at_ms + SWEEP_INTERVAL_MS {
            return;
        }
        self.swept_at_ms = now.mono_ms;
        let mut freed = 0;
        self.sizes.retain(|_, size| {
            let kept = size.expires_at_ms >= now.wall_ms;
            freed += if kept { 0 } else { u64::from(size.bytes) };
            kept
        });
        self.bytes -= freed;
    }
}

fn size(key: &[u8], value: &[u8], expires_at_ms: Option<i64>) -> Size {
    Size {
        bytes: (key.len() + value.len()) as u32,
        expires_at_ms: expires_at_ms.unwrap_or(i64::MAX),
    }
}

impl KvState {
    /// Reads how much everybody keeps.
    pub(crate) fn restore(reader: &mut dyn Reader, now: Now, boot: u32) -> Result<Self, Failed> {
        let mut state = Self::default();
        for prefix in [&b"k/"[..], &b"kt/"[..]] {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = reader.scan(prefix, after.as_deref(), RESTORE_ENTRIES, now.wall_ms)?;
                for entry in &page {
                    state.restored(entry);
                }
                match page.into_iter().last() {
                    Some(last) => after = Some(last.key),
                    None => break,
                }
            }
        }
        for entry in crate::core::boot::scan_all(reader, b"m/kv/", now)? {
            let text = String::from_utf8_lossy(&entry.key[b"m/kv/".len()..]).into_owned();
            let at_ms = i64::from_str_radix(&text, 16).unwrap_or(0);
            state.marks.push_back((at_ms, entry.revision));
        }
        if boot == 1 {
            // In its first life a store has lost nothing.
            state.marks.push_back((now.wall_ms, 0));
            state.last_change = Some(0);
        }
        Ok(state)
    }

    fn restored(&mut self, entry: &StateEntry) {
        if let Some(owner) = owner_of(&entry.key) {
            let size = size(&entry.key, &entry.value, entry.expires_at_ms);
            let usage = self.owners.entry(owner.into()).or_default();
            usage.set(&entry.key, Some(size));
        }
    }

    /// Checks that an owner may keep this as well.
    pub(super) fn check(&mut self, owner: &str, op: &StateOp, now: Now) -> Result<(), Error> {
        let Some(value) = &op.value else {
            return Ok(());
        };
        let usage = self.owners.entry(owner.into()).or_default();
        let old = usage.get(&op.key);
        let wanted = u64::from(size(&op.key, value, None).bytes);
        let old_bytes = old.map_or(0, |old| u64::from(old.bytes));
        if old.is_some() && wanted <= old_bytes {
            return Ok(());
        }
        let mut fits = usage.fits(wanted - old_bytes.min(wanted), old.is_none());
        if !fits {
            usage.sweep(now);
            fits = usage.fits(wanted - old_bytes.min(wanted), old.is_none());
        }
        if fits {
            return Ok(());
        }
        let message = format!(
            "expected at most {KV_ENTRIES_MAX} entries and {KV_BYTES_MAX} bytes, found {} and {} already; \
             deleted keys count for a day",
            usage.sizes.len(),
            usage.bytes
        );
        Err(Error::new(Code::QuotaExceeded, message))
    }

    /// What is on its way to the disk counts already.
    pub(super) fn reserve(&mut self, owner: &str, value_bytes: u64) {
        let usage = self.owners.entry(owner.into()).or_default();
        usage.pending_entries += 1;
        usage.pending_bytes += value_bytes;
    }

    /// It arrived, or not.
    pub(super) fn settle(&mut self, owner: &str, value_bytes: u64) {
        let usage = self.owners.entry(owner.into()).or_default();
        usage.pending_entries = usage.pending_entries.saturating_sub(1);
        usage.pending_bytes = usage.pending_bytes.saturating_sub(value_bytes);
    }

    /// An entry is durable.
    pub(super) fn stored(&mut self, owner: &str, key: &[u8], value: Option<(&[u8], Option<i64>)>) {
        let usage = self.owners.entry(owner.into()).or_default();
        usage.set(key, value.map(|(value, expires)| size(key, value, expires)));
    }

    /// The oldest number after which every deletion is still remembered, in a store that has given
    /// `last_seq`.
    pub(super) fn oldest_revision(&mut self, now: Now, last_seq: Seq) -> Seq {
        let since_ms = now.wall_ms - TOMBSTONE_MS;
        while self.marks.len() > 1 && self.marks[0].0 <= since_ms {
            self.marks.pop_front();
        }
        match self.marks.front() {
            Some((at_ms, seq)) if *at_ms > since_ms => *seq,
            // Nothing changed for a day: whoever knows the last change missed none.
            _ => self.last_change.unwrap_or(last_seq),
        }
    }
}

impl Usage {
    fn fits(&self, bytes: u64, is_new: bool) -> bool {
        self.sizes.len() as u64 + self.pending_entries + u64::from(is_new) <= KV_ENTRIES_MAX
            && self.bytes + self.pending_bytes + bytes <= KV_BYTES_MAX
    }
}

impl Core {
    /// Something changed: a mark is set if the last one is old. A watch may resume from it for a day.
    pub(super) fn mark_kv(&mut self, revision: Seq) {
        let is_first = self.kv_state.last_change.is_none_or(|seq| seq == 0);
        self.kv_state.last_change = Some(revision);
        let at_ms = self.now.wall_ms;
        let is_old = self
            .kv_state
            .marks
            .back()
            .is_none_or(|(marked_ms, _)| at_ms - marked_ms >= MARK_INTERVAL_MS);
        if !is_first && !is_old {
            return;
        }
        self.kv_state.marks.push_back((at_ms, revision));
        let op = StateOp {
            key: format!("m/kv/{:016x}", at_ms.max(0)).into_bytes(),
            value: Some(Vec::new()),
            expect: Expect::Any,
            expires_at_ms: Some(at_ms + TOMBSTONE_MS),
        };
        let commit = Commit {
            state: vec![op],
            ..Commit::default()
        };
        self.stage(commit, crate::core::batch::Ticket::Nothing);
    }
}
