//! Events that name blobs: checked before, counted after.

use std::sync::Arc;

use trunkline_contract::envelope::Draft;
use trunkline_contract::error::{Code, Error};

use crate::core::batch::PendingEvent;
use crate::core::limits::BLOB_TOPICS_MAX;
use crate::core::state::Core;
use crate::router::LinkId;
use crate::store::{CommitError, Receipt, StateOp};

use super::hash::BlobHash;
use super::index::NamedRow;

impl Core {
    /// The blobs that an event names, each of which must be there and open to its publisher.
    pub(crate) fn blobs_of(
        &self,
        link: LinkId,
        draft: &Draft<'_>,
        topic: &str,
        is_ephemeral: bool,
    ) -> Result<Box<[BlobHash]>, Error> {
        if draft.blobs.is_empty() {
            return Ok(Box::default());
        }
        if is_ephemeral {
            return Err(Error::new(
                Code::InvalidArguments,
                "an ephemeral event is not retained, so it keeps no blobs",
            ));
        }
        let mut hashes = Vec::with_capacity(draft.blobs.len());
        for id in &draft.blobs {
            let hash = self.readable(link, id)?;
            if hashes.contains(&hash) {
                continue;
            }
            self.check_topics(hash, topic)?;
            hashes.push(hash);
        }
        Ok(hashes.into())
    }

    fn check_topics(&self, hash: BlobHash, topic: &str) -> Result<(), Error> {
        let topics = self.blobs.kept.get(&hash).map(|blob| &blob.topics);
        let is_full = topics.is_some_and(|topics| {
            topics.len() >= BLOB_TOPICS_MAX && !topics.iter().any(|known| **known == *topic)
        });
        if !is_full {
            return Ok(());
        }
        Err(Error::new(
            Code::QuotaExceeded,
            format!("expected {hash:?} on at most {BLOB_TOPICS_MAX} topics"),
        ))
    }

    /// An event that names these goes to the disk, with what its commit has to say of them.
    pub(crate) fn name_blobs(&mut self, events: &[PendingEvent], state: &mut Vec<StateOp>) {
        for pending in events {
            for hash in &pending.blobs {
                self.blobs.pin(*hash);
                let topic = &pending.event.topic;
                let Some(blob) = self.blobs.kept.get_mut(hash) else {
                    continue;
                };
                if !blob.topics.contains(topic) {
                    blob.topics.push(Arc::clone(topic));
                }
                let row = NamedRow {
                    topics: blob.topics.clone(),
                };
                let key = format!("bn/{hash}").into_bytes();
                state.push(crate::router::put_record(key, &row));
            }
        }
    }

    /// The commit of events that name blobs is durable, or refused.
    pub(crate) fn blobs_named(
        &mut self,
        events: &[PendingEvent],
        result: &Result<Receipt, CommitError>,
    ) {
        for (index, pending) in events.iter().enumerate() {
            for hash in &pending.blobs {
                self.blobs.unpin(*hash);
                if let Ok(receipt) = result {
                    self.blobs.name(*hash, receipt.events[index].seq);
                } else if !self.blobs.is_pinned(*hash)
                    && let Some(blob) = self.blobs.kept.get_mut(hash)
                    && blob.last_named == 0
                {
                    blob.topics.clear();
                }
            }
        }
    }
}
