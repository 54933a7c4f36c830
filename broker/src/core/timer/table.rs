//! All timers, in memory: by owner and name, and by when they are due.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{TIMERS_BYTES_MAX, TIMERS_MAX};

use crate::instance::InstanceKey;
use crate::store::Seq;

use super::record::{Fired, Timer};

/// Everything the core knows of timers.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    owners: FxHashMap<InstanceKey, Owned>,
    queue: BTreeSet<(i64, InstanceKey, Box<str>)>,
    /// Timers whose events are not settled, by the event's number.
    watched: FxHashMap<Seq, (InstanceKey, Box<str>)>,
    /// When the core looks next, monotonic.
    pub(super) wakes_at_ms: Option<u64>,
    /// Wall clock minus monotonic, when last looked at.
    pub(super) offset_ms: i64,
    /// Something is due and goes out as soon as the disk has taken what is on its way.
    pub(super) has_backlog: bool,
    /// More was due than may be on its way to the disk at once.
    pub(super) is_stopped: bool,
}

/// The names of timers, and of those with an unsettled event.
pub(super) type Dropped = (Vec<Box<str>>, Vec<(Box<str>, Seq)>);

/// The timers of one instance.
#[derive(Debug, Default)]
struct Owned {
    set: BTreeMap<Box<str>, Timer>,
    fired: BTreeMap<Box<str>, Fired>,
    bytes: usize,
    /// On the way to the disk.
    pending: usize,
    pending_bytes: usize,
}

impl Timers {
    pub(super) fn get(&self, of: &InstanceKey, name: &str) -> Option<&Timer> {
        self.owners.get(of)?.set.get(name)
    }

    pub(super) fn fired(&self, of: &InstanceKey, name: &str) -> Option<Fired> {
        self.owners.get(of)?.fired.get(name).copied()
    }

    /// Lists the timers with an event that is not settled.
    pub(super) fn running(&self, of: &InstanceKey) -> impl Iterator<Item = &str> {
        let fired = self.owners.get(of).map(|owned| owned.fired.keys());
        fired.into_iter().flatten().map(|name| &**name)
    }

    /// Changes a timer, if it is there.
    pub(super) fn change(&mut self, of: &InstanceKey, name: &str, change: impl FnOnce(&mut Timer)) {
        if let Some(timer) = self
            .owners
            .get_mut(of)
            .and_then(|own| own.set.get_mut(name))
        {
            change(timer);
        }
    }

    /// Changes what is known of an event, if it is there.
    pub(super) fn ending(&mut self, of: &InstanceKey, name: &str, is_ending: bool) {
        if let Some(fired) = self
            .owners
            .get_mut(of)
            .and_then(|own| own.fired.get_mut(name))
        {
            fired.is_ending = is_ending;
        }
    }

    pub(super) fn put(&mut self, of: &InstanceKey, name: &str, timer: Timer) {
        self.drop_timer(of, name);
        let owned = self.owners.entry(of.clone()).or_default();
        owned.bytes += timer.bytes();
        owned.set.insert(name.into(), timer);
    }

    pub(super) fn drop_timer(&mut self, of: &InstanceKey, name: &str) {
        self.unqueue(of, name);
        if let Some(owned) = self.owners.get_mut(of)
            && let Some(old) = owned.set.remove(name)
        {
            owned.bytes -= old.bytes();
        }
    }

    pub(super) fn put_fired(&mut self, of: &InstanceKey, name: &str, fired: Fired) {
        self.drop_fired(of, name);
        self.watched.insert(fired.seq, (of.clone(), name.into()));
        let owned = self.owners.entry(of.clone()).or_default();
        owned.fired.insert(name.into(), fired);
    }

    pub(super) fn drop_fired(&mut self, of: &InstanceKey, name: &str) {
        if let Some(fired) = self
            .owners
            .get_mut(of)
            .and_then(|own| own.fired.remove(name))
        {
            self.watched.remove(&fired.seq);
        }
    }

    /// Forgets an instance. Returns the names of its timers, and of those with an unsettled event.
    pub(super) fn drop_owner(&mut self, of: &InstanceKey) -> Dropped {
        let Some(owned) = self.owners.get(of) else {
            return (Vec::new(), Vec::new());
        };
        let set: Vec<Box<str>> = owned.set.keys().cloned().collect();
        let fired: Vec<_> = owned
            .fired
            .iter()
            .map(|(name, fired)| (name.clone(), fired.seq))
            .collect();
        for name in &set {
            self.unqueue(of, name);
        }
        for (_, seq) in &fired {
            self.watched.remove(seq);
        }
        self.owners.remove(of);
        (set, fired)
    }

    /// Puts a timer in the queue, at this time alone.
    pub(super) fn queue(&mut self, of: &InstanceKey, name: &str, at_ms: i64) {
        self.unqueue(of, name);
        self.change(of, name, |timer| timer.queued_ms = Some(at_ms));
        self.queue.insert((at_ms, of.clone(), name.into()));
    }

    fn unqueue(&mut self, of: &InstanceKey, name: &str) {
        let mut queued = None;
        self.change(of, name, |timer| queued = timer.queued_ms.take());
        if let Some(at_ms) = queued {
            self.queue.remove(&(at_ms, of.clone(), name.into()));
        }
    }

    /// Takes the first that is to be acted on by `now_ms` out of the queue.
    pub(super) fn pop(&mut self, now_ms: i64) -> Option<(InstanceKey, Box<str>)> {
        let first = self
            .queue
            .first()
            .filter(|(at_ms, ..)| *at_ms <= now_ms)?
            .clone();
        self.queue.remove(&first);
        self.change(&first.1, &first.2, |timer| timer.queued_ms = None);
        Some((first.1, first.2))
    }

    /// When the first is to be acted on.
    pub(super) fn first_ms(&self) -> Option<i64> {
        self.queue.first().map(|(at_ms, ..)| *at_ms)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.watched.is_empty()
    }

    /// Whose event this is.
    pub(super) fn watching(&self, seq: Seq) -> Option<(InstanceKey, Box<str>)> {
        self.watched.get(&seq).cloned()
    }

    /// The numbers of events that are not settled.
    pub(super) fn watched(&self) -> Vec<Seq> {
        self.watched.keys().copied().collect()
    }

    /// Timers in the queue.
    pub(super) fn queued(&self) -> Vec<(InstanceKey, Box<str>)> {
        let queued = self.queue.iter();
        queued
            .map(|(_, of, name)| (of.clone(), name.clone()))
            .collect()
    }

    /// The names of an instance's timers, and of those with an unsettled event.
    pub(super) fn names(&self, of: &InstanceKey) -> (Vec<Box<str>>, Vec<Box<str>>) {
        self.owners.get(of).map_or_else(Default::default, |owned| {
            let set = owned.set.keys().cloned().collect();
            (set, owned.fired.keys().cloned().collect())
        })
    }

    /// An instance's timers after a name, by name.
    pub(super) fn after<'a>(
        &'a self,
        of: &InstanceKey,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Timer, bool)> {
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.owners.get(of).into_iter().flat_map(move |owned| {
            let timers = owned.set.range::<str, _>(from);
            timers.map(move |(name, timer)| (&**name, timer, owned.fired.contains_key(name)))
        })
    }

    /// Checks that an instance may have this timer as well, and counts it as on its way.
    pub(super) fn reserve(
        &mut self,
        of: &InstanceKey,
        name: &str,
        bytes: usize,
    ) -> Result<(), Error> {
        let owned = self.owners.entry(of.clone()).or_default();
        let old = owned.set.get(name).map(Timer::bytes);
        let count = owned.set.len() + owned.pending + usize::from(old.is_none());
        let all_bytes = owned.bytes + owned.pending_bytes + bytes - old.unwrap_or(0).min(bytes);
        if count > TIMERS_MAX || all_bytes > TIMERS_BYTES_MAX {
            let text = format!(
                "expected at most {TIMERS_MAX} timers and {TIMERS_BYTES_MAX} bytes of one instance, found \
                 {count} and {all_bytes}"
            );
            return Err(Error::new(Code::QuotaExceeded, text));
        }
        owned.pending += usize::from(old.is_none());
        owned.pending_bytes += bytes;
        Ok(())
    }

    /// What was reserved arrived, or not. `was_new` says what [`Timers::reserve`] found.
    pub(super) fn release(&mut self, of: &InstanceKey, was_new: bool, bytes: usize) {
        if let Some(owned) = self.owners.get_mut(of) {
            owned.pending = owned.pending.saturating_sub(usize::from(was_new));
            owned.pending_bytes = owned.pending_bytes.saturating_sub(bytes);
        }
    }
}
