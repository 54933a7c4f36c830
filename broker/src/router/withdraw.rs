//! What waits for a subscription that selects it no longer.
//!
//! Filters go: another manifest, fewer grants, a declaration that is not made again. What was published before
//! and is not settled was promised to somebody, so it is not passed over. It is a dead letter of the subscription,
//! reason `removed` with code `topic_not_granted`, unless another subscription of the same instance selects it: then
//! it is handed over once, there if that one came by it, else here ([`Fate`]).
//!
//! | what waits | is kept by |
//! |---|---|
//! | known: loaded, parked, waiting, left by an earlier life | the position, which lists all of it from the change on |
//! | not read yet | a note in the record, [`Withdrawn`]: the cursor reads with its filters as well |
//! | in flight | its lease: who has it may settle it, what is given back is judged |
//!
//! Invariants:
//!
//! - A record that changes its filters, or drops a note, is in one commit with a position that counts everything up
//!   to the cursor ([`Subscription::pin`]). So at any moment the disk has the note, or has what it selected.
//! - An event is judged by the filters of the moment: filters that come back before it was judged have it delivered.
//! - Nothing is judged while no link takes deliveries: what a plugin selects beyond its manifest is known again only
//!   after its handshake.
//! - At most [`WITHDRAWN_FILING_MAX`] dead letters, and one page, are ahead of the disk.
//!
//! Ephemeral events that wait and are selected no longer are dropped and counted: nobody was promised them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trunkline_contract::topic::{Filter, is_private};

use crate::clock::Now;
use crate::store::{Expect, Seq, StateOp};

use super::dead_letter::DeadReason;
use super::entry::Row;
use super::limits::{WITHDRAWN_FILING_MAX, WITHDRAWN_FILTERS_MAX, WITHDRAWN_MAX};
use super::meter::Dropped;
use super::position::trimmed;
use super::subscription::{Owner, SubId, Subscription};
use super::table::{Command, Router, put};

/// Filters that went, and the numbers that they still count for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Withdrawn {
    pub(crate) filters: Vec<Filter>,
    /// Everything up to here was read when they went.
    pub(crate) after: Seq,
    /// The newest event when they went.
    pub(crate) upto: Seq,
}

/// What becomes of an event that its subscription selects no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Another subscription of the instance selects it, and did not come by it or is served by nobody: it is handed over
    /// all the same.
    Here,
    /// Another subscription of the instance selects it, and came by it or will.
    There,
    /// A dead letter.
    Nowhere,
}

impl Withdrawn {
    fn selects(&self, seq: Seq, topic: &str) -> bool {
        seq > self.after
            && seq <= self.upto
            && self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// Takes in another: between the two it selects a little more than both did, so rather a dead letter too
    /// many than an event that is lost.
    fn merge(&mut self, other: Self) {
        self.after = self.after.min(other.after);
        self.upto = self.upto.max(other.upto);
        for filter in other.filters {
            if !is_covered(&filter, &self.filters) {
                self.filters.push(filter);
            }
        }
        if self.filters.len() > WITHDRAWN_FILTERS_MAX {
            let is_public = self.filters.iter().any(Filter::is_public);
            let all = Filter::parse(">").expect("a literal filter");
            self.filters.retain(|filter| is_private(filter.as_str()));
            self.filters
                .push(if is_public { all.public() } else { all });
        }
    }
}

/// Says whether one of `filters` selects all that this one selects. In doubt it does not.
pub(crate) fn is_covered(filter: &Filter, filters: &[Filter]) -> bool {
    let covers =
        |other: &Filter| other.covers(filter) && (filter.is_public() || !other.is_public());
    filters.iter().any(covers)
}

impl Subscription {
    /// Says whether an event that was not read yet must come to it, be it as a dead letter.
    pub(crate) fn wants(&self, seq: Seq, topic: &str) -> bool {
        self.matches(topic) || self.withdrawn.iter().any(|note| note.selects(seq, topic))
    }

    /// What the log is read with for it: its filters, and those that went before everything was read.
    pub fn read_filters(&self) -> Vec<Filter> {
        let withdrawn = self.withdrawn.iter().flat_map(|note| &note.filters);
        self.filters.iter().chain(withdrawn).cloned().collect()
    }

    /// What the log is read with to find all that it keeps: of what it knows and selects no longer, no filter tells.
    pub fn holding_filters(&self) -> Vec<Filter> {
        if self.is_divided {
            return vec![Filter::parse(">").expect("a literal filter")];
        }
        self.read_filters()
    }

    /// Has the next position count everything up to the cursor, in one commit with what is queued now.
    pub(crate) fn pin(&mut self) {
        self.settled_max = self.settled_max.max(self.cursor);
        self.is_pinned = true;
    }

    /// Its position as of now, without the settlements of commits under way.
    pub(crate) fn position_op(&self) -> StateOp {
        let listed = self.listed(self.settled_max);
        let position = trimmed(self.cursor, self.settled_max, &listed, self.leased_to);
        StateOp {
            key: self.key("p"),
            value: Some(position.encode()),
            expect: Expect::Any,
            expires_at_ms: None,
        }
    }

    fn change_filters(&mut self, filters: Vec<Filter>, head: Seq) {
        // A page that is being read was asked for with the old filters; it may reach events that are stored after
        // this moment.
        self.forget_read();
        self.is_drain_told = false;
        if self.live {
            // It has looked at everything.
            self.cursor = self.cursor.max(head);
        }
        let old = std::mem::replace(&mut self.filters, filters);
        if !self.filters.iter().all(|filter| is_covered(filter, &old)) {
            self.since = self.since.max(self.cursor);
        }
        let mut gone = old;
        gone.retain(|filter| !is_covered(filter, &self.filters));
        self.pin();
        if gone.is_empty() {
            return;
        }
        self.is_divided = true;
        self.is_judging = true;
        if self.cursor < head {
            self.note(Withdrawn {
                filters: gone,
                after: self.cursor,
                upto: head,
            });
        }
    }

    fn note(&mut self, note: Withdrawn) {
        let mut known = self.withdrawn.iter_mut();
        if let Some(known) = known.find(|known| known.filters == note.filters) {
            // After a seek it may be that less was read than then.
            known.after = known.after.min(note.after);
            known.upto = note.upto;
            return;
        }
        self.withdrawn.push(note);
        if self.withdrawn.len() > WITHDRAWN_MAX {
            let oldest = self.withdrawn.remove(0);
            self.withdrawn[0].merge(oldest);
        }
    }

    /// Says whether all that it has not settled is selected by its filters, as far as that can be told, and is read
    /// from the log by whoever selects it too: a replay is not, and of a skip only its own consumer is told.
    fn is_undivided(&self) -> bool {
        let is_selected = |entry: &super::entry::Entry| {
            let body = entry.body.as_ref().filter(|_| !entry.inline);
            body.is_some_and(|body| self.matches(&body.topic))
        };
        self.withdrawn.is_empty()
            && self.gap.is_none()
            && self.replays == 0
            && self.missing.is_empty()
            && self.rows_ahead.is_empty()
            && self.entries.values().all(is_selected)
    }

    fn holds_nothing(&self) -> bool {
        self.withdrawn.is_empty()
            && self.entries.is_empty()
            && self.missing.is_empty()
            && self.rows_ahead.is_empty()
    }

    fn is_drained(&self) -> bool {
        self.filters.is_empty() && self.holds_nothing() && self.gap.is_none() && self.replays == 0
    }
}

impl Router {
    /// Changes what a subscription selects from now on. What waits and is selected no longer ends as a dead letter
    /// once its consumer is served.
    pub fn refilter(&mut self, id: SubId, filters: Vec<Filter>, now: Now) {
        let head = self.head();
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let filters = sub.owner.reach(filters);
        sub.change_filters(filters, head);
        let before = sub.ephemeral.len();
        let mut ephemeral = std::mem::take(&mut sub.ephemeral);
        ephemeral.retain(|event| sub.matches(&event.topic));
        sub.ephemeral = ephemeral;
        let dropped = (before - sub.ephemeral.len()) as u64;
        let meter = self.meters.get(sub.meter);
        meter.dropped(Dropped::EphemeralUnserved, dropped);
        self.housekeeping.push(put(sub.key("c"), &sub.record()));
        self.matching.clear();
        self.mark_dirty(id, now);
        self.touch(id);
    }

    /// Says whether a subscription may go because another one has all that it has not settled.
    pub fn is_undivided(&self, id: SubId) -> bool {
        self.subs.get(&id).is_none_or(Subscription::is_undivided)
    }

    /// Says whether a link takes deliveries of it.
    pub(crate) fn may_judge(&self, id: SubId) -> bool {
        let members = self.subs.get(&id).map(|sub| sub.members.iter());
        members.into_iter().flatten().any(|member| {
            let link = self.links.get(&member.link);
            link.is_some_and(|link| link.serving)
        })
    }

    /// Ends what is loaded, not in flight and selected no longer.
    pub(crate) fn withdraw_loaded(&mut self, id: SubId, now: Now) {
        if !self.subs.get(&id).is_some_and(|sub| sub.is_judging) || !self.may_judge(id) {
            return;
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.is_judging = false;
        let waits = sub.entries.iter().filter(|(_, e)| e.lease().is_none());
        let loaded = waits.filter_map(|(seq, entry)| Some((*seq, &entry.body.as_ref()?.topic)));
        let gone = loaded.filter(|(_, topic)| !sub.matches(topic));
        let gone: Vec<(Seq, Arc<str>)> = gone.map(|(seq, topic)| (seq, topic.clone())).collect();
        if gone.is_empty() {
            return;
        }
        for (seq, topic) in gone {
            let fate = self.fate(id, seq, &topic);
            if !self.withdraw(id, seq, fate, now)
                && let Some(sub) = self.subs.get_mut(&id)
            {
                sub.is_judging = true;
                break;
            }
        }
        if let Some(sub) = self.subs.get_mut(&id) {
            let entries = &sub.entries;
            sub.ready.retain(|seq| entries.contains_key(seq));
        }
    }

    /// Ends one event that is selected no longer and not handed over all the same. False while the disk must take
    /// others first.
    pub(crate) fn withdraw(&mut self, id: SubId, seq: Seq, fate: Fate, now: Now) -> bool {
        match fate {
            Fate::Here => {}
            Fate::There => self.finish_entry(id, seq, now),
            Fate::Nowhere => {
                let Some(sub) = self.subs.get_mut(&id) else {
                    return true;
                };
                if sub.filing >= WITHDRAWN_FILING_MAX {
                    return false;
                }
                sub.filing += 1;
                sub.is_pinned = true;
                self.bury(id, seq, &DeadReason::Withdrawn, None, now);
            }
        }
        true
    }

    /// What becomes of an event that its subscription selects no longer.
    pub(crate) fn fate(&mut self, id: SubId, seq: Seq, topic: &Arc<str>) -> Fate {
        let sub = self.subs.get(&id);
        let Some(sub) = sub.filter(|sub| matches!(sub.owner, Owner::Instance(_))) else {
            return Fate::Nowhere;
        };
        // The log may have forgotten what is replayed, and whoever came by it is done with it: it was asked for here.
        let is_replay = sub.entries.get(&seq).is_some_and(|entry| entry.inline);
        let owner = sub.owner.clone();
        let others = self.matching(topic);
        let others = others.iter().filter_map(|other| self.subs.get(other));
        let others = others.filter(|other| other.id != id && other.owner == owner);
        let mut others = others.peekable();
        if others.peek().is_none() {
            return Fate::Nowhere;
        }
        // One that its plugin made by itself, and did not make again, is served by nobody.
        let served = others.filter(|other| other.is_declared() || other.is_served());
        match served.map(|other| other.since).min() {
            Some(since) if since < seq && !is_replay => Fate::There,
            _ => Fate::Here,
        }
    }

    /// Drops the notes that everything was read of, with a position that says so.
    pub(crate) fn drop_passed(&mut self, id: SubId, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let before = sub.withdrawn.len();
        let cursor = sub.cursor;
        sub.withdrawn.retain(|note| note.upto > cursor);
        if sub.is_divided && sub.holds_nothing() {
            sub.is_divided = false;
        }
        if sub.withdrawn.len() < before {
            sub.pin();
            self.housekeeping.push(put(sub.key("c"), &sub.record()));
            self.mark_dirty(id, now);
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if !sub.is_drain_told && sub.is_drained() {
            sub.is_drain_told = true;
            self.commands.push(Command::Drained { sub: id });
        }
    }

    /// Prepares a subscription for a cursor that is set to `to`: what is selected no longer, or is not known to be,
    /// is not found by reading again. Returns the rows that keep it beyond `to`.
    pub(crate) fn keep_withdrawn(&mut self, id: SubId, to: Seq, now: Now) -> BTreeMap<Seq, Row> {
        let mut kept = BTreeMap::new();
        let Some(sub) = self.subs.get_mut(&id) else {
            return kept;
        };
        for note in &mut sub.withdrawn {
            note.after = note.after.max(sub.cursor);
        }
        kept.extend(sub.rows_ahead.split_off(&(to + 1)));
        let missing = sub.missing.range(to + 1..);
        for seq in missing.filter(|seq| !sub.entries.contains_key(seq)) {
            let row = Row {
                attempt: 1,
                unread: true,
                ..Row::default()
            };
            kept.insert(*seq, row);
        }
        let mut inline = Vec::new();
        for (seq, entry) in sub.entries.range(to + 1..) {
            let body = entry.body.as_ref();
            if body.is_some_and(|body| sub.matches(&body.topic)) {
                continue;
            }
            if entry.inline {
                inline.push(*seq);
            } else {
                kept.insert(*seq, Row::of(entry, now));
            }
        }
        let ops = kept.iter().map(|(seq, row)| put(sub.row_key(*seq), row));
        self.housekeeping.extend(ops);
        for seq in inline {
            self.bury(id, seq, &DeadReason::Withdrawn, None, now);
        }
        kept
    }
}
