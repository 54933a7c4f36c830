//! What becomes due, what is over, and a clock that is set meanwhile.

use trunkline_patterns::schedule::{Due, Schedule, due_now, due_then};

use crate::core::batch::Ticket;
use crate::core::peer::ReplyTo;
use crate::core::state::{Core, Timer as CoreTimer};
use crate::instance::InstanceKey;
use crate::router::{Owner, Prepared};
use crate::store::{Commit, CommitError, Condition, Expect, Receipt, Seq, StateOp};

use super::event::topic;
use super::record::{Fired, FiredRow, fired_key, key};
use super::request::TimerChange;

/// How often the clocks are compared, and what may have been missed is looked for.
const LOOK_MS: u64 = 60_000;
/// How far the clocks may drift apart between two looks before the wall clock counts as set.
const DRIFT_MS: i64 = 1_000;
/// When what the disk had no room for is tried again.
const FULL_RETRY_MS: i64 = 5_000;
/// When it goes on at the latest, if too much was on its way to the disk.
const FULL_LOOK_MS: u64 = 100;
/// Due timers that are on their way to the disk at once; the others follow when these are durable.
const FIRING_MAX: usize = 256;

/// What a commit of the clockwork was for.
#[derive(Debug)]
pub(crate) enum TimerTicket {
    /// `timer.set`, `timer.cancel`.
    Asked { to: ReplyTo, change: TimerChange },
    /// A timer that was set for somebody who is no instance.
    Ordered {
        to: ReplyTo,
        change: TimerChange,
        answer: serde_json::Value,
    },
    /// A due timer's event.
    Fired {
        of: InstanceKey,
        name: Box<str>,
        row: FiredRow,
        is_last: bool,
    },
    /// The end of such an event, and when the timer is due next.
    Ended {
        of: InstanceKey,
        name: Box<str>,
        nonce: u64,
        next: Option<Due>,
    },
}

impl Core {
    /// Puts a timer where it belongs: in the queue, unless an event of it is not settled.
    pub(super) fn queue_timer(&mut self, of: &InstanceKey, name: &str) {
        if self.timekeeper.fired(of, name).is_some() || !self.instances.contains_key(of) {
            return;
        }
        let Some(timer) = self.timekeeper.get(of, name) else {
            return;
        };
        if timer.is_firing {
            return;
        }
        let at_ms = timer.acts_at_ms();
        self.timekeeper.queue(of, name, at_ms);
        // What is late already goes out as soon as the disk has taken what led here.
        self.timekeeper.has_backlog |= at_ms <= self.now.wall_ms;
        self.arm_timers();
    }

    /// Sees to it that the core looks when the next one is due.
    fn arm_timers(&mut self) {
        if self.timekeeper.is_idle() {
            return;
        }
        let first_ms = self.timekeeper.first_ms().unwrap_or(i64::MAX);
        let wait_ms = first_ms.saturating_sub(self.now.wall_ms).max(0) as u64;
        let least_ms = if self.timekeeper.is_stopped {
            FULL_LOOK_MS
        } else {
            0
        };
        let at_ms = self.now.mono_ms + wait_ms.clamp(least_ms, LOOK_MS);
        if self
            .timekeeper
            .wakes_at_ms
            .is_none_or(|armed| at_ms < armed)
        {
            self.timekeeper.wakes_at_ms = Some(at_ms);
            self.arm(at_ms, CoreTimer::Timers);
        }
    }

    /// It may be time for something.
    pub(crate) fn timers_due(&mut self) {
        if self
            .timekeeper
            .wakes_at_ms
            .is_some_and(|at| at > self.now.mono_ms)
        {
            return;
        }
        self.timekeeper.wakes_at_ms = None;
        let offset_ms = self.now.wall_ms - self.now.mono_ms as i64;
        if (offset_ms - self.timekeeper.offset_ms).abs() > DRIFT_MS {
            self.timekeeper.offset_ms = offset_ms;
            self.clock_was_set();
        }
        for seq in self.timekeeper.watched() {
            self.timer_settled(seq);
        }
        self.fire_due();
        self.arm_timers();
    }

    /// Something is durable: what had to wait for it goes on.
    pub(crate) fn timers_go_on(&mut self) {
        if self.timekeeper.has_backlog {
            self.fire_due();
            self.arm_timers();
        }
    }

    /// Nothing that is relative waits for a clock that was set back to catch up.
    fn clock_was_set(&mut self) {
        let now_ms = self.now.wall_ms;
        for (of, name) in self.timekeeper.queued() {
            self.timekeeper.change(&of, &name, |timer| {
                let after_ms = timer.row.set.after_ms.map(|after| after as i64);
                if let Some(after_ms) = after_ms.filter(|after| timer.row.due_ms - now_ms > *after)
                {
                    timer.row.due_ms = now_ms + after_ms;
                    timer.schedule = Schedule::at(timer.row.due_ms);
                } else if timer.row.due_ms > now_ms
                    && let Some(due) =
                        due_now(&timer.schedule, timer.due(), now_ms, timer.misfire())
                {
                    timer.row.due_ms = due.at_ms;
                }
            });
            self.queue_timer(&of, &name);
        }
    }

    fn fire_due(&mut self) {
        self.timekeeper.has_backlog = false;
        self.timekeeper.is_stopped = false;
        let mut firing = 0;
        while self
            .timekeeper
            .first_ms()
            .is_some_and(|at| at <= self.now.wall_ms)
        {
            if firing >= FIRING_MAX || self.is_full() {
                self.timekeeper.has_backlog = true;
                self.timekeeper.is_stopped = true;
                return;
            }
            let Some((of, name)) = self.timekeeper.pop(self.now.wall_ms) else {
                return;
            };
            if self.check_room().is_err() {
                let at_ms = self.now.wall_ms + FULL_RETRY_MS;
                self.timekeeper.queue(&of, &name, at_ms);
                continue;
            }
            firing += 1;
            self.fire(&of, &name);
        }
    }

    /// A timer is due: its event, or what its policy says of one that was missed.
    fn fire(&mut self, of: &InstanceKey, name: &str) {
        let Some(timer) = self.timekeeper.get(of, name).cloned() else {
            return;
        };
        let now_ms = self.now.wall_ms;
        let unchanged = Expect::Revision(timer.revision);
        let gone = |expect| StateOp {
            key: key(of, name),
            value: None,
            expect,
            expires_at_ms: None,
        };
        match due_now(&timer.schedule, timer.due(), now_ms, timer.misfire()) {
            Some(due) if due.at_ms > now_ms => {
                let skipped = due.missed.saturating_sub(timer.row.missed);
                self.counters.add("timers_skipped", u64::from(skipped));
                self.timekeeper.change(of, name, |timer| {
                    timer.row.due_ms = due.at_ms;
                    timer.row.missed = due.missed;
                });
                self.queue_timer(of, name);
            }
            None => {
                self.counters.add("timers_skipped", 1);
                self.timekeeper.drop_timer(of, name);
                let commit = Commit {
                    state: vec![gone(unchanged)],
                    ..Commit::default()
                };
                self.stage(commit, Ticket::Nothing);
            }
            Some(due) => {
                let event = self.timer_event(of, &timer, due);
                let row = FiredRow {
                    nonce: timer.row.nonce,
                    due_ms: due.at_ms,
                };
                // First of all operations, so that its revision tells the number of the event before it.
                let mut state = vec![crate::router::put_record(fired_key(of, name), &row)];
                let is_last = !timer.schedule.is_repeating();
                state.extend(is_last.then(|| gone(Expect::Any)));
                let pending = self.pending(&event);
                self.timekeeper
                    .change(of, name, |timer| timer.is_firing = true);
                let commit = Commit {
                    conditions: vec![Condition {
                        key: key(of, name),
                        expect: unchanged,
                    }],
                    events: vec![event],
                    state,
                    ..Commit::default()
                };
                let ticket = TimerTicket::Fired {
                    of: of.clone(),
                    name: name.into(),
                    row,
                    is_last,
                };
                let ticket = Ticket::Timer(Box::new(ticket));
                self.stage_events(commit, vec![pending], Prepared::default(), ticket);
            }
        }
    }

    /// An event ended in some subscription; if it was a timer's, and nobody holds it any more, the timer
    /// goes on.
    pub(crate) fn timer_settled(&mut self, seq: Seq) {
        let Some((of, name)) = self.timekeeper.watching(seq) else {
            return;
        };
        let topic = self.topic(&topic(&of));
        if !self
            .router
            .is_held(&Owner::Instance(of.clone()), seq, &topic)
        {
            self.router.unwatch(seq);
            self.end_fired(&of, &name);
        }
    }

    /// The event of a timer is settled: it is due again.
    pub(super) fn end_fired(&mut self, of: &InstanceKey, name: &str) {
        let Some(fired) = self
            .timekeeper
            .fired(of, name)
            .filter(|fired| !fired.is_ending)
        else {
            return;
        };
        self.timekeeper.ending(of, name, true);
        let mut state = vec![StateOp {
            key: fired_key(of, name),
            value: None,
            expect: Expect::Any,
            expires_at_ms: None,
        }];
        let timer = self.timekeeper.get(of, name);
        let timer = timer.filter(|timer| timer.row.nonce == fired.row.nonce);
        let mut next = None;
        if let Some(timer) = timer {
            let (last_ms, now_ms) = (fired.row.due_ms, self.now.wall_ms);
            next = due_then(&timer.schedule, last_ms, now_ms, timer.misfire());
            let mut row = timer.row.clone();
            let op = match next {
                Some(due) => {
                    row.due_ms = due.at_ms;
                    row.missed = due.missed;
                    row.count += 1;
                    crate::router::put_record(key(of, name), &row)
                }
                None => StateOp {
                    key: key(of, name),
                    value: None,
                    expect: Expect::Any,
                    expires_at_ms: None,
                },
            };
            state.push(StateOp {
                expect: Expect::Revision(timer.revision),
                ..op
            });
        }
        let commit = Commit {
            state,
            ..Commit::default()
        };
        let ticket = TimerTicket::Ended {
            of: of.clone(),
            name: name.into(),
            nonce: fired.row.nonce,
            next,
        };
        self.stage(commit, Ticket::Timer(Box::new(ticket)));
    }

    /// A commit of the clockwork is durable, or was refused.
    pub(crate) fn timer_done(&mut self, ticket: TimerTicket, result: Result<Receipt, CommitError>) {
        match ticket {
            TimerTicket::Asked { to, change } => self.timer_answered(&to, change, result),
            TimerTicket::Ordered { to, change, answer } => {
                self.timer_ordered(&to, change, &answer, result);
            }
            TimerTicket::Fired {
                of,
                name,
                row,
                is_last,
            } => self.fired(&of, &name, row, is_last, result),
            TimerTicket::Ended {
                of,
                name,
                nonce,
                next,
            } => self.ended(&of, &name, nonce, next, result),
        }
    }

    fn fired(
        &mut self,
        of: &InstanceKey,
        name: &str,
        row: FiredRow,
        is_last: bool,
        result: Result<Receipt, CommitError>,
    ) {
        let is_same = |nonce| nonce == row.nonce;
        self.timekeeper.change(of, name, |timer| {
            timer.is_firing &= timer.row.nonce != row.nonce;
        });
        match result {
            Ok(_) if !self.instances.contains_key(of) => self.drop_row(fired_key(of, name)),
            Ok(receipt) => {
                let seq = receipt.events[0].seq;
                self.counters.add("timers_fired", 1);
                if let Some(instance) = self.instances.get_mut(of) {
                    instance.counts.fired(name);
                }
                let timer = self.timekeeper.get(of, name);
                if is_last && timer.is_some_and(|timer| is_same(timer.row.nonce)) {
                    self.timekeeper.drop_timer(of, name);
                }
                let fired = Fired {
                    row,
                    seq,
                    is_ending: false,
                };
                self.timekeeper.put_fired(of, name, fired);
                self.router.watch(seq);
                // Where nobody wants it, it is over.
                self.timer_settled(seq);
                self.arm_timers();
            }
            // It was cancelled or set anew in time.
            Err(CommitError::ConditionFailed { .. }) => {}
            Err(_) => {
                let at_ms = self.now.wall_ms + FULL_RETRY_MS;
                let timer = self.timekeeper.get(of, name);
                if timer.is_some_and(|timer| is_same(timer.row.nonce)) {
                    self.timekeeper.queue(of, name, at_ms);
                    self.arm_timers();
                }
            }
        }
    }

    fn ended(
        &mut self,
        of: &InstanceKey,
        name: &str,
        nonce: u64,
        next: Option<Due>,
        result: Result<Receipt, CommitError>,
    ) {
        self.timekeeper.ending(of, name, false);
        match result {
            Ok(receipt) => {
                self.timekeeper.drop_fired(of, name);
                if let Some(revision) = receipt.revisions.get(1) {
                    self.timekeeper.change(of, name, |timer| {
                        if timer.row.nonce == nonce
                            && let Some(due) = next
                        {
                            timer.revision = *revision;
                            timer.row.due_ms = due.at_ms;
                            timer.row.missed = due.missed;
                            timer.row.count += 1;
                        }
                    });
                    if next.is_none() {
                        self.timekeeper.drop_timer(of, name);
                    }
                }
                self.queue_timer(of, name);
            }
            // It was cancelled or set anew meanwhile: that counts.
            Err(CommitError::RevisionConflict { .. }) => self.end_fired(of, name),
            // The next look tries again.
            Err(_) => self.arm_timers(),
        }
    }
}
