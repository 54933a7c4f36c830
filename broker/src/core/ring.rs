//! The newest events in memory, so that live delivery reads no disk.

use std::collections::VecDeque;
use std::sync::Arc;

use trunkline_contract::topic::Filter;

use crate::router::limits::{RING_BYTES_MAX, RING_EVENTS_MAX};
use crate::store::{EventPage, ReadLimit, Seq, StoredEvent};

/// A bounded queue of durable events without holes.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<StoredEvent>>,
    bytes: usize,
    /// Every event after this number is in the ring.
    complete_after: Seq,
}

impl Ring {
    /// An empty ring of a store whose newest event is `head`.
    pub(crate) fn new(head: Seq) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            complete_after: head,
        }
    }

    pub(crate) fn push(&mut self, event: Arc<StoredEvent>) {
        self.bytes += event.envelope.len();
        self.events.push_back(event);
        while self.bytes > RING_BYTES_MAX || self.events.len() > RING_EVENTS_MAX {
            let Some(old) = self.events.pop_front() else {
                break;
            };
            self.bytes -= old.envelope.len();
            self.complete_after = old.seq;
        }
    }

    /// Answers a read from memory, if everything it asks for is there.
    pub(crate) fn read(
        &self,
        after: Seq,
        filters: &[Filter],
        limit: ReadLimit,
    ) -> Option<EventPage> {
        if after < self.complete_after {
            return None;
        }
        let start = self.events.partition_point(|event| event.seq <= after);
        let mut page = EventPage {
            next: after,
            ..EventPage::default()
        };
        let mut bytes = 0;
        for event in self.events.range(start..) {
            if filters.iter().any(|filter| filter.matches(&event.topic)) {
                let full = page.events.len() >= limit.events
                    || (bytes > 0 && bytes + event.envelope.len() > limit.bytes);
                if full {
                    page.head = self.events.back().map_or(after, |event| event.seq);
                    return Some(page);
                }
                bytes += event.envelope.len();
                page.events.push(StoredEvent::clone(event));
            }
            page.next = event.seq;
        }
        page.head = page.next;
        Some(page)
    }

    /// These events, if all of them are in memory.
    pub(crate) fn read_at(&self, seqs: &[Seq]) -> Option<Vec<StoredEvent>> {
        seqs.iter()
            .map(|seq| {
                let index = self
                    .events
                    .binary_search_by_key(seq, |event| event.seq)
                    .ok()?;
                Some(StoredEvent::clone(&self.events[index]))
            })
            .collect()
    }
}
