//! What the next batch must carry for the router: positions, rows, dead letters.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::clock::Now;
use crate::store::{Seq, StateOp};

use super::lease::Prepared;
use super::limits::LEASED_TO_RESERVE;
use super::position::{PositionPart, PositionTrailer};
use super::subscription::SubId;
use super::table::Router;

/// What a batch carries for the router.
#[derive(Debug, Default)]
pub struct Durable {
    /// State of its own, as one commit; empty when there is nothing.
    pub ops: Vec<StateOp>,
    /// Positions.
    pub trailer: PositionTrailer,
    /// `leased_to` that will be durable with it.
    pub reserved: Vec<(SubId, Seq)>,
    /// Dead letters of what is selected no longer among the state.
    pub(crate) filed: Vec<(SubId, usize)>,
}

impl Router {
    /// When positions or rows are to be written at the latest.
    pub fn next_flush(&self) -> Option<u64> {
        self.flush_at_ms
    }

    /// Says whether positions or rows have waited long enough for a commit of their own.
    pub fn wants_flush(&self, now: Now) -> bool {
        self.flush_at_ms.is_some_and(|at| at <= now.mono_ms)
    }

    /// What the next batch must carry. `head_estimate` is the highest number the batch can reach;
    /// `prepared` are the settlements its commits make, as (commit of the batch, settlement), and
    /// `housekeeping_index` is the commit under which the returned `ops` will be put.
    pub fn durable(
        &mut self,
        head_estimate: Seq,
        prepared: &[(usize, &Prepared)],
        housekeeping_index: usize,
    ) -> Durable {
        self.flush_at_ms = None;
        let mut settles: FxHashMap<SubId, Vec<(usize, Seq)>> = FxHashMap::default();
        let mut ended_rows: FxHashSet<Vec<u8>> = FxHashSet::default();
        for (commit, prepared) in prepared {
            for &(id, seq, epoch) in &prepared.settles {
                // A seek may have ended the lease since.
                if self.settling(id, seq, epoch) {
                    self.list_dirty(id);
                    settles.entry(id).or_default().push((*commit, seq));
                    let sub = &self.subs[&id];
                    if sub.entries[&seq].has_row {
                        ended_rows.insert(sub.row_key(seq));
                    }
                }
            }
        }
        if !ended_rows.is_empty() {
            // These rows end in their commits, which come first in the batch: written after, they would
            // come back. Should such a commit be refused, the list still holds the event.
            self.housekeeping
                .retain(|op| op.value.is_none() || !ended_rows.contains(&op.key));
        }
        let mut durable = Durable {
            ops: std::mem::take(&mut self.housekeeping),
            ..Durable::default()
        };
        for id in std::mem::take(&mut self.dirty) {
            let Some(sub) = self.subs.get_mut(&id) else {
                continue;
            };
            sub.dirty = false;
            let frontier = if sub.live { head_estimate } else { sub.cursor };
            if sub.is_served() && frontier + LEASED_TO_RESERVE / 2 > sub.leased_to {
                sub.leased_to = frontier + LEASED_TO_RESERVE;
            }
            if std::mem::take(&mut sub.is_pinned) {
                // On a disk that fills up the trailer may be lost and the commits kept.
                durable.ops.push(sub.position_op());
            }
            let settles = settles.remove(&id).unwrap_or_default();
            let last = settles.iter().map(|(_, seq)| *seq).max().unwrap_or(0);
            durable.trailer.parts.push(PositionPart {
                key: sub.key("p"),
                cursor: sub.cursor,
                settled_max: sub.settled_max,
                unsettled: sub.listed(sub.settled_max.max(last)),
                leased_to: sub.leased_to,
                settles,
            });
            durable.reserved.push((id, sub.leased_to));
            if sub.filing > 0 {
                durable.filed.push((id, sub.filing));
            }
        }
        if !durable.ops.is_empty() {
            durable.trailer.housekeeping = Some(housekeeping_index);
        }
        durable
    }

    /// Reserves `leased_to` for subscriptions that will be asked to lease what this batch appends, so that
    /// the reservation rides in the same commit.
    pub fn reserve_for(&mut self, topic: &Arc<str>, head_estimate: Seq) {
        for &id in self.matching(topic).iter() {
            let Some(sub) = self.subs.get(&id) else {
                continue;
            };
            if sub.live && head_estimate > sub.leased_to {
                self.list_dirty(id);
            }
        }
    }

    /// The batch that carried `reserved` is durable (or, with `ok` false, its housekeeping was refused:
    /// everything is kept and tried again).
    pub fn durable_done(&mut self, durable: Durable, ok: bool, now: Now) {
        let Durable {
            mut ops,
            trailer,
            reserved,
            filed,
        } = durable;
        if !ok {
            ops.append(&mut self.housekeeping);
            self.housekeeping = ops;
            for (id, _) in reserved {
                self.mark_dirty(id, now);
            }
            self.flush_at_ms = Some(now.mono_ms + 1_000);
            return;
        }
        drop(trailer);
        for (id, count) in filed {
            if let Some(sub) = self.subs.get_mut(&id) {
                sub.filing -= count;
            }
        }
        for (id, leased_to) in reserved {
            if let Some(sub) = self.subs.get_mut(&id) {
                sub.leased_to_durable = sub.leased_to_durable.max(leased_to);
                self.touch(id);
            }
        }
    }

    /// Makes what is to be written due now.
    pub fn flush_now(&mut self, now: Now) {
        if !self.dirty.is_empty() || !self.housekeeping.is_empty() {
            self.flush_at_ms = Some(now.mono_ms);
        }
    }
}
