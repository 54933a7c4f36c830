//! What one subscription may keep back: `hold`, an age and a number of bytes.
//!
//! Beyond it the oldest are skipped for this subscription alone, and it is told with `broker.gap`. A client
//! subscription that was not served for `expire_ms` holds nothing. Bytes are counted as events come and
//! measured by reading before anything is skipped for them, so that a wrong count loses nothing. One
//! subscription is looked at at a time, a page per read.

use rustc_hash::FxHashSet;

use crate::router::SubId;
use crate::store::{EventPage, ReadLimit, Seq};

use super::read::{LogThen, ReadRequest};
use super::retention::{Looking, RetentionRead};
use super::state::{Core, Output};

/// Subscriptions looked at in memory per second, to find the next that must be read.
const LOOKED_AT_MAX: usize = 1024;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Holds {
    is_busy: bool,
    last: Option<SubId>,
    /// Subscriptions whose bytes were measured in this life of the broker.
    measured: FxHashSet<SubId>,
}

/// What one subscription holds, being read.
#[derive(Debug)]
pub(super) struct HoldCheck {
    sub: SubId,
    first: Seq,
    after: Seq,
    /// Not looked at beyond this.
    head: Seq,
    /// Its [`changes`](crate::router::Subscription::changes) when the look began.
    changes: u32,
    /// Measures first; skips nothing.
    is_measuring: bool,
    bytes: u64,
    /// Older events are skipped.
    oldest_ms: i64,
    /// So many bytes are skipped.
    excess: u64,
    count: u64,
    to: Seq,
    /// Something is held that may stay.
    is_held: bool,
}

impl Core {
    /// Looks for the next subscription that may hold too much.
    pub(super) fn check_holds(&mut self) {
        if self.retirement.holds.is_busy {
            return;
        }
        let ids = self
            .router
            .ids_after(self.retirement.holds.last, LOOKED_AT_MAX);
        let mut last = None;
        for id in ids {
            last = Some(id);
            if let Some(check) = self.hold_check(id) {
                self.retirement.holds.is_busy = true;
                self.retirement.holds.last = last;
                self.read_hold(Box::new(check));
                return;
            }
        }
        self.retirement.holds.last = last;
    }

    fn hold_check(&mut self, id: SubId) -> Option<HoldCheck> {
        let head = self.router.head();
        let now = self.now;
        let sub = self.router.get(id)?;
        let first = sub.oldest_unsettled();
        if first > head {
            return None;
        }
        let hold = sub.hold();
        let is_expired = sub.is_expired(now);
        let age_ms = i64::try_from(hold.age_ms).unwrap_or(i64::MAX);
        let oldest_ms = now.wall_ms.saturating_sub(age_ms);
        let is_measured = self.retirement.holds.measured.contains(&id);
        let is_over = sub.backlog_bytes() > hold.bytes || !is_measured;
        let is_young = sub.oldest_stored_at_ms().is_some_and(|at| at >= oldest_ms);
        if is_young && !is_over && !is_expired {
            return None;
        }
        Some(HoldCheck {
            sub: id,
            first,
            after: first - 1,
            head,
            changes: sub.changes(),
            is_measuring: is_over && !is_expired,
            bytes: 0,
            oldest_ms: if is_expired { i64::MAX } else { oldest_ms },
            excess: 0,
            count: 0,
            to: 0,
            is_held: false,
        })
    }

    fn read_hold(&mut self, check: Box<HoldCheck>) {
        let Some(sub) = self.router.get(check.sub) else {
            self.retirement.holds.is_busy = false;
            return;
        };
        self.outputs.push(Output::Read(ReadRequest::Log {
            after: check.after,
            filters: sub.holding_filters(),
            limit: ReadLimit::default(),
            then: LogThen::Retention(RetentionRead(Looking::Hold(check))),
        }));
    }

    pub(super) fn hold_page(&mut self, page: &EventPage, mut check: Box<HoldCheck>) {
        // What was set back, or selects something else, since the look began is looked at again later.
        let sub = self.router.get(check.sub);
        let Some(sub) = sub.filter(|sub| sub.changes() == check.changes) else {
            self.retirement.holds.is_busy = false;
            return;
        };
        let mut is_end = page.next <= check.after || page.next >= check.head;
        for event in &page.events {
            if event.seq > check.head || !sub.holds(event.seq, &event.topic) {
                continue;
            }
            let bytes = event.envelope.len() as u64;
            check.bytes += bytes;
            if check.is_measuring {
                continue;
            }
            if event.stored_at_ms >= check.oldest_ms && check.excess == 0 {
                check.is_held = true;
                is_end = true;
                break;
            }
            check.excess = check.excess.saturating_sub(bytes);
            check.count += 1;
            check.to = event.seq;
        }
        check.after = page.next.max(check.after);
        if !is_end {
            return self.read_hold(check);
        }
        if check.is_measuring {
            self.retirement.holds.measured.insert(check.sub);
            let most = sub.hold().bytes;
            check.excess = check.bytes.saturating_sub(most);
            self.router.set_backlog(check.sub, check.bytes);
            check.is_measuring = false;
            check.bytes = 0;
            check.after = check.first - 1;
            return self.read_hold(check);
        }
        self.retirement.holds.is_busy = false;
        if check.count > 0 {
            self.counters.add("events_skipped", check.count);
            self.router.skip(check.sub, check.to, check.count, self.now);
            // Measured again before anything else is skipped for its bytes.
            self.retirement.holds.measured.remove(&check.sub);
        } else if !check.is_held {
            self.router
                .pass(check.sub, check.head.min(check.after), self.now);
        }
    }
}
