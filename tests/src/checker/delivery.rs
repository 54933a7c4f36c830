//! Judges a delivery: as a repeat, among its session, against the credit.

use std::collections::HashSet;

use super::Rule;
use super::run::{Handed, Key, Progress, Run};
use crate::history::Dlv;

impl<'a> Run<'a> {
    /// Says whether an ack that was answered then must have survived until now.
    fn is_durable(&self, (life, running): (u64, u64)) -> bool {
        self.ended_at
            .get(&life)
            .is_none_or(|ended| ended.saturating_sub(running) >= self.options.ack_durable_ms)
    }

    /// Says whether the link still holds what it was given.
    fn holds(&self, handed: &Handed, at: u64) -> bool {
        // The broker's lease began before the delivery was read, by an unknown time: be lenient by half.
        at < handed.at + handed.lease_ms / 2
            && self.links.get(&handed.link).is_some_and(|link| {
                link.is_open && link.life > self.life_ended && !self.killed.contains(&link.pid)
            })
    }

    pub(super) fn delivery(&mut self, dlv: &'a Dlv, at: u64) {
        self.report.deliveries += 1;
        self.report.redeliveries += usize::from(dlv.redelivered);
        let id = dlv.id.as_str();
        let Some(published) = self.known.published.get(id) else {
            self.broken(Rule::C2, format!("{id} was delivered and never published"));
            return;
        };
        if published.hash != dlv.hash || published.session != dlv.session.as_deref() {
            self.broken(
                Rule::C2,
                format!("{id} was changed on its way to {}", dlv.sub),
            );
        }
        self.delivered.insert(id);
        let seq = dlv.seq.or(published.seq);
        if let (Some(mark), Some(seq)) = (self.mark, dlv.seq)
            && seq > mark
        {
            self.broken(Rule::C11, format!("{id} is {seq}, durable is {mark}"));
        }
        let key = (id, dlv.replay_of.as_deref());
        let before = self
            .subs
            .get(dlv.sub.as_str())
            .and_then(|sub| sub.events.get(&key));
        let excused = before.map_or(0, |before| before.excused);
        let attempts_max = self.options.failures_max + self.ends + excused;
        if dlv.attempt > attempts_max {
            let text = format!(
                "attempt {} of {id}, at most {attempts_max} are due",
                dlv.attempt
            );
            self.broken(Rule::C8, text);
        }
        self.repeat(dlv, key, at);
        self.in_session(dlv, key, seq, at);
        self.credit(dlv, at);
        let life = self.links.get(&dlv.link).map_or(0, |link| link.life);
        let sub = self.subs.entry(&dlv.sub).or_default();
        let handed = Handed {
            delivery: dlv.delivery.clone(),
            link: dlv.link,
            at,
            lease_ms: dlv.lease_ms,
        };
        let session = dlv.session.as_deref();
        let order = session.map_or(0, |session| {
            let state = sub.sessions.entry(session).or_default();
            let order = sub.events.get(&key).map_or_else(
                || {
                    state.handed_over += 1;
                    state.handed_over
                },
                |progress| progress.order,
            );
            if !state.open.contains(&key) {
                state.open.push(key);
            }
            order
        });
        sub.by_delivery.insert(&dlv.delivery, key);
        let progress = Progress {
            order,
            attempt: dlv.attempt,
            life,
            handed: Some(handed),
            excused,
            acked: None,
            is_settled: false,
            rejected_at: None,
            session,
        };
        sub.events.insert(key, progress);
    }

    /// Judges a delivery as a repeat of earlier ones.
    fn repeat(&mut self, dlv: &'a Dlv, key: Key<'a>, at: u64) {
        let life = self.links.get(&dlv.link).map_or(0, |link| link.life);
        let Some(before) = self
            .subs
            .get(dlv.sub.as_str())
            .and_then(|sub| sub.events.get(&key))
        else {
            return;
        };
        let (id, sub) = (&dlv.id, &dlv.sub);
        let mut found = Vec::new();
        if before.acked.is_some_and(|acked| self.is_durable(acked)) {
            found.push((
                Rule::C6,
                format!("{id} came again to {sub} after its ack was answered"),
            ));
        }
        if before
            .handed
            .as_ref()
            .is_some_and(|handed| self.holds(handed, at))
        {
            found.push((
                Rule::C4,
                format!("{id} came to {sub} again while it was in flight"),
            ));
        }
        if !dlv.redelivered {
            let has_unknown = self
                .known
                .published
                .get(id.as_str())
                .is_some_and(|p| p.has_unknown);
            let rule = if has_unknown && dlv.attempt <= 1 {
                Rule::C10
            } else {
                Rule::C5
            };
            found.push((
                rule,
                format!("{id} came to {sub} a second time, not marked as a repeat"),
            ));
        } else if life == before.life && dlv.attempt <= before.attempt {
            let text = format!(
                "{id}: attempt {} after attempt {}",
                dlv.attempt, before.attempt
            );
            found.push((Rule::C5, text));
        } else if dlv.attempt < 2 {
            found.push((
                Rule::C5,
                format!("{id}: a repeat with attempt {}", dlv.attempt),
            ));
        }
        for (rule, text) in found {
            self.broken(rule, text);
        }
    }

    /// Judges a delivery among the unsettled ones of its session.
    fn in_session(&mut self, dlv: &'a Dlv, key: Key<'a>, seq: Option<u64>, at: u64) {
        let Some(session) = dlv.session.as_deref() else {
            return;
        };
        let known = self.known;
        let Some(sub) = self.subs.get_mut(dlv.sub.as_str()) else {
            return;
        };
        let state = sub.sessions.entry(session).or_default();
        let order = sub.events.get(&key).map(|progress| progress.order);
        let mut found = Vec::new();
        if order.is_none()
            && key.1.is_none()
            && let Some(seq) = seq
        {
            if seq <= state.seq_last {
                let text = format!(
                    "{} ({seq}) of session {session} came to {} after {}",
                    dlv.id, dlv.sub, state.seq_last
                );
                found.push((Rule::C3, text));
            }
            state.seq_last = state.seq_last.max(seq);
        }
        // A dead letter no longer keeps its session waiting.
        state
            .open
            .retain(|open| *open == key || !known.dead.contains(&(&*dlv.sub, open.0)));
        let others: Vec<_> = state
            .open
            .iter()
            .filter(|open| **open != key)
            .copied()
            .collect();
        for other in others {
            let sub = &self.subs[dlv.sub.as_str()];
            let Some(progress) = sub.events.get(&other) else {
                continue;
            };
            let is_earlier = order.is_none_or(|order| progress.order < order);
            let in_flight = progress.handed.as_ref().is_some_and(|h| self.holds(h, at));
            if is_earlier || in_flight {
                let text = format!(
                    "{} came to {} while {} of session {session} was {}",
                    dlv.id,
                    dlv.sub,
                    other.0,
                    if in_flight { "in flight" } else { "unsettled" }
                );
                found.push((Rule::C4, text));
            }
        }
        for (rule, text) in found {
            self.broken(rule, text);
        }
    }

    fn credit(&mut self, dlv: &'a Dlv, at: u64) {
        let Some(link) = self.links.get_mut(&dlv.link) else {
            return;
        };
        link.in_flight.insert(dlv.delivery.clone());
        if link.in_flight.len() as u64 <= link.credit {
            return;
        }
        let ours = std::mem::take(&mut link.in_flight);
        let credit = link.credit;
        let held: HashSet<String> = ours
            .into_iter()
            .filter(|delivery| *delivery == dlv.delivery || self.may_settle(&dlv.sub, delivery, at))
            .collect();
        let count = held.len() as u64;
        if let Some(link) = self.links.get_mut(&dlv.link) {
            link.in_flight = held;
        }
        if count > credit {
            let text = format!("{count} in flight at {}, its credit is {credit}", dlv.sub);
            self.broken(Rule::C9, text);
        }
    }

    /// Says whether `delivery` is the latest handing-over of its event and its lease holds.
    fn may_settle(&self, sub: &str, delivery: &str, at: u64) -> bool {
        self.subs.get(sub).is_some_and(|sub| {
            sub.by_delivery
                .get(delivery)
                .and_then(|key| sub.events.get(key))
                .is_some_and(|event| {
                    event
                        .handed
                        .as_ref()
                        .is_some_and(|h| h.delivery == delivery && self.holds(h, at))
                })
        })
    }
}
