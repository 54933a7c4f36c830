//! What ought to be true of one subscription, kept beside the router and never shown to it.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use trunkline_contract::topic::Filter;

use super::super::*;
use crate::store::{Seq, StoredEvent};

/// What is known of one event for one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Must still end.
    Pending,
    /// May be delivered or not: passed by a seek that is not durable yet.
    Free,
    /// Skipped for this subscription, which is told so by a gap.
    Skipped,
    /// Acked, dead or skipped in this life; a crash before the next batch may undo it.
    Ended(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Acked,
    Dead(&'static str),
}

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) fate: Fate,
    /// A batch made the end durable: it is never delivered again.
    pub(super) durable: bool,
    pub(super) deliveries: u32,
    /// Highest attempt of this life.
    pub(super) attempt: u32,
    pub(super) failures: u32,
    pub(super) deaths_alone: u32,
    /// Epoch of the lease that is out, if one is.
    pub(super) leased: Option<u64>,
    pub(super) replayed: bool,
    /// A commit settled it, and positions could not be written with that: either may be true of it after a
    /// crash.
    pub(super) unsure: bool,
}

impl Known {
    fn new() -> Self {
        Self {
            fate: Fate::Pending,
            durable: false,
            deliveries: 0,
            attempt: 0,
            failures: 0,
            deaths_alone: 0,
            leased: None,
            replayed: false,
            unsure: false,
        }
    }
}

/// One subscription as it ought to be.
#[derive(Debug, Clone)]
pub(super) struct SubModel {
    pub(super) name: String,
    pub(super) filters: Vec<Filter>,
    pub(super) policy: RetryPolicy,
    pub(super) start: Seq,
    pub(super) known: BTreeMap<Seq, Known>,
    /// Highest first delivery per ordering key.
    pub(super) last_first: FxHashMap<String, Seq>,
    /// Counts seeks: an end from before one is no end after it.
    pub(super) seeks: u32,
    /// Ends that no batch carries yet.
    pub(super) unflushed: BTreeSet<Seq>,
    /// Seek that no batch carries yet.
    pub(super) seek_to: Option<Seq>,
    /// It was moved by hand; a crash may undo that, and then an older event may come first after all.
    pub(super) moved: bool,
    pub(super) durable: bool,
    pub(super) deleted: bool,
    /// It knows of everything that was stored before the last batch.
    pub(super) caught_up: bool,
}

impl SubModel {
    pub(super) fn new(ask: &SubscribeAs, start: Seq) -> Self {
        Self {
            name: ask.name.clone(),
            filters: ask.filters.clone(),
            policy: ask.policy.clone().bounded(),
            start,
            known: BTreeMap::new(),
            last_first: FxHashMap::default(),
            seeks: 0,
            unflushed: BTreeSet::new(),
            seek_to: None,
            moved: false,
            durable: false,
            deleted: false,
            caught_up: false,
        }
    }

    pub(super) fn matches(&self, event: &StoredEvent) -> bool {
        event.seq > self.start && self.filters.iter().any(|f| f.matches(&event.topic))
    }

    pub(super) fn know(&mut self, seq: Seq) -> &mut Known {
        self.known.entry(seq).or_insert_with(Known::new)
    }

    pub(super) fn end(&mut self, seq: Seq, end: End) {
        let known = self.know(seq);
        known.fate = Fate::Ended(end);
        known.leased = None;
        self.unflushed.insert(seq);
    }

    /// A crash: what no batch carried is open again.
    pub(super) fn crash(&mut self, is_logged: impl Fn(Seq) -> bool) {
        for (seq, known) in &mut self.known {
            known.leased = None;
            known.attempt = 0;
            if matches!(known.fate, Fate::Ended(_)) && !known.durable {
                // Retention may have taken what was settled.
                known.fate = if !is_logged(*seq) {
                    Fate::Skipped
                } else if known.unsure {
                    Fate::Free
                } else {
                    Fate::Pending
                };
            }
        }
        self.unflushed.clear();
        self.seek_to = None;
        if self.moved {
            self.last_first.clear();
        }
    }
}
