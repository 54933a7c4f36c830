//! What ought to be true of one subscription, kept beside the router and never shown to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// Which filters of the subscription selected it first, or brought it, if nothing was promised of it.
    pub(super) version: u32,
    /// The last seek that must bring it, once that is durable: it was selected then.
    pub(super) sought: u32,
    /// The last seek that opened it again, where it was not open before.
    pub(super) opened: u32,
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
            version: 0,
            sought: 0,
            opened: 0,
        }
    }
}

/// One subscription as it ought to be.
#[derive(Debug, Clone)]
pub(super) struct SubModel {
    pub(super) name: String,
    pub(super) filters: Vec<Filter>,
    /// Counts its filters.
    pub(super) version: u32,
    pub(super) durable_version: u32,
    pub(super) policy: RetryPolicy,
    pub(super) start: Seq,
    pub(super) known: BTreeMap<Seq, Known>,
    /// Highest first delivery per ordering key.
    pub(super) last_first: FxHashMap<String, Seq>,
    /// Counts seeks: an end from before one is no end after it.
    pub(super) seeks: u32,
    /// The last of them that is on the disk.
    pub(super) durable_seeks: u32,
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
            version: 0,
            durable_version: 0,
            policy: ask.policy.clone().bounded(),
            start,
            known: BTreeMap::new(),
            last_first: FxHashMap::default(),
            seeks: 0,
            durable_seeks: 0,
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
        let version = self.version;
        self.known.entry(seq).or_insert_with(|| Known {
            version,
            ..Known::new()
        })
    }

    /// It comes, or ends, by the filters of now. If these are lost in a crash, it was promised to nobody.
    pub(super) fn brought(&mut self, seq: Seq) {
        let version = self.version;
        let known = self.know(seq);
        if known.fate == Fate::Free && known.deliveries == 0 {
            known.version = version;
        }
    }

    pub(super) fn end(&mut self, seq: Seq, end: End) {
        self.brought(seq);
        let known = self.know(seq);
        known.fate = Fate::Ended(end);
        known.leased = None;
        self.unflushed.insert(seq);
    }

    /// A crash while filters were on their way to the disk: these are back, and what only the lost ones selected
    /// was promised to nobody.
    pub(super) fn filters_restored(
        &mut self,
        filters: &[Filter],
        topic_of: impl Fn(Seq) -> Arc<str>,
    ) {
        if self.version == self.durable_version {
            return;
        }
        self.version = self.durable_version;
        self.filters = filters.to_vec();
        self.last_first.clear();
        for (seq, known) in &mut self.known {
            if known.version <= self.version {
                continue;
            }
            known.version = self.version;
            let topic = topic_of(*seq);
            let is_selected = self.filters.iter().any(|f| f.matches(&topic));
            if known.fate == Fate::Pending && !is_selected {
                known.fate = Fate::Free;
            }
        }
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
                } else if known.unsure || known.opened > self.durable_seeks {
                    // A seek that is lost has opened nothing.
                    Fate::Free
                } else {
                    Fate::Pending
                };
            }
            if known.opened > self.durable_seeks {
                known.opened = 0;
            }
        }
        self.unflushed.clear();
        self.seek_to = None;
        if self.moved {
            self.last_first.clear();
        }
    }
}
