//! Bringing subscriptions back from the store, and the rows they are brought back from.

use std::sync::Arc;

use crate::clock::Now;
use crate::store::{Seq, StateOp, StoredEvent};

use super::entry::{Entry, Row, State};
use super::position::Position;
use super::subscription::{Owner, Record, SubId, Subscription};
use super::table::{EventRef, NEXT_SUB_KEY, Router, empty, put, remove};

impl Router {
    /// Brings one subscription back from its state entries (`key` without the `s/` prefix, value), as
    /// they were scanned in key order. Entries that this version did not write are reported.
    ///
    /// # Errors
    /// The key of the first entry that cannot be read.
    pub fn restore(&mut self, entries: &[(Vec<u8>, Vec<u8>)], now: Now) -> Result<(), String> {
        for (key, value) in entries {
            let text = String::from_utf8_lossy(key).into_owned();
            self.restore_entry(&text, value, now).ok_or(text)?;
        }
        for id in self.subs.keys().copied().collect::<Vec<_>>() {
            self.rearm(id);
        }
        Ok(())
    }

    fn restore_entry(&mut self, key: &str, value: &[u8], now: Now) -> Option<()> {
        if key == NEXT_SUB_KEY {
            let next: u32 = serde_json::from_slice(value).ok()?;
            self.next_sub = self.next_sub.max(next);
            return Some(());
        }
        let mut parts = key.strip_prefix("s/")?.splitn(3, '/');
        let id = SubId(u32::from_str_radix(parts.next()?, 16).ok()?);
        let (kind, rest) = (parts.next()?, parts.next());
        if kind != "c" && !self.subs.contains_key(&id) {
            // A replay or a position that became durable with, or after, the end of its subscription.
            self.housekeeping.push(remove(key.as_bytes().to_vec()));
            self.flush_soon(now);
            return Some(());
        }
        match (kind, rest) {
            ("c", None) => {
                let record: Record = serde_json::from_slice(value).ok()?;
                self.restore_record(id, record, now)?;
            }
            ("p", None) => {
                let position = Position::decode(value)?;
                let sub = self.subs.get_mut(&id)?;
                sub.cursor = position.upto;
                sub.settled_max = position.upto;
                sub.leased_to = position.leased_to;
                sub.leased_to_durable = position.leased_to;
                if sub.since == Seq::MAX {
                    sub.since = position.upto;
                }
                sub.repeat_to = position.leased_to.min(self.boot_head);
                // Filters may have gone since they were handed out.
                sub.is_divided |= !position.unsettled.is_empty();
                for seq in position.unsettled {
                    sub.missing.insert(seq);
                }
            }
            ("g", None) => {
                self.subs.get_mut(&id)?.gap = Some(serde_json::from_slice(value).ok()?);
            }
            ("r", Some(seq)) => {
                let seq = Seq::from_str_radix(seq, 16).ok()?;
                let row: Row = serde_json::from_slice(value).ok()?;
                let sub = self.subs.get_mut(&id)?;
                if row.inline.is_none() && seq > sub.cursor {
                    // The log will be read past it; until then it is not known what comes before it.
                    sub.rows_ahead.insert(seq, row);
                } else if row.unread {
                    self.restore_unread(id, seq, None, now);
                } else {
                    sub.is_divided = true;
                    sub.restore_row(seq, row, None, now);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn restore_record(&mut self, id: SubId, record: Record, now: Now) -> Option<()> {
        let owner = match (record.instance, record.client) {
            (Some((plugin, instance)), None) => {
                Owner::Instance(crate::instance::InstanceKey::new(&plugin, &instance))
            }
            (None, Some(name)) => Owner::Client(name.into()),
            _ => return None,
        };
        let meter = self.meters.id(&owner);
        let mut sub = empty(id, &record.name, owner, meter);
        sub.filters = sub.owner.reach(record.filters);
        sub.group = record.group.map(Into::into);
        sub.policy = record.policy.bounded();
        sub.hold = record.hold;
        sub.expire_ms = record.expire_ms;
        // It may have been served until the moment the last life ended.
        sub.served_at_ms = record.served_at_ms.max(now.wall_ms);
        // Until the position says more, it is not known to have had anything.
        sub.since = record.since.unwrap_or(Seq::MAX);
        sub.is_divided = !record.withdrawn.is_empty();
        for mut note in record.withdrawn {
            note.filters = sub.owner.reach(note.filters);
            sub.withdrawn.push(note);
        }
        self.next_sub = self.next_sub.max(id.0 + 1);
        self.names.insert(sub.name.clone(), id);
        self.subs.insert(id, sub);
        Some(())
    }

    /// The cursor is past an event whose row says only that it is not settled: from here on the position says so. What
    /// was not on the page is asked for by its number, before anything else is leased.
    pub(crate) fn restore_unread(
        &mut self,
        id: SubId,
        seq: Seq,
        event: Option<EventRef>,
        now: Now,
    ) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        match event {
            Some(event) => sub.admit(event),
            None => {
                sub.is_divided = true;
                sub.missing.insert(seq);
            }
        }
        sub.pin();
        self.housekeeping.push(remove(sub.row_key(seq)));
        self.mark_dirty(id, now);
        self.touch(id);
    }
}

impl Subscription {
    pub(crate) fn restore_row(&mut self, seq: Seq, row: Row, event: Option<EventRef>, now: Now) {
        let inline = row.inline.map(|(topic, envelope)| {
            Arc::new(StoredEvent {
                seq,
                stored_at_ms: now.wall_ms,
                topic: topic.into(),
                source: "".into(),
                session: row.session.as_deref().map(Into::into),
                expires_at_ms: None,
                envelope: envelope.into_bytes().into(),
            })
        });
        let is_inline = inline.is_some();
        let body = inline.or(event);
        let wait_ms = row.not_before_ms.saturating_sub(now.wall_ms).max(0) as u64;
        let mut entry = Entry {
            state: if wait_ms > 0 {
                State::Waiting(now.mono_ms + wait_ms)
            } else {
                State::Ready
            },
            session: None,
            bytes: body.as_ref().map_or(0, |event| event.envelope.len()),
            attempt: row.attempt,
            failures: row.failures,
            crashes: row.crashes,
            redelivered: true,
            suspect: row.suspect,
            has_row: true,
            inline: is_inline,
            first_leased_at_ms: row.first_leased_at_ms,
            first_error: row.first_error,
            last_error: row.last_error,
            body,
        };
        entry.session = row.session.map(|session| self.sessions.intern(&session));
        self.insert(seq, entry);
    }

    /// The durable form of an entry.
    pub(crate) fn row_op(&self, seq: Seq, entry: &Entry, now: Now) -> StateOp {
        put(self.row_key(seq), &Row::of(entry, now))
    }
}

impl Row {
    /// What an entry must be brought back from.
    pub(crate) fn of(entry: &Entry, now: Now) -> Self {
        let not_before_ms = match entry.state {
            State::Waiting(until) => {
                let wait_ms = i64::try_from(until.saturating_sub(now.mono_ms)).unwrap_or(i64::MAX);
                now.wall_ms.saturating_add(wait_ms)
            }
            _ => 0,
        };
        Self {
            attempt: entry.attempt,
            failures: entry.failures,
            crashes: entry.crashes,
            suspect: entry.suspect,
            not_before_ms,
            first_leased_at_ms: entry.first_leased_at_ms,
            first_error: entry.first_error.clone(),
            last_error: entry.last_error.clone(),
            session: entry.session.as_deref().map(str::to_owned),
            inline: entry.body.as_ref().filter(|_| entry.inline).map(|event| {
                (
                    event.topic.to_string(),
                    String::from_utf8_lossy(&event.envelope).into_owned(),
                )
            }),
            unread: false,
        }
    }
}
