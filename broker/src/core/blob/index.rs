//! What is kept, for whom, and how much.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use trunkline_contract::error::{Code, Error};

use crate::clock::Now;
use crate::core::boot::scan_all;
use crate::core::limits::{BLOBS_KEPT_MAX, FINISHED_MAX, UPLOADS_MAX, UPLOADS_PER_SOURCE_MAX};
use crate::core::retention::Retention;
use crate::store::{Failed, Reader, Seq, StateEntry};

use super::hash::BlobHash;
use super::upload::{Finished, ReadToken, Upload};

/// A content that is kept.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) bytes: u64,
    pub(super) media_type: Option<Box<str>>,
    /// When it was put last.
    pub(super) put_ms: i64,
    pub(super) putters: Vec<Arc<str>>,
    /// Topics of the events that named it, while one of them may be there.
    pub(super) topics: Vec<Arc<str>>,
    /// No event after this number names it; 0: none does.
    pub(super) last_named: Seq,
    /// Its place in the order of what goes.
    due_ms: Option<i64>,
}

impl Blob {
    pub(super) fn new(bytes: u64, media_type: Option<Box<str>>, put_ms: i64) -> Self {
        Self {
            bytes,
            media_type,
            put_ms,
            putters: Vec::new(),
            topics: Vec::new(),
            last_named: 0,
            due_ms: None,
        }
    }
}

/// A content that is being removed.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Its record, unless it has none any more.
    pub(super) blob: Option<Blob>,
    /// Uploads of the same content that wait until it is gone.
    pub(super) deferred: Vec<Box<str>>,
}

/// The value of `b/<sha256>`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BlobRow {
    pub(super) bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<Box<str>>,
    pub(super) put_ms: i64,
}

/// The value of `bn/<sha256>`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NamedRow {
    pub(super) topics: Vec<Arc<str>>,
}

/// Everything the core knows of blobs.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    pub(super) kept: FxHashMap<BlobHash, Blob>,
    pub(super) leaving: FxHashMap<BlobHash, Leaving>,
    /// Contents that must stay: named by events on their way to the disk, or being put.
    pins: FxHashMap<BlobHash, u32>,
    /// Unnamed contents by the wall-clock ms at which they go.
    due: BTreeSet<(i64, BlobHash)>,
    /// Named contents by the number of the last event that may name them.
    pub(super) named: BTreeSet<(Seq, BlobHash)>,
    pub(super) bytes: u64,
    pub(super) uploads: FxHashMap<Box<str>, Upload>,
    pub(super) upload_bytes: u64,
    /// Uploads that are done, so that a repeated `blob.finish` gets the same answer.
    pub(super) finished: FxHashMap<Box<str>, Finished>,
    /// The same in order, oldest first.
    finished_order: VecDeque<Box<str>>,
    /// When an upload is forgotten, in monotonic ms.
    pub(super) upload_due: BTreeSet<(u64, Box<str>)>,
    /// Files in the directories of peers, by the monotonic ms at which they are taken back.
    pub(super) given: BTreeSet<(u64, Box<str>, BlobHash)>,
    pub(super) given_due: FxHashMap<(Box<str>, BlobHash), u64>,
    pub(super) read_tokens: FxHashMap<[u8; 32], ReadToken>,
    pub(super) read_due: BTreeSet<(u64, [u8; 32])>,
    /// Bytes by source: what it put, and what it is putting.
    used: FxHashMap<Arc<str>, u64>,
    uploads_of: FxHashMap<Arc<str>, usize>,
    /// Free bytes of the disk, if the driver said.
    pub(super) disk_free: Option<u64>,
    /// The first byte of the names that are compared with the files next, after a start.
    pub(super) sweep: Option<u8>,
    /// Everything up to here was durable when the store was last asked for its sizes.
    pub(super) asked_at: Seq,
}

impl Blobs {
    pub(crate) fn restore(
        reader: &mut dyn Reader,
        retention: &Retention,
        now: Now,
    ) -> Result<Self, Failed> {
        let mut blobs = Self {
            sweep: Some(0),
            ..Self::default()
        };
        for entry in scan_all(reader, b"b/", now)? {
            let hash = hash_of(&entry, 2)?;
            let row: BlobRow = read(&entry)?;
            blobs.bytes += row.bytes;
            let blob = Blob::new(row.bytes, row.media_type, row.put_ms);
            blobs.kept.insert(hash, blob);
        }
        for entry in scan_all(reader, b"bp/", now)? {
            let hash = hash_of(&entry, 3)?;
            let source: Arc<str> = String::from_utf8_lossy(&entry.key[68..]).into();
            if let Some(blob) = blobs.kept.get_mut(&hash) {
                blob.putters.push(source.clone());
                *blobs.used.entry(source).or_default() += blob.bytes;
            }
        }
        let mut names: FxHashSet<Arc<str>> = FxHashSet::default();
        for entry in scan_all(reader, b"bn/", now)? {
            let hash = hash_of(&entry, 3)?;
            let row: NamedRow = read(&entry)?;
            if let Some(blob) = blobs.kept.get_mut(&hash) {
                blob.last_named = entry.revision;
                blob.topics = row
                    .topics
                    .into_iter()
                    .map(|t| share(&mut names, t))
                    .collect();
            }
        }
        for (hash, blob) in &mut blobs.kept {
            if blob.last_named == 0 {
                let due_ms = retention.blob_due_ms(blob.put_ms);
                blob.due_ms = Some(due_ms);
                blobs.due.insert((due_ms, *hash));
            } else {
                blobs.named.insert((blob.last_named, *hash));
            }
        }
        Ok(blobs)
    }

    /// Checks that a source may keep so many bytes more.
    pub(super) fn check(
        &self,
        source: &Arc<str>,
        bytes: u64,
        retention: &Retention,
    ) -> Result<(), Error> {
        let own = self.used.get(source).copied().unwrap_or(0);
        let all = self.bytes + self.upload_bytes;
        let uploads = self.uploads_of.get(source).copied().unwrap_or(0);
        let over = |limit: u64, found: u64| found.saturating_add(bytes) > limit;
        let message = if over(retention.blobs_source_bytes, own) {
            format!(
                "expected at most {} bytes of blobs of one source, found {own} and {bytes} more",
                retention.blobs_source_bytes
            )
        } else if over(retention.blobs_bytes, all) {
            format!(
                "expected at most {} bytes of blobs, found {all} and {bytes} more",
                retention.blobs_bytes
            )
        } else if self.kept.len() + self.uploads.len() >= BLOBS_KEPT_MAX {
            format!("expected at most {BLOBS_KEPT_MAX} blobs")
        } else if uploads >= UPLOADS_PER_SOURCE_MAX || self.uploads.len() >= UPLOADS_MAX {
            format!(
                "expected at most {UPLOADS_PER_SOURCE_MAX} unfinished uploads of one source and \
                 {UPLOADS_MAX} in all; finish one, or wait"
            )
        } else {
            return self.check_disk(bytes);
        };
        Err(Error::new(Code::QuotaExceeded, message))
    }

    /// What is announced must leave a tenth of the free disk to the store.
    fn check_disk(&self, bytes: u64) -> Result<(), Error> {
        let wanted = self.upload_bytes.saturating_add(bytes);
        match self.disk_free {
            Some(free) if wanted > free / 10 * 9 => Err(Error::new(
                Code::StorageFull,
                format!("expected room for {wanted} bytes, found {free} free on the disk"),
            )
            .retry_after(60_000)),
            _ => Ok(()),
        }
    }

    pub(super) fn use_bytes(&mut self, source: &Arc<str>, bytes: u64) {
        *self.used.entry(source.clone()).or_default() += bytes;
    }

    pub(super) fn free_bytes(&mut self, source: &Arc<str>, bytes: u64) {
        if let Some(used) = self.used.get_mut(source) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.used.remove(source);
            }
        }
    }

    pub(super) fn add_upload(&mut self, name: Box<str>, upload: Upload) {
        self.use_bytes(&upload.source, upload.bytes);
        self.upload_bytes += upload.bytes;
        *self.uploads_of.entry(upload.source.clone()).or_default() += 1;
        self.upload_due.insert((upload.deadline_ms, name.clone()));
        self.uploads.insert(name, upload);
    }

    pub(super) fn take_upload(&mut self, name: &str) -> Option<Upload> {
        let upload = self.uploads.remove(name)?;
        self.free_bytes(&upload.source, upload.bytes);
        self.upload_bytes -= upload.bytes;
        if let Some(count) = self.uploads_of.get_mut(&upload.source) {
            *count -= 1;
            if *count == 0 {
                self.uploads_of.remove(&upload.source);
            }
        }
        self.upload_due.remove(&(upload.deadline_ms, name.into()));
        Some(upload)
    }

    /// Remembers an upload that is done until its time is over, or until too many others are.
    pub(super) fn add_finished(&mut self, name: Box<str>, finished: Finished) {
        while self.finished_order.len() >= FINISHED_MAX {
            let Some(oldest) = self.finished_order.pop_front() else {
                break;
            };
            if let Some(oldest_done) = self.finished.remove(&oldest) {
                self.upload_due.remove(&(oldest_done.deadline_ms, oldest));
            }
        }
        self.upload_due.insert((finished.deadline_ms, name.clone()));
        self.finished_order.push_back(name.clone());
        self.finished.insert(name, finished);
    }

    pub(super) fn pin(&mut self, hash: BlobHash) {
        *self.pins.entry(hash).or_default() += 1;
    }

    pub(super) fn unpin(&mut self, hash: BlobHash) {
        if let Some(pins) = self.pins.get_mut(&hash) {
            *pins -= 1;
            if *pins == 0 {
                self.pins.remove(&hash);
            }
        }
    }

    pub(super) fn is_pinned(&self, hash: BlobHash) -> bool {
        self.pins.contains_key(&hash)
    }

    /// Sets when a content goes; `None`: not while an event names it.
    pub(super) fn set_due(&mut self, hash: BlobHash, due_ms: Option<i64>) {
        let Some(blob) = self.kept.get_mut(&hash) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut blob.due_ms, due_ms) {
            self.due.remove(&(before, hash));
        }
        if let Some(due_ms) = due_ms {
            self.due.insert((due_ms, hash));
        }
    }

    /// The next content that is to go by `now_ms`.
    pub(super) fn next_due(&self, now_ms: i64) -> Option<BlobHash> {
        let (at_ms, hash) = self.due.first()?;
        (*at_ms <= now_ms).then_some(*hash)
    }

    /// An event of this number names it.
    pub(super) fn name(&mut self, hash: BlobHash, seq: Seq) {
        let Some(blob) = self.kept.get_mut(&hash) else {
            return;
        };
        let before = blob.last_named;
        if seq <= before {
            return;
        }
        blob.last_named = seq;
        self.named.remove(&(before, hash));
        self.named.insert((seq, hash));
        self.set_due(hash, None);
    }

    /// Takes a content out of everything that is kept.
    pub(super) fn remove(&mut self, hash: BlobHash) -> Option<Blob> {
        self.set_due(hash, None);
        let blob = self.kept.remove(&hash)?;
        self.bytes -= blob.bytes;
        for source in &blob.putters {
            self.free_bytes(source, blob.bytes);
        }
        Some(blob)
    }

    /// Puts back what [`Blobs::remove`] took out.
    pub(super) fn put_back(&mut self, hash: BlobHash, blob: Blob, due_ms: i64) {
        self.bytes += blob.bytes;
        for source in &blob.putters {
            self.use_bytes(source, blob.bytes);
        }
        self.kept.insert(hash, blob);
        self.set_due(hash, Some(due_ms));
    }
}

fn share(names: &mut FxHashSet<Arc<str>>, text: Arc<str>) -> Arc<str> {
    if let Some(found) = names.get(&text) {
        return found.clone();
    }
    names.insert(text.clone());
    text
}

fn hash_of(entry: &StateEntry, prefix: usize) -> Result<BlobHash, Failed> {
    entry
        .key
        .get(prefix..prefix + 64)
        .and_then(|hex| BlobHash::parse(std::str::from_utf8(hex).ok()?))
        .ok_or_else(|| unreadable(entry))
}

fn read<'a, T: Deserialize<'a>>(entry: &'a StateEntry) -> Result<T, Failed> {
    serde_json::from_slice(&entry.value).map_err(|_| unreadable(entry))
}

fn unreadable(entry: &StateEntry) -> Failed {
    let key = String::from_utf8_lossy(&entry.key);
    Failed {
        reason: format!("expected a record of this version at {key:?}, found something else"),
    }
}
