//! Leasing: which ready event goes to which member now.

use std::fmt;
use std::sync::Arc;

use crate::clock::Now;
use crate::planted::planted;
use crate::store::Seq;

use super::dead_letter::DeadReason;
use super::entry::{Lease, State};
use super::membership::LinkId;
use super::meter::Dropped;
use super::policy::OnExpired;
use super::subscription::{SubId, Subscription};
use super::table::{Command, Router};
use super::withdraw::Fate;

/// Names one handing-over of one event: opaque to peers, new every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// Subscription.
    pub sub: SubId,
    /// Event.
    pub seq: Seq,
    /// Fencing number of the lease.
    pub epoch: u64,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.sub.0, self.seq, self.epoch)
    }
}

impl DeliveryId {
    /// Reads what [`fmt::Display`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let sub = SubId(u32::from_str_radix(parts.next()?, 16).ok()?);
        let seq = u64::from_str_radix(parts.next()?, 16).ok()?;
        let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some(Self { sub, seq, epoch })
    }
}

/// What stands in the way of leasing one event.
enum Next {
    /// Lease it to this member (by index).
    Lease(Seq, usize),
    /// It died or was dropped, or its body must be read: look at the next one.
    Skip,
    /// Nothing can be leased now.
    Stop,
}

impl Router {
    /// Leases what can be leased from one subscription.
    pub(crate) fn dispatch(&mut self, id: SubId, now: Now) {
        self.announce_gap(id);
        self.pass_ephemeral(id);
        loop {
            match self.next(id, now) {
                Next::Lease(seq, member) => self.lease(id, seq, member, now),
                Next::Skip => {}
                Next::Stop => return,
            }
        }
    }

    fn next(&mut self, id: SubId, now: Now) -> Next {
        let Some(sub) = self.subs.get_mut(&id) else {
            return Next::Stop;
        };
        if sub.members.is_empty() || !sub.missing.is_empty() {
            return Next::Stop;
        }
        let blamed = sub
            .members
            .iter()
            .any(|m| self.links.get(&m.link).is_some_and(|l| l.suspects > 0));
        let seq = if blamed {
            // One suspect alone, so that it cannot condemn its neighbours.
            match sub.next_suspect() {
                Some(seq) => seq,
                None => return Next::Stop,
            }
        } else {
            match sub.pop_ready() {
                Some(seq) => seq,
                None => return Next::Stop,
            }
        };
        let entry = &sub.entries[&seq];
        let Some(event) = entry.body.clone() else {
            sub.unloaded.insert(seq);
            return if blamed { Next::Stop } else { Next::Skip };
        };
        if sub.is_divided && !sub.matches(&event.topic) {
            match self.judge(id, seq, &event.topic, now) {
                None => {}
                Some(Next::Stop) if !blamed => {
                    self.put_back(id, seq);
                    return Next::Stop;
                }
                Some(next) => return next,
            }
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return Next::Stop;
        };
        let entry = &sub.entries[&seq];
        if event.expires_at_ms.is_some_and(|at| at <= now.wall_ms) {
            self.expire(id, seq, now);
            return Next::Skip;
        }
        let too_old = entry
            .first_leased_at_ms
            .is_some_and(|at| now.wall_ms - at > sub.policy.age_max_ms.min(i64::MAX as u64) as i64);
        if too_old {
            self.bury(id, seq, &DeadReason::TooOld, None, now);
            return Next::Skip;
        }
        if seq > sub.leased_to_durable && !entry.inline {
            if !blamed {
                sub.ready.push_front(seq);
            }
            self.mark_dirty(id, now);
            self.flush_at_ms = Some(now.mono_ms);
            return Next::Stop;
        }
        let bytes = entry.bytes;
        if let Some(member) = self.choose(id, bytes, blamed) {
            return Next::Lease(seq, member);
        }
        if !blamed {
            self.put_back(id, seq);
        }
        Next::Stop
    }

    /// It is still the next one.
    fn put_back(&mut self, id: SubId, seq: Seq) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.ready.push_front(seq);
        }
    }

    /// What is next is selected no longer: it ends, or waits to be judged. Nothing: it is handed over all the same.
    fn judge(&mut self, id: SubId, seq: Seq, topic: &Arc<str>, now: Now) -> Option<Next> {
        if !self.may_judge(id) {
            return Some(Next::Stop);
        }
        match self.fate(id, seq, topic) {
            Fate::Here => None,
            fate if self.withdraw(id, seq, fate, now) => Some(Next::Skip),
            _ => Some(Next::Stop),
        }
    }

    /// The next member in turn that has room for `bytes`.
    fn choose(&mut self, id: SubId, bytes: usize, alone: bool) -> Option<usize> {
        let sub = self.subs.get_mut(&id)?;
        let count = sub.members.len();
        for step in 0..count {
            let index = (sub.next_member + step) % count;
            let member = &sub.members[index];
            let Some(link) = self.links.get_mut(&member.link) else {
                continue;
            };
            if !link.serving || !link.writable || !member.in_flight.fits(member.window, bytes) {
                continue;
            }
            if (alone && link.in_flight.events > 0) || !link.in_flight.fits(link.window, bytes) {
                // What comes back on another subscription of this link makes room for this one.
                link.starved = true;
                continue;
            }
            sub.next_member = (index + 1) % count;
            return Some(index);
        }
        None
    }

    fn lease(&mut self, id: SubId, seq: Seq, member: usize, now: Now) {
        let epoch = self.epoch();
        let sub = self
            .subs
            .get_mut(&id)
            .expect("chosen from this subscription");
        let lease_ms = sub.policy.lease_ms;
        let failures_max = sub.policy.failures_max;
        let member = &mut sub.members[member];
        let link = member.link;
        let entry = sub.entries.get_mut(&seq).expect("chosen from its entries");
        entry.attempt += 1;
        entry.first_leased_at_ms.get_or_insert(now.wall_ms);
        entry.redelivered |= entry.attempt > 1;
        let is_last = entry.failures + 1 >= failures_max;
        let (attempt, redelivered, bytes) = (entry.attempt, entry.redelivered, entry.bytes);
        let event = entry.body.clone().expect("only what is loaded is chosen");
        member.in_flight.add(bytes);
        self.links
            .get_mut(&link)
            .expect("members have their link")
            .in_flight
            .add(bytes);
        let deadline_ms = now.mono_ms + lease_ms;
        sub.set_state(
            seq,
            State::Leased(Lease {
                epoch,
                link,
                deadline_ms,
                leased_at_ms: now.mono_ms,
                settling: false,
            }),
        );
        let meter = self.meters.get(sub.meter);
        meter.delivered += 1;
        meter.redelivered += u64::from(redelivered);
        if !redelivered {
            let waited_ms = now.wall_ms.saturating_sub(event.stored_at_ms);
            meter.waited(&event.topic, u64::try_from(waited_ms).unwrap_or(0));
        }
        let subscription = sub.name.clone();
        let redelivered = redelivered && !planted("redelivered_flag_off");
        self.commands.push(Command::Deliver {
            link,
            event,
            id: DeliveryId {
                sub: id,
                seq,
                epoch,
            },
            attempt,
            redelivered,
            lease_ms,
            is_last,
            subscription,
        });
    }

    fn expire(&mut self, id: SubId, seq: Seq, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if sub.policy.on_expired == OnExpired::Dead {
            self.bury(id, seq, &DeadReason::Expired, None, now);
            return;
        }
        self.meters.get(sub.meter).dropped(Dropped::Expired, 1);
        self.finish_entry(id, seq, now);
    }

    /// Hands over what waits as ephemeral, to the first member that can take it.
    fn pass_ephemeral(&mut self, id: SubId) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        while !sub.ephemeral.is_empty() {
            let count = sub.members.len();
            let index = (0..count)
                .map(|step| (sub.next_member + step) % count)
                .find(|&index| {
                    self.links
                        .get(&sub.members[index].link)
                        .is_some_and(|link| link.serving && link.writable)
                });
            let Some(index) = index else { return };
            sub.next_member = (index + 1) % count;
            let link = sub.members[index].link;
            let event = sub.ephemeral.pop_front().expect("checked above");
            self.commands
                .push(Command::DeliverEphemeral { link, event });
        }
    }

    fn announce_gap(&mut self, id: SubId) {
        let waits = |sub: &Subscription| sub.gap.as_ref().is_some_and(|gap| gap.link.is_none());
        if !self.subs.get(&id).is_some_and(waits) {
            return;
        }
        let epoch = self.epoch();
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(gap) = sub.gap.as_mut() else {
            return;
        };
        let ready: Option<LinkId> = sub.members.iter().map(|member| member.link).find(|link| {
            self.links
                .get(link)
                .is_some_and(|l| l.serving && l.writable)
        });
        let Some(link) = ready else { return };
        gap.link = Some(link);
        gap.epoch = epoch;
        self.commands.push(Command::Gap {
            link,
            subscription: sub.name.clone(),
            from: gap.from,
            to: gap.to,
            count: gap.count,
            id: DeliveryId {
                sub: id,
                seq: gap.to,
                epoch,
            },
        });
    }
}

impl Subscription {
    /// The next suspect that may be leased, or, where a suspect is behind another event of its session,
    /// the head of that session: it must go first.
    fn next_suspect(&self) -> Option<Seq> {
        self.suspects.iter().find_map(|seq| {
            let entry = self.entries.get(seq)?;
            let seq = match (&entry.state, &entry.session) {
                (State::Parked, Some(session)) => self.sessions.head(session)?,
                _ => *seq,
            };
            (self.entries.get(&seq)?.state == State::Ready).then_some(seq)
        })
    }

    /// The next event that may be leased; entries of the queue that are no longer ready are dropped.
    fn pop_ready(&mut self) -> Option<Seq> {
        while let Some(seq) = self.ready.pop_front() {
            let Some(entry) = self.entries.get_mut(&seq) else {
                continue;
            };
            if entry.state != State::Ready || self.unloaded.contains(&seq) {
                continue;
            }
            let is_head = entry
                .session
                .as_ref()
                .is_none_or(|s| self.sessions.is_head(s, seq));
            if is_head {
                return Some(seq);
            }
            entry.state = State::Parked;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_reads_back_and_nothing_else_does() {
        let id = DeliveryId {
            sub: SubId(7),
            seq: 1 << 40,
            epoch: u64::MAX,
        };
        assert_eq!(DeliveryId::parse(&id.to_string()), Some(id));
        for bad in ["", "1-2", "1-2-3-4", "x-1-1", "1-2-11111111111111111"] {
            assert_eq!(DeliveryId::parse(bad), None, "{bad}");
        }
    }
}
