//! Events that somebody else handles: what is told to them, and what happens when they are late.
//!
//! No task belongs to such an event; one task of the dispatcher watches over all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Dispatcher, GRACE, Running};
use crate::context::Context;
use crate::handler::{Ask, Work};
use crate::outcome::Outcome;

/// One event that somebody was asked to handle.
pub(crate) struct Asked(Arc<Running>);

impl Asked {
    pub(crate) fn ctx(&self) -> &Context {
        &self.0.ctx
    }

    /// Settles the event.
    pub(crate) fn settle(self, outcome: Outcome) {
        let cancelled = self.0.dispatcher.asked.forget(&self.0);
        match cancelled {
            // It ended because it was told to: that is the core's doing, not the handler's.
            Some(is_late) if outcome.is_cancelled() => self.0.done(self.0.overdue(is_late)),
            _ => self.0.done(outcome),
        }
    }
}

/// When the events that somebody was asked for are overdue.
#[derive(Default)]
pub(super) struct Overdue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// By the deadline, and the running's number.
    due: BTreeMap<(Instant, u64), Weak<Running>>,
    /// Those that were cancelled, by their number: when they end, and whether they were late.
    cancelled: BTreeMap<u64, (Instant, bool)>,
    is_watched: bool,
    /// When the watch looks again by itself.
    looks_at: Option<Instant>,
}

impl Overdue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, running: &Arc<Running>) -> bool {
        let at = (running.ctx.handling().deadline, running.number);
        let mut state = self.lock();
        let is_sooner = state.looks_at.is_some_and(|looks_at| at.0 < looks_at);
        state.due.insert(at, Arc::downgrade(running));
        let must_watch = !std::mem::replace(&mut state.is_watched, true);
        drop(state);
        if is_sooner && !must_watch {
            self.changed.notify_one();
        }
        must_watch
    }

    /// Watches it no longer; says whether it was cancelled, and if so, whether it was late.
    fn forget(&self, running: &Running) -> Option<bool> {
        let mut state = self.lock();
        let cancelled = state.cancelled.remove(&running.number);
        let at = cancelled.map_or(running.ctx.handling().deadline, |(at, _)| at);
        state.due.remove(&(at, running.number));
        cancelled.map(|(_, is_late)| is_late)
    }

    /// Notes that one was cancelled; false when it was already.
    fn cancel(&self, running: &Arc<Running>, is_late: bool) -> bool {
        let number = running.number;
        let ends = Instant::now() + GRACE;
        let mut state = self.lock();
        if state.cancelled.contains_key(&number) {
            return false;
        }
        state.due.remove(&(running.ctx.handling().deadline, number));
        state.due.insert((ends, number), Arc::downgrade(running));
        state.cancelled.insert(number, (ends, is_late));
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Ends the watch if there is nothing to watch.
    fn rest(&self) -> bool {
        let mut state = self.lock();
        state.is_watched = !state.due.is_empty();
        state.looks_at = None;
        !state.is_watched
    }

    /// Takes one whose time has come, with what is known if it was cancelled before; else says
    /// when to look again.
    fn next(&self, now: Instant) -> Result<(Arc<Running>, Option<bool>), Option<Instant>> {
        let mut state = self.lock();
        while let Some(first) = state.due.first_entry() {
            let at = first.key().0;
            if at > now {
                state.looks_at = Some(at);
                return Err(Some(at));
            }
            let number = first.key().1;
            let running = first.remove().upgrade();
            let cancelled = state.cancelled.remove(&number).map(|(_, is_late)| is_late);
            if let Some(running) = running {
                return Ok((running, cancelled));
            }
        }
        Err(None)
    }
}

impl Dispatcher {
    /// Watches for as long as the dispatcher lives.
    async fn watch_asked(dispatcher: Weak<Self>) {
        loop {
            let Some(this) = dispatcher.upgrade() else {
                return;
            };
            let until = match this.asked.next(Instant::now()) {
                Ok((running, None)) => {
                    running.cancel(true);
                    continue;
                }
                Ok((running, Some(is_late))) => {
                    running.give_up(is_late);
                    continue;
                }
                Err(until) => until,
            };
            let Some(until) = until else {
                // Whoever adds the next one starts another watch.
                if this.asked.rest() {
                    return;
                }
                continue;
            };
            tokio::select! {
                () = this.asked.changed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

impl Running {
    /// Asks somebody to handle the event.
    pub(super) fn ask(self: &Arc<Self>, ask: &dyn Ask) {
        if self.dispatcher.asked.add(self) {
            tokio::spawn(Dispatcher::watch_asked(Arc::downgrade(&self.dispatcher)));
        }
        ask.ask(Asked(self.clone()), &|ticket| {
            self.ticket.get_or_init(|| ticket);
        });
    }

    fn asked(&self) -> Option<(&Arc<dyn Ask>, u64)> {
        match self.work() {
            Work::Ask(ask) => Some((ask, *self.ticket.get()?)),
            _ => None,
        }
    }

    /// Cancels it because the instance stops.
    pub(super) fn cancel_asked(self: &Arc<Self>) {
        self.cancel(false);
    }

    fn cancel(self: &Arc<Self>, is_late: bool) {
        if let Some((ask, ticket)) = self.asked()
            && self.dispatcher.asked.cancel(self, is_late)
        {
            self.ctx.handling().cancelled.set();
            ask.cancel(ticket);
        }
    }

    fn give_up(self: &Arc<Self>, is_late: bool) {
        if let Some((ask, ticket)) = self.asked() {
            ask.give_up(ticket);
        }
        self.done(self.overdue(is_late));
    }
}
