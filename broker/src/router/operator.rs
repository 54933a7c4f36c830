//! What an operator (or a limit) does to a subscription from outside: seek, skip, replay.

use std::sync::Arc;

use crate::clock::Now;
use crate::store::{Seq, StateOp, StoredEvent};

use super::entry::{Entry, Row, State};
use super::limits::{IDLE_BYTES_MAX, SETTLE_FLUSH_MS};
use super::membership::Member;
use super::meter::Dropped;
use super::subscription::{PendingGap, Reading, SubId, Subscription};
use super::table::{Router, put, remove};

/// How often it is written down that a client subscription is served.
const SERVED_NOTE_MS: i64 = 3_600_000;

impl Router {
    /// Moves a cursor: the next event is the first matching one after `to`. Open leases become stale, and
    /// what was perhaps delivered before says that it is a repeat.
    pub fn seek(&mut self, id: SubId, to: Seq, now: Now) {
        let head = self.head();
        let to = to.min(head);
        let kept = self.keep_withdrawn(id, to, now);
        let Some(sub) = self.subs.get(&id) else {
            return;
        };
        let seqs: Vec<Seq> = sub.entries.keys().copied().collect();
        for seq in seqs {
            self.release(id, seq);
            let sub = self.subs.get_mut(&id).expect("looked up above");
            if let Some(entry) = sub.take(seq)
                && entry.has_row
                && !kept.contains_key(&seq)
            {
                let op = remove(sub.row_key(seq));
                self.housekeeping.push(op);
            }
        }
        let sub = self.subs.get_mut(&id).expect("looked up above");
        let rows = std::mem::replace(&mut sub.rows_ahead, kept);
        self.housekeeping
            .extend(rows.into_keys().map(|seq| remove(sub.row_key(seq))));
        sub.ready.clear();
        sub.sessions.clear();
        sub.missing.clear();
        sub.unloaded.clear();
        sub.forget_read();
        sub.live = false;
        sub.repeat_to = sub.repeat_to.max(sub.leased_to.min(head));
        sub.cursor = to;
        sub.settled_max = to;
        sub.since = to;
        sub.is_pinned = true;
        self.housekeeping.push(put(sub.key("c"), &sub.record()));
        self.mark_dirty(id, now);
        self.touch(id);
    }

    /// Moves a cursor back for events that now come by this subscription: as [`Router::seek`], and what it has not settled
    /// itself comes again too. What an operator put back is a dead letter again: the log may have forgotten it.
    pub fn go_back(&mut self, id: SubId, to: Seq, now: Now) {
        let Some(sub) = self.subs.get(&id) else {
            return;
        };
        let to = to.min(sub.oldest_unsettled().saturating_sub(1));
        let replays = sub.entries.iter().filter(|(_, entry)| entry.inline);
        let replays: Vec<Seq> = replays.map(|(seq, _)| *seq).collect();
        for seq in replays {
            self.bury(id, seq, &super::DeadReason::Removed, None, now);
        }
        self.seek(id, to, now);
    }

    /// Skips what a subscription may no longer hold: everything up to `to` ends for it alone, and it is
    /// told how many matching events that were.
    pub fn skip(&mut self, id: SubId, to: Seq, count: u64, now: Now) {
        let to = to.min(self.head());
        let Some(sub) = self.subs.get(&id) else {
            return;
        };
        let from = sub.oldest_unsettled();
        self.meters.get(sub.meter).dropped(Dropped::Hold, count);
        let seqs: Vec<Seq> = sub
            .entries
            .range(..=to)
            .filter(|(_, e)| !e.inline)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in seqs {
            self.finish_entry(id, seq, now);
        }
        let sub = self.subs.get_mut(&id).expect("looked up above");
        let kept = sub.rows_ahead.split_off(&(to + 1));
        let skipped = std::mem::replace(&mut sub.rows_ahead, kept);
        self.housekeeping
            .extend(skipped.into_keys().map(|seq| remove(sub.row_key(seq))));
        sub.missing.retain(|seq| *seq > to);
        sub.unloaded.retain(|seq| *seq > to);
        if to > sub.cursor {
            sub.cursor = to;
            sub.settled_max = to;
            sub.forget_read();
        }
        sub.since = sub.since.max(to);
        self.housekeeping.push(put(sub.key("c"), &sub.record()));
        let old = sub.gap.take();
        let gap = PendingGap {
            from: old.as_ref().map_or(from, |gap| gap.from),
            to,
            count: count + old.as_ref().map_or(0, |gap| gap.count),
            epoch: 0,
            link: None,
        };
        let op = put(sub.key("g"), &gap);
        sub.gap = Some(gap);
        self.housekeeping.push(op);
        self.mark_dirty(id, now);
        self.touch(id);
    }

    /// The row that brings a dead letter back; written in one commit with its removal.
    pub fn replay_op(
        &self,
        id: SubId,
        seq: Seq,
        topic: &str,
        session_key: Option<String>,
        envelope: &str,
    ) -> StateOp {
        let row = Row {
            session: session_key,
            inline: Some((topic.to_owned(), envelope.to_owned())),
            ..Row::default()
        };
        put(super::subscription::key(id, &format!("r/{seq:016x}")), &row)
    }

    /// Says whether a dead event may be pending again: it is not so already, and no seek brings it anyway.
    pub fn may_replay(&self, id: SubId, seq: Seq) -> bool {
        self.subs.get(&id).is_some_and(|sub| {
            seq <= sub.cursor && !sub.entries.contains_key(&seq) && !sub.missing.contains(&seq)
        })
    }

    /// A replay is on its way to the disk: its subscription does not end meanwhile for holding nothing.
    pub fn replay_staged(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.replays += 1;
        }
    }

    /// A replay was refused by the disk.
    pub fn replay_refused(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.replays = sub.replays.saturating_sub(1);
            self.touch(id);
        }
    }

    /// A replay is durable: the event is pending again, attempt 1.
    pub fn replayed(&mut self, id: SubId, event: StoredEvent, session_key: Option<String>) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.replays = sub.replays.saturating_sub(1);
        let seq = event.seq;
        if let Some(entry) = sub.entries.get_mut(&seq) {
            // It is pending anyway (after a seek); the row of the replay ends with it.
            entry.has_row = true;
            return;
        }
        sub.is_divided |= !sub.matches(&event.topic);
        let session = session_key.map(|key| sub.sessions.intern(&key));
        let mut entry = Entry::new(Arc::new(event), session);
        entry.state = State::Ready;
        entry.redelivered = true;
        entry.has_row = true;
        entry.inline = true;
        sub.insert(seq, entry);
        self.touch(id);
    }
}

impl Router {
    /// Which of these events some subscription still needs.
    pub fn needed(&self, events: &[StoredEvent]) -> Vec<bool> {
        let Some(last) = events.last() else {
            return Vec::new();
        };
        let behind: Vec<_> = self
            .subs
            .values()
            .filter(|sub| sub.oldest_unsettled() <= last.seq)
            .collect();
        events
            .iter()
            .map(|event| behind.iter().any(|sub| sub.holds(event.seq, &event.topic)))
            .collect()
    }

    /// The lowest number that any subscription has not settled.
    pub fn floor(&self) -> Seq {
        let oldest = self.subs.values().map(Subscription::oldest_unsettled);
        oldest.min().unwrap_or(Seq::MAX)
    }

    /// Some subscriptions after this one, and then from the first again.
    pub fn ids_after(&self, last: Option<SubId>, most: usize) -> Vec<SubId> {
        let mut ids: Vec<SubId> = self.subs.keys().copied().collect();
        ids.sort_unstable();
        let start = ids.partition_point(|id| last.is_some_and(|last| *id <= last));
        ids.rotate_left(start);
        ids.truncate(most);
        ids
    }

    /// The bytes a subscription holds, as they were measured.
    pub fn set_backlog(&mut self, id: SubId, bytes: u64) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.counters.backlog_bytes = bytes;
        }
    }

    /// Moves a cursor over events that do not match, so that an idle subscription is not taken for one
    /// that holds something.
    pub fn pass(&mut self, id: SubId, to: Seq, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let is_idle = !sub.live && sub.reading == Reading::No && sub.missing.is_empty();
        // A row says of an event that it is not settled, whatever the filters are.
        let to = sub
            .rows_ahead
            .keys()
            .next()
            .map_or(to, |row| to.min(row - 1));
        if !is_idle || to <= sub.cursor {
            return;
        }
        sub.cursor = to;
        if sub.entries.is_empty() {
            sub.settled_max = sub.settled_max.max(to);
        }
        self.mark_dirty(id, now);
        self.touch(id);
    }

    /// Remembers that client subscriptions are served, so that a restart does not take them for abandoned.
    pub fn note_served(&mut self, now: Now) {
        for sub in self.subs.values_mut() {
            let is_due = matches!(sub.owner, super::Owner::Client(_))
                && sub.is_served()
                && now.wall_ms - sub.served_at_ms > SERVED_NOTE_MS;
            if is_due {
                sub.served_at_ms = now.wall_ms;
                let op = put(sub.key("c"), &sub.record());
                self.housekeeping.push(op);
                self.flush_at_ms.get_or_insert(now.mono_ms);
            }
        }
    }

    /// Says whether everything a subscription has not settled is in memory, bodies included.
    pub fn is_all_loaded(&self, id: SubId) -> bool {
        self.subs.get(&id).is_none_or(|sub| {
            (sub.live || sub.cursor >= self.head)
                && sub.missing.is_empty()
                && sub.rows_ahead.is_empty()
                && sub.entries.values().all(|entry| entry.body.is_some())
        })
    }

    /// Ends everything a subscription has not settled as dead letters (its owner is removed). Events that
    /// were never loaded are not touched: their subscription ends with them.
    pub fn bury_all(&mut self, id: SubId, now: Now) {
        let Some(sub) = self.subs.get(&id) else {
            return;
        };
        let seqs: Vec<Seq> = sub.entries.keys().copied().collect();
        for seq in seqs {
            let reason = super::DeadReason::Removed;
            self.bury(id, seq, &reason, None, now);
        }
    }

    /// A link serves this subscription no longer. Its leases return as repeats.
    pub fn leave(&mut self, id: SubId, link: super::LinkId, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(index) = sub.members.iter().position(|member| member.link == link) else {
            return;
        };
        let member = sub.members.remove(index);
        let suspects = sub.suspects.len();
        self.part(id, member, suspects);
        self.gone(id, link, now);
    }

    /// A link gives back what it holds: at once to others, or to itself once it serves again.
    pub fn give_back(&mut self, link: super::LinkId, now: Now) {
        for (id, window) in self.memberships(link) {
            self.leave(id, link, now);
            self.join(id, link, window, now);
        }
    }

    /// A link serves no subscription any more; its leases return as repeats.
    pub fn leave_all(&mut self, link: super::LinkId, now: Now) {
        for (id, _) in self.memberships(link) {
            self.leave(id, link, now);
        }
    }

    fn memberships(&self, link: super::LinkId) -> Vec<(SubId, super::Window)> {
        let subs = self.links.get(&link).map(|state| state.subs.clone());
        let subs = subs.unwrap_or_default().into_iter();
        subs.filter_map(|id| {
            let mut members = self.subs.get(&id)?.members.iter();
            let member = members.find(|member| member.link == link)?;
            Some((id, member.window))
        })
        .collect()
    }

    /// Ends what ties a link to a subscription: its credit returns, and others may use it.
    pub(crate) fn part(&mut self, id: SubId, member: Member, suspects: usize) {
        let Some(link) = self.links.get_mut(&member.link) else {
            return;
        };
        link.subs.retain(|other| *other != id);
        link.in_flight.events -= member.in_flight.events.min(link.in_flight.events);
        link.in_flight.bytes -= member.in_flight.bytes.min(link.in_flight.bytes);
        link.suspects -= suspects.min(link.suspects);
        link.starved = false;
        let subs = link.subs.clone();
        for other in subs {
            self.touch(other);
        }
    }

    /// A subscription lost a member: its leases return as repeats, except those that are being settled.
    /// Returns what came back, the highest number first.
    pub(crate) fn gone(&mut self, id: SubId, link: super::LinkId, now: Now) -> Vec<Seq> {
        let Some(sub) = self.subs.get_mut(&id) else {
            return Vec::new();
        };
        sub.next_member = 0;
        sub.served_at_ms = now.wall_ms;
        if let Some(gap) = sub.gap.as_mut().filter(|gap| gap.link == Some(link)) {
            gap.link = None;
        }
        if matches!(sub.owner, super::Owner::Client(_)) {
            // Written down, so that a restart knows since when it is not served.
            let op = put(sub.key("c"), &sub.record());
            self.housekeeping.push(op);
            self.flush_at_ms
                .get_or_insert(now.mono_ms + SETTLE_FLUSH_MS);
        }
        if sub.members.is_empty() {
            let unserved = sub.ephemeral.len() as u64;
            self.meters
                .get(sub.meter)
                .dropped(Dropped::EphemeralUnserved, unserved);
            sub.ephemeral.clear();
        }
        let mut held = Vec::new();
        for (seq, entry) in &mut sub.entries {
            let State::Leased(lease) = &mut entry.state else {
                continue;
            };
            if lease.link != link {
                continue;
            }
            if lease.settling {
                lease.link = super::LinkId::NONE;
            } else {
                held.push(*seq);
            }
        }
        // Ready entries go to the front: the highest first, so that the lowest ends up foremost.
        held.reverse();
        for &seq in &held {
            self.lost(id, seq);
        }
        if let Some(sub) = self.subs.get_mut(&id)
            && sub.members.is_empty()
            && sub.loaded_bytes > IDLE_BYTES_MAX
        {
            // What was alone in flight may be blamed for a crash: its dead letter needs its envelope.
            let kept = (held.len() == 1).then(|| held[0]);
            sub.unload(kept);
        }
        self.touch(id);
        held
    }

    /// Changes how much a link may hold over all its subscriptions.
    pub fn set_link_window(&mut self, link: super::LinkId, window: super::Window) {
        if let Some(state) = self.links.get_mut(&link) {
            state.window = window;
            for id in state.subs.clone() {
                self.touch(id);
            }
        }
    }
}
