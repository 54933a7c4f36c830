//! The end of a lease: settled, run out, or lost with its link.

use crate::clock::Now;
use crate::planted::planted;
use crate::store::{Seq, StateOp};

use super::DeliveryId;
use super::dead_letter::{DeadReason, Origin};
use super::entry::{Failure, Lease, State};
use super::limits::{LEASE_MS_MAX, LOADED_BYTES_MAX, NAK_DELAY_MS_MAX};
use super::membership::{LinkId, Loss};
use super::meter::Meter;
use super::subscription::SubId;
use super::table::{Router, remove};

/// Later, please.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nak {
    /// Not before this many ms; else the policy's table.
    pub delay_ms: Option<u64>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// False: not now (rate limit, not ready); no failure is counted.
    pub counted: bool,
}

/// Never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reject {
    /// The handler's own code.
    pub code: Option<String>,
    /// The handler's words.
    pub reason: Option<String>,
    /// What went wrong.
    pub failure: Option<Failure>,
}

/// What a consumer says of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// Done.
    Ack,
    /// Later.
    Nak(Nak),
    /// Never.
    Reject(Reject),
    /// Still working: the lease lasts this much longer from now.
    Extend {
        /// Milliseconds.
        lease_ms: u64,
    },
}

/// Settlements that a commit makes, between staging and the disk.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// What the commit settles.
    pub(crate) settles: Vec<(SubId, Seq, u64)>,
    /// Of those, the rejected, with their reasons.
    dead: Vec<(SubId, Seq, DeadReason)>,
    naks: Vec<(LinkId, DeliveryId, Nak)>,
    gaps: Vec<(SubId, u64)>,
    /// State that is part of the commit: dead letters, and the end of rows.
    pub ops: Vec<StateOp>,
}

impl Prepared {
    /// What it ends, and how.
    pub fn outcomes(&self) -> impl Iterator<Item = (SubId, Seq, &'static str)> {
        let is_dead = |sub: SubId, seq: Seq| {
            let mut dead = self.dead.iter();
            dead.any(|(other, at, _)| (*other, *at) == (sub, seq))
        };
        let settled = self.settles.iter().map(move |(sub, seq, _)| {
            let outcome = if is_dead(*sub, *seq) {
                "rejected"
            } else {
                "acked"
            };
            (*sub, *seq, outcome)
        });
        let naks = self.naks.iter();
        settled.chain(naks.map(|(_, id, _)| (id.sub, id.seq, "naked")))
    }

    /// Says whether the commit settles nothing.
    pub fn is_empty(&self) -> bool {
        self.settles.is_empty() && self.naks.is_empty() && self.gaps.is_empty()
    }
}

impl Router {
    /// The current lease that `id` names, if `link` still holds it.
    fn held(&self, link: LinkId, id: DeliveryId) -> Option<Lease> {
        let lease = *self.subs.get(&id.sub)?.entries.get(&id.seq)?.lease()?;
        let current = lease.link == link && lease.epoch == id.epoch && !lease.settling;
        (current || (planted("epoch_check_off") && !lease.settling)).then_some(lease)
    }

    fn is_gap(&self, link: LinkId, id: DeliveryId) -> bool {
        let gap = self.subs.get(&id.sub).and_then(|sub| sub.gap.as_ref());
        gap.is_some_and(|gap| gap.link == Some(link) && gap.epoch == id.epoch)
    }

    /// Settles one delivery. Returns false when the lease is not (or no longer) this link's: stale.
    pub fn settle(&mut self, link: LinkId, id: DeliveryId, what: Settle, now: Now) -> bool {
        if self.is_gap(link, id) {
            // A gap is known once it is acked; anything else leaves it as it is.
            if what == Settle::Ack {
                self.gap_acked(id.sub, now);
            }
            return true;
        }
        let Some(lease) = self.held(link, id) else {
            if let Some(sub) = self.subs.get_mut(&id.sub) {
                sub.counters.stale += 1;
                self.meters.get(sub.meter).stale += 1;
            }
            return false;
        };
        match what {
            Settle::Ack => {
                self.note_acked(id.sub, lease, now);
                self.finish_entry(id.sub, id.seq, now);
            }
            Settle::Nak(nak) => self.nak(id.sub, id.seq, nak, now),
            Settle::Reject(reject) => {
                self.meter_of(id.sub).rejected += 1;
                self.tell_failed(id.sub, id.seq, reject.failure.clone(), Some("rejected"));
                let reason = DeadReason::Rejected {
                    code: reject.code,
                    reason: reject.reason,
                };
                self.bury(id.sub, id.seq, &reason, reject.failure, now);
            }
            Settle::Extend { lease_ms } => {
                let deadline_ms = now.mono_ms + lease_ms.min(LEASE_MS_MAX);
                let sub = self.subs.get_mut(&id.sub).expect("held above");
                sub.set_state(
                    id.seq,
                    State::Leased(Lease {
                        deadline_ms,
                        ..lease
                    }),
                );
                self.rearm(id.sub);
            }
        }
        true
    }

    fn note_acked(&mut self, id: SubId, lease: Lease, now: Now) {
        let handled_ms = now.mono_ms.saturating_sub(lease.leased_at_ms);
        self.meter_of(id).handled(handled_ms);
    }

    /// What is counted for the owner of a subscription that is there.
    fn meter_of(&mut self, id: SubId) -> &mut Meter {
        let sub = self.subs.get(&id).expect("its delivery was found");
        self.meters.get(sub.meter)
    }

    /// Says whether this lease is being settled by a commit.
    pub(crate) fn settling(&self, id: SubId, seq: Seq, epoch: u64) -> bool {
        let entry = self.subs.get(&id).and_then(|sub| sub.entries.get(&seq));
        entry
            .and_then(|entry| entry.lease())
            .is_some_and(|lease| lease.settling && lease.epoch == epoch)
    }

    fn gap_acked(&mut self, id: SubId, now: Now) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.gap = None;
            let op = remove(sub.key("g"));
            self.housekeeping.push(op);
            self.flush_soon(now);
            self.touch(id);
        }
    }

    /// Reserves settlements for a commit that is on its way to the disk: until [`Router::finish`] they can
    /// neither run out nor be settled otherwise.
    ///
    /// # Errors
    /// The position (acks, then naks, then rejects) of the first delivery that is stale; nothing is
    /// reserved then.
    pub fn prepare(
        &mut self,
        link: LinkId,
        acks: &[DeliveryId],
        naks: Vec<(DeliveryId, Nak)>,
        rejects: Vec<(DeliveryId, Reject)>,
        now: Now,
    ) -> Result<Prepared, usize> {
        let ids = acks
            .iter()
            .chain(naks.iter().map(|n| &n.0))
            .chain(rejects.iter().map(|r| &r.0));
        for (index, id) in ids.enumerate() {
            if self.held(link, *id).is_none() && !self.is_gap(link, *id) {
                return Err(index);
            }
        }
        let mut prepared = Prepared::default();
        for id in acks {
            if self.is_gap(link, *id) {
                prepared.gaps.push((id.sub, id.epoch));
            } else if self.hold_for_commit(*id) {
                self.prepare_row(*id, &mut prepared.ops);
                prepared.settles.push((id.sub, id.seq, id.epoch));
            }
        }
        for (id, reject) in rejects {
            if !self.hold_for_commit(id) {
                continue;
            }
            let sub = self.subs.get_mut(&id.sub).expect("held above");
            let reason = DeadReason::Rejected {
                code: reject.code,
                reason: reject.reason,
            };
            sub.entries
                .get_mut(&id.seq)
                .expect("held above")
                .failed(reject.failure);
            let entry = &sub.entries[&id.seq];
            prepared
                .ops
                .push(sub.dead_op(id.seq, entry, entry.body.as_deref(), &reason, now));
            self.prepare_row(id, &mut prepared.ops);
            prepared.settles.push((id.sub, id.seq, id.epoch));
            prepared.dead.push((id.sub, id.seq, reason));
        }
        prepared.naks = naks.into_iter().map(|(id, nak)| (link, id, nak)).collect();
        Ok(prepared)
    }

    /// The row of what a commit settles ends in that commit, not after it: a crash in between would bring
    /// back what is settled.
    fn prepare_row(&self, id: DeliveryId, ops: &mut Vec<StateOp>) {
        if let Some(sub) = self.subs.get(&id.sub)
            && sub.entries.get(&id.seq).is_some_and(|e| e.has_row)
        {
            ops.push(remove(sub.row_key(id.seq)));
        }
    }

    /// Marks a lease as settling. False when the same delivery is named twice.
    fn hold_for_commit(&mut self, id: DeliveryId) -> bool {
        let Some(sub) = self.subs.get_mut(&id.sub) else {
            return false;
        };
        let Some(entry) = sub.entries.get_mut(&id.seq) else {
            return false;
        };
        let State::Leased(lease) = &mut entry.state else {
            return false;
        };
        if lease.settling {
            return false;
        }
        lease.settling = true;
        let key = (lease.deadline_ms, id.seq);
        sub.leases.remove(&key);
        true
    }

    /// The commit that carried `prepared` was accepted or refused.
    pub fn finish(&mut self, prepared: Prepared, accepted: bool, now: Now) {
        if !accepted {
            for (id, seq, epoch) in prepared.settles {
                if self.settling(id, seq, epoch) {
                    self.unhold(id, seq, now);
                }
            }
            return;
        }
        let mut dead = prepared.dead.into_iter().peekable();
        for (id, seq, epoch) in prepared.settles {
            let rejected = dead.next_if(|(sub, other, _)| (*sub, *other) == (id, seq));
            if !self.settling(id, seq, epoch) {
                continue;
            }
            let mut held = None;
            if let Some(entry) = self
                .subs
                .get_mut(&id)
                .and_then(|sub| sub.entries.get_mut(&seq))
            {
                entry.has_row = false;
                held = entry.lease().copied();
            }
            match rejected {
                Some((_, _, reason)) => {
                    self.meter_of(id).rejected += 1;
                    self.tell_failed(id, seq, None, Some(reason.as_str()));
                    self.died(id, seq, &reason, now);
                }
                None => {
                    if let Some(lease) = held {
                        self.note_acked(id, lease, now);
                    }
                    self.finish_entry(id, seq, now);
                }
            }
        }
        for (id, epoch) in prepared.gaps {
            let gap = self.subs.get(&id).and_then(|sub| sub.gap.as_ref());
            if gap.is_some_and(|gap| gap.epoch == epoch) {
                self.gap_acked(id, now);
            }
        }
        for (link, id, nak) in prepared.naks {
            self.settle(link, id, Settle::Nak(nak), now);
        }
    }

    fn unhold(&mut self, id: SubId, seq: Seq, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(State::Leased(lease)) = sub.entries.get(&seq).map(|entry| entry.state) else {
            return;
        };
        if sub.entries[&seq].has_row {
            let op = sub.row_op(seq, &sub.entries[&seq], now);
            self.housekeeping.push(op);
            self.flush_soon(now);
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if sub.member(lease.link).is_none() {
            // Its link went while the commit was under way (and may have come back since).
            self.lost(id, seq);
            self.touch(id);
            return;
        }
        let lease = Lease {
            settling: false,
            deadline_ms: lease.deadline_ms.max(now.mono_ms + 1),
            ..lease
        };
        sub.set_state(seq, State::Leased(lease));
        self.rearm(id);
    }

    fn nak(&mut self, id: SubId, seq: Seq, nak: Nak, now: Now) {
        self.release(id, seq);
        let unit = self.random.unit();
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let meter = self.meters.get(sub.meter);
        if nak.counted {
            meter.naked += 1;
        } else {
            meter.deferred += 1;
        }
        let Some(entry) = sub.entries.get_mut(&seq) else {
            return;
        };
        if nak.counted {
            entry.failures += 1;
            entry.failed(nak.failure.clone());
            let is_last = entry.failures >= sub.policy.failures_max;
            let end = DeadReason::DeliveryLimit;
            self.tell_failed(id, seq, nak.failure, is_last.then(|| end.as_str()));
            if is_last {
                self.bury(id, seq, &end, None, now);
                return;
            }
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(entry) = sub.entries.get_mut(&seq) else {
            return;
        };
        let wait = nak.delay_ms.map_or_else(
            || sub.policy.wait_ms(entry.failures, unit),
            |delay_ms| delay_ms.min(NAK_DELAY_MS_MAX),
        );
        entry.has_row = true;
        // A position that does not list it must have passed it.
        if !entry.inline {
            sub.settled_max = sub.settled_max.max(seq);
        }
        self.wait(id, seq, wait, now);
    }

    fn wait(&mut self, id: SubId, seq: Seq, wait_ms: u64, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.set_state(seq, State::Waiting(now.mono_ms.saturating_add(wait_ms)));
        let op = sub.row_op(seq, &sub.entries[&seq], now);
        self.housekeeping.push(op);
        let is_short = sub.loaded_bytes > LOADED_BYTES_MAX / 2;
        let body = sub.entries.get(&seq).and_then(|entry| entry.body.as_ref());
        let is_divided = sub.is_divided && body.is_some_and(|body| !sub.matches(&body.topic));
        // What is selected no longer ends now and not when its wait does, so its body stays.
        sub.is_judging |= is_divided;
        let entry = sub
            .entries
            .get_mut(&seq)
            .expect("waits in this subscription");
        if is_short && !is_divided && !entry.inline && entry.body.take().is_some() {
            sub.loaded_bytes = sub.loaded_bytes.saturating_sub(entry.bytes);
        }
        self.mark_dirty(id, now);
        self.touch(id);
        self.rearm(id);
    }

    /// Leases that ran out and waits that ended.
    pub(crate) fn due(&mut self, id: SubId, now: Now) {
        while let Some(sub) = self.subs.get_mut(&id) {
            let Some(&(at, seq)) = sub.leases.first().filter(|(at, _)| *at <= now.mono_ms) else {
                break;
            };
            sub.leases.remove(&(at, seq));
            self.meters.get(sub.meter).lease_expired += 1;
            let failure = Failure::new(format!(
                "the lease of {} ms ran out without a settlement",
                sub.policy.lease_ms
            ));
            self.nak(
                id,
                seq,
                Nak {
                    delay_ms: None,
                    failure: Some(failure),
                    counted: true,
                },
                now,
            );
        }
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        while let Some(&(at, seq)) = sub.waiting.first().filter(|(at, _)| *at <= now.mono_ms) {
            sub.waiting.remove(&(at, seq));
            sub.set_state(seq, State::Ready);
        }
    }

    /// Ends a lease and gives back its credit, if the event is leased. What becomes of it is the caller's.
    pub(crate) fn release(&mut self, id: SubId, seq: Seq) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(entry) = sub.entries.get(&seq) else {
            return;
        };
        let (bytes, suspect) = (entry.bytes, entry.suspect);
        if let Some(lease) = entry.lease().copied() {
            // Once: what is released twice would give credit that was never taken.
            sub.set_state(seq, State::Parked);
            let mut held = false;
            if let Some(member) = sub.member(lease.link) {
                member.in_flight.sub(bytes);
                held = true;
            }
            if held && let Some(link) = self.links.get_mut(&lease.link) {
                link.in_flight.sub(bytes);
                if std::mem::take(&mut link.starved) {
                    for other in link.subs.clone() {
                        self.touch(other);
                    }
                }
            }
        }
        if suspect {
            if let Some(entry) = self
                .subs
                .get_mut(&id)
                .and_then(|sub| sub.entries.get_mut(&seq))
            {
                entry.suspect = false;
            }
            self.unsuspect(id, seq);
        }
        self.touch(id);
    }

    fn unsuspect(&mut self, id: SubId, seq: Seq) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if !sub.suspects.remove(&seq) {
            return;
        }
        let links: Vec<LinkId> = sub.members.iter().map(|member| member.link).collect();
        for link in links {
            let Some(state) = self.links.get_mut(&link) else {
                continue;
            };
            state.suspects = state.suspects.saturating_sub(1);
            for other in state.subs.clone() {
                self.touch(other);
            }
        }
    }

    /// A lease whose link is gone: at once again, and marked as a repeat.
    pub(crate) fn lost(&mut self, id: SubId, seq: Seq) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if let Some(entry) = sub.entries.get_mut(&seq) {
            entry.redelivered = true;
        }
        sub.set_state(seq, State::Ready);
    }

    /// A link ended. Its leases return as repeats; the answer names them, for [`Router::blame`] in case
    /// the process turns out to have died.
    pub fn link_down(&mut self, link: LinkId, _loss: Loss, now: Now) -> Vec<(SubId, Seq)> {
        let Some(state) = self.links.remove(&link) else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        for id in state.subs {
            if let Some(sub) = self.subs.get_mut(&id) {
                sub.members.retain(|member| member.link != link);
            }
            lost.extend(self.gone(id, link, now).into_iter().map(|seq| (id, seq)));
        }
        lost
    }

    /// The process behind a link that went down has died: what it held is suspect, and an event that was
    /// alone in flight is blamed. Returns true when the death is put down to a suspect, so that it does
    /// not count towards the supervisor's crash loop.
    pub fn blame(&mut self, lost: &[(SubId, Seq)], origin: &Origin, now: Now) -> bool {
        let alone = lost.len() == 1;
        let mut blamed = false;
        for &(id, seq) in lost {
            let Some(sub) = self.subs.get_mut(&id) else {
                continue;
            };
            let Some(entry) = sub.entries.get_mut(&seq) else {
                continue;
            };
            // Handed to another since, or given back by another: this death tells nothing of it.
            if !matches!(entry.state, State::Ready | State::Parked) {
                continue;
            }
            blamed |= alone && entry.suspect;
            entry.crashes += u32::from(alone);
            let crashes = entry.crashes;
            if !entry.suspect {
                entry.suspect = true;
                sub.suspects.insert(seq);
                let links: Vec<LinkId> = sub.members.iter().map(|member| member.link).collect();
                for link in links {
                    if let Some(state) = self.links.get_mut(&link) {
                        state.suspects += 1;
                    }
                }
            }
            let sub = self.subs.get_mut(&id).expect("looked up above");
            if crashes >= sub.policy.crashes_max {
                self.bury(id, seq, &DeadReason::Crashed(origin.clone()), None, now);
                continue;
            }
            let entry = sub.entries.get_mut(&seq).expect("looked up above");
            entry.has_row = true;
            if !entry.inline {
                sub.settled_max = sub.settled_max.max(seq);
            }
            let op = sub.row_op(seq, &sub.entries[&seq], now);
            self.housekeeping.push(op);
            self.mark_dirty(id, now);
            self.touch(id);
        }
        blamed
    }
}
