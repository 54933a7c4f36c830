//! What goes, and when: a bounded piece of it each second.

use crate::core::batch::Ticket;
use crate::core::limits::{COLLECT_MAX, COLLECT_RETRY_MS};
use crate::core::retention::Retention;
use crate::core::state::Core;
use crate::store::{Commit, Expect, StateOp, StoreFacts};

use super::hash::BlobHash;
use super::index::Leaving;
use super::request::BlobTicket;
use super::upload::UploadPhase;
use super::work::{BlobFault, Work};

/// Groups of files that are compared with their records each second after a start.
const SWEEP_GROUPS: usize = 8;

impl Retention {
    /// When a content that was put then goes, if no event names it.
    pub(crate) fn blob_due_ms(&self, put_ms: i64) -> i64 {
        put_ms.saturating_add(i64::try_from(self.blobs_age_ms).unwrap_or(i64::MAX))
    }
}

impl Core {
    /// Every second.
    pub(crate) fn collect_blobs(&mut self) {
        self.drop_uploads();
        self.take_back_given();
        self.forget_read_tokens();
        self.sweep_blobs();
        self.collect_unnamed();
    }

    /// The store is about to be asked for its sizes.
    pub(crate) fn note_asked(&mut self) {
        self.blobs.asked_at = self.last_seq;
    }

    /// No event before the store's first one names anything any more.
    pub(crate) fn unname_blobs(&mut self, facts: StoreFacts) {
        let asked_at = self.blobs.asked_at;
        for _ in 0..COLLECT_MAX {
            let Some((seq, hash)) = self.blobs.named.first().copied() else {
                break;
            };
            // Nothing that was numbered later than the question is judged by its answer.
            if seq > asked_at || (facts.tail != 0 && seq >= facts.tail) {
                break;
            }
            self.blobs.named.pop_first();
            let is_pinned = self.blobs.is_pinned(hash);
            if let Some(blob) = self.blobs.kept.get_mut(&hash) {
                blob.last_named = 0;
                if !is_pinned {
                    blob.topics.clear();
                }
                let due_ms = self.options.retention.blob_due_ms(blob.put_ms);
                self.blobs.set_due(hash, Some(due_ms));
            }
        }
    }

    fn drop_uploads(&mut self) {
        for _ in 0..COLLECT_MAX {
            let Some((at_ms, name)) = self.blobs.upload_due.first().cloned() else {
                break;
            };
            if at_ms > self.now.mono_ms {
                break;
            }
            self.blobs.upload_due.pop_first();
            if self.blobs.finished.remove(&name).is_some() {
                continue;
            }
            let Some(upload) = self.blobs.uploads.get_mut(&name) else {
                continue;
            };
            if !matches!(upload.phase, UploadPhase::Open) {
                // Something is being done with it: judged again when that must be over.
                upload.deadline_ms = self.now.mono_ms + COLLECT_RETRY_MS;
                let deadline_ms = upload.deadline_ms;
                self.blobs.upload_due.insert((deadline_ms, name));
                continue;
            }
            self.counters.add("blob_uploads_dropped", 1);
            if let Some(upload) = self.blobs.take_upload(&name) {
                let dir = upload.dir;
                self.work(Work::Drop { dir, upload: name });
            }
        }
    }

    fn take_back_given(&mut self) {
        for _ in 0..COLLECT_MAX {
            match self.blobs.given.first() {
                Some((at_ms, ..)) if *at_ms <= self.now.mono_ms => self.take_back_oldest(),
                _ => break,
            }
        }
    }

    fn forget_read_tokens(&mut self) {
        while let Some((at_ms, token)) = self.blobs.read_due.first().copied() {
            if at_ms > self.now.mono_ms {
                break;
            }
            self.blobs.read_due.pop_first();
            self.blobs.read_tokens.remove(&token);
        }
    }

    fn collect_unnamed(&mut self) {
        let now_ms = self.now.wall_ms;
        let mut hashes = Vec::new();
        let mut state = Vec::new();
        let delete = |key: String| StateOp {
            key: key.into_bytes(),
            value: None,
            expect: Expect::Any,
            expires_at_ms: None,
        };
        for _ in 0..COLLECT_MAX {
            let Some(hash) = self.blobs.next_due(now_ms) else {
                break;
            };
            if self.blobs.is_pinned(hash) {
                let later_ms = now_ms + COLLECT_RETRY_MS as i64;
                self.blobs.set_due(hash, Some(later_ms));
                continue;
            }
            let Some(blob) = self.blobs.remove(hash) else {
                continue;
            };
            state.push(delete(format!("b/{hash}")));
            state.push(delete(format!("bn/{hash}")));
            for source in &blob.putters {
                state.push(delete(format!("bp/{hash}/{source}")));
            }
            let leaving = Leaving {
                blob: Some(blob),
                deferred: Vec::new(),
            };
            self.blobs.leaving.insert(hash, leaving);
            hashes.push(hash);
        }
        if hashes.is_empty() {
            return;
        }
        let commit = Commit {
            state,
            ..Commit::default()
        };
        self.stage(commit, Ticket::Blob(BlobTicket::Collect(hashes)));
    }

    pub(super) fn collected(&mut self, hashes: &[BlobHash], ok: bool) {
        for hash in hashes {
            if ok {
                self.counters.add("blobs_collected", 1);
                if let Some(leaving) = self.blobs.leaving.get_mut(hash) {
                    leaving.blob = None;
                }
                self.work(Work::Remove { hash: *hash });
                continue;
            }
            let Some(leaving) = self.blobs.leaving.remove(hash) else {
                continue;
            };
            if let Some(blob) = leaving.blob {
                let due_ms = self.now.wall_ms + COLLECT_RETRY_MS as i64;
                self.blobs.put_back(*hash, blob, due_ms);
            }
            for upload in leaving.deferred {
                self.verify(&upload);
            }
        }
    }

    /// A file without a record goes, unless it is being put again.
    pub(super) fn remove_orphan(&mut self, hash: BlobHash) {
        let blobs = &mut self.blobs;
        if blobs.kept.contains_key(&hash)
            || blobs.leaving.contains_key(&hash)
            || blobs.is_pinned(hash)
        {
            return;
        }
        blobs.leaving.insert(hash, Leaving::default());
        self.work(Work::Remove { hash });
    }

    pub(super) fn removed(&mut self, hash: BlobHash, result: Result<(), BlobFault>) {
        if result.is_err() {
            // It has no record: the next start finds it.
            self.counters.add("blob_faults", 1);
        }
        if let Some(leaving) = self.blobs.leaving.remove(&hash) {
            for upload in leaving.deferred {
                self.verify(&upload);
            }
        }
    }

    /// After a start: files that a crash left without a record are looked for, group by group.
    fn sweep_blobs(&mut self) {
        let Some(first) = self.blobs.sweep.take() else {
            return;
        };
        self.work(Work::List { first });
    }

    pub(super) fn swept(&mut self, first: u8, result: Result<Vec<BlobHash>, BlobFault>) {
        match result {
            Ok(hashes) => {
                for hash in hashes {
                    self.remove_orphan(hash);
                }
            }
            Err(_) => self.counters.add("blob_faults", 1),
        }
        let Some(next) = first.checked_add(1) else {
            return;
        };
        if usize::from(next) % SWEEP_GROUPS == 0 {
            self.blobs.sweep = Some(next);
        } else {
            self.work(Work::List { first: next });
        }
    }
}
