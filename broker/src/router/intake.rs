//! What comes in: events that became durable, and answers to reads.

use std::sync::Arc;

use crate::clock::Now;
use crate::store::{EventPage, ReadLimit, Seq, StoredEvent};

use super::entry::State;
use super::limits::{
    EPHEMERAL_EVENTS_MAX, PENDING_ROWS_MAX, READ_AHEAD_EVENTS_MAX, READ_AT_EVENTS_MAX,
};
use super::meter::Dropped;
use super::subscription::{Reading, SubId};
use super::table::{Command, EventRef, Router};

impl Router {
    /// Events became durable, in order of their numbers.
    pub fn committed(&mut self, event: &EventRef) {
        debug_assert!(event.seq > self.head, "numbers ascend");
        let before = self.head;
        self.head = event.seq;
        for &id in self.matching(&event.topic).iter() {
            let sub = self
                .subs
                .get_mut(&id)
                .expect("matches are forgotten when one is deleted");
            sub.counters.backlog_bytes += event.envelope.len() as u64;
            if !sub.live {
                continue;
            }
            debug_assert!(sub.cursor <= before, "a live cursor never runs ahead");
            if !sub.has_room() {
                // From here on it reads: what it has passed is exactly what it knows.
                sub.cursor = before;
                sub.live = false;
                continue;
            }
            sub.cursor = event.seq;
            sub.admit(event.clone());
            self.touch(id);
        }
    }

    /// An ephemeral event passes: live subscribers only.
    pub fn ephemeral(&mut self, event: &EventRef) -> usize {
        let ids = self.matching(&event.topic);
        for &id in ids.iter() {
            let sub = self
                .subs
                .get_mut(&id)
                .expect("matches are forgotten when one is deleted");
            let meter = self.meters.get(sub.meter);
            if sub.members.is_empty() {
                meter.dropped(Dropped::EphemeralUnserved, 1);
                continue;
            }
            if sub.ephemeral.len() >= EPHEMERAL_EVENTS_MAX {
                sub.ephemeral.pop_front();
                meter.dropped(Dropped::EphemeralFull, 1);
            }
            sub.ephemeral.push_back(event.clone());
            self.touch(id);
        }
        ids.len()
    }

    /// The answer to [`Command::Read`].
    pub fn page(&mut self, id: SubId, generation: u32, page: EventPage, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if sub.reading != (Reading::Yes { generation }) {
            return;
        }
        sub.reading = Reading::No;
        for event in page.events {
            let Some(sub) = self.subs.get_mut(&id) else {
                return;
            };
            if event.seq <= sub.cursor {
                continue;
            }
            if event.seq > self.head {
                // The reader was faster than the writer's answer: it is on its way to `committed`.
                break;
            }
            sub.cursor = event.seq;
            let is_known = sub.rows_ahead.contains_key(&event.seq);
            if !sub.withdrawn.is_empty() && !sub.matches(&event.topic) {
                if !is_known && !sub.wants(event.seq, &event.topic) {
                    // A note's filter that selects nothing here.
                    continue;
                }
                sub.is_judging = true;
            }
            if is_known {
                self.restore_ahead(id, event.seq, Some(Arc::new(event)), now);
            } else if !sub.entries.contains_key(&event.seq) {
                sub.admit(Arc::new(event));
            }
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.cursor = sub.cursor.max(page.next.min(self.head));
        // What is not on the page is selected no longer, or gone from the log: it is asked for by its number.
        let passed = sub.rows_ahead.range(..=sub.cursor);
        for seq in passed.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            self.restore_ahead(id, seq, None, now);
        }
        self.touch(id);
    }

    /// The log was read past an event that has a row of an earlier life.
    fn restore_ahead(&mut self, id: SubId, seq: Seq, event: Option<EventRef>, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(row) = sub.rows_ahead.remove(&seq) else {
            return;
        };
        if row.unread {
            return self.restore_unread(id, seq, event, now);
        }
        sub.is_divided |= event.is_none();
        if row.suspect {
            // Its links learn of it, so that it is leased alone.
            for member in &sub.members {
                if let Some(link) = self.links.get_mut(&member.link) {
                    link.suspects += 1;
                }
            }
        }
        sub.restore_row(seq, row, event, now);
        self.rearm(id);
    }

    /// The answer to [`Command::ReadAt`]: bodies that had been dropped, or were left from an earlier life.
    pub fn bodies(&mut self, id: SubId, asked: &[Seq], found: Vec<StoredEvent>, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.reading_bodies = false;
        // Ready entries go to the front: the highest first, so that the lowest ends up foremost.
        for event in found.into_iter().rev() {
            let seq = event.seq;
            let left = sub.missing.remove(&seq);
            sub.unloaded.remove(&seq);
            let event = Arc::new(event);
            if !sub.entries.contains_key(&seq) {
                // Unless a seek or a skip passed it meanwhile.
                if left {
                    sub.admit(event);
                }
                continue;
            }
            let session = sub.session_of(&event);
            let entry = sub.entries.get_mut(&seq).expect("looked up above");
            if entry.body.is_none() {
                entry.bytes = event.envelope.len();
                sub.loaded_bytes += entry.bytes;
                entry.body = Some(event);
                if entry.session.is_none() {
                    entry.session = session;
                }
                if entry.state == State::Ready {
                    sub.ready.push_front(seq);
                }
            }
        }
        // What the log no longer has cannot be delivered: retention took it after its hold ran out.
        let gone: Vec<Seq> = asked
            .iter()
            .copied()
            .filter(|seq| {
                sub.missing.remove(seq);
                sub.unloaded.remove(seq);
                sub.entries
                    .get(seq)
                    .is_some_and(|e| e.body.is_none() && e.state == State::Ready)
            })
            .collect();
        self.meters
            .get(sub.meter)
            .dropped(Dropped::Purged, gone.len() as u64);
        for seq in gone {
            self.finish_entry(id, seq, now);
        }
        self.mark_dirty(id, now);
        self.touch(id);
    }

    /// Does everything that became possible: leases, reads, gaps. Call it after any other change.
    pub fn run(&mut self, now: Now) {
        while let Some(id) = self.touched.pop() {
            let Some(sub) = self.subs.get_mut(&id) else {
                continue;
            };
            sub.touched = false;
            self.withdraw_loaded(id, now);
            self.dispatch(id, now);
            // First, so that no page is asked for with a filter that nothing remembers when it comes.
            self.drop_passed(id, now);
            self.read_on(id);
            self.rearm(id);
        }
    }

    fn read_on(&mut self, id: SubId) {
        let head = self.head;
        let is_noted = |sub: &super::Subscription| !sub.withdrawn.is_empty();
        let may_judge = self.subs.get(&id).is_some_and(is_noted) && self.may_judge(id);
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if !sub.is_served() {
            if std::mem::take(&mut sub.live) {
                // It has looked at everything, also at what it did not select.
                sub.cursor = sub.cursor.max(head);
            }
            return;
        }
        let all_loaded = sub.missing.is_empty() && sub.unloaded.is_empty();
        if !sub.reading_bodies && !all_loaded {
            let from = if sub.missing.is_empty() {
                &sub.unloaded
            } else {
                &sub.missing
            };
            let seqs: Vec<Seq> = from.iter().take(READ_AT_EVENTS_MAX).copied().collect();
            sub.reading_bodies = true;
            self.commands.push(Command::ReadAt { sub: id, seqs });
        }
        // What an earlier life left comes first: its sessions are not known before it is read.
        let waits = !sub.missing.is_empty();
        if waits || sub.live || sub.reading != Reading::No || !sub.has_room() {
            return;
        }
        if sub.cursor >= head {
            sub.live = true;
            return;
        }
        // Where filters went, each event is judged as it is read, and no further than the disk has taken.
        if !sub.withdrawn.is_empty() && (!may_judge || sub.filing > 0) {
            return;
        }
        sub.read_generation = sub.read_generation.wrapping_add(1);
        let generation = sub.read_generation;
        sub.reading = Reading::Yes { generation };
        let room = READ_AHEAD_EVENTS_MAX.min(PENDING_ROWS_MAX - sub.entries.len());
        let limit = ReadLimit {
            events: room.min(256),
            ..ReadLimit::default()
        };
        let (after, filters) = (sub.cursor, sub.read_filters());
        self.commands.push(Command::Read {
            sub: id,
            generation,
            after,
            filters,
            limit,
        });
    }
}
