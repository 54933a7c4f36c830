//! Deliveries that are being worked on, and when to tell the broker so.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// One delivery being worked on; names it in [`Leases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease(u64);

struct Entry {
    delivery: Box<str>,
    due: Instant,
    period: Duration,
    until: Instant,
}

#[derive(Default)]
pub(crate) struct Leases {
    last: u64,
    entries: FxHashMap<u64, Entry>,
    /// No entry is due before this; it may be earlier than the earliest.
    earliest: Option<Instant>,
}

impl Leases {
    pub(crate) fn add(
        &mut self,
        delivery: &str,
        lease: Duration,
        now: Instant,
        until: Instant,
    ) -> Lease {
        self.last += 1;
        let period = (lease / 2).max(Duration::from_millis(1));
        let due = now + period;
        self.entries.insert(
            self.last,
            Entry {
                delivery: delivery.into(),
                due,
                period,
                until,
            },
        );
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        Lease(self.last)
    }

    pub(crate) fn remove(&mut self, lease: Lease) {
        self.entries.remove(&lease.0);
    }

    /// Gives all deliveries that are worked on.
    #[cfg(feature = "testing")]
    pub(crate) fn all(&self) -> Vec<Box<str>> {
        self.entries
            .values()
            .map(|entry| entry.delivery.clone())
            .collect()
    }

    /// When to look again.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// Gives the deliveries to extend now. One whose time is over is not extended any more.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Box<str>> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        self.entries.retain(|_, entry| entry.until > now);
        let mut due = Vec::new();
        let mut earliest = None;
        for entry in self.entries.values_mut() {
            if entry.due <= now {
                due.push(entry.delivery.clone());
                entry.due = now + entry.period;
            }
            earliest = Some(earliest.map_or(entry.due, |at: Instant| at.min(entry.due)));
        }
        self.earliest = earliest;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_extended_at_half_its_time_until_the_work_must_end() {
        let mut leases = Leases::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lease = leases.add("d1", Duration::from_secs(30), start, at(60));
        assert_eq!(leases.earliest(), Some(at(15)));
        assert!(leases.due(at(14)).is_empty());
        assert_eq!(leases.due(at(15)), ["d1".into()]);
        assert_eq!(leases.due(at(30)), ["d1".into()]);
        assert!(leases.due(at(61)).is_empty(), "its time is over");
        leases.remove(lease);
        assert_eq!(leases.earliest(), None);
    }
}
