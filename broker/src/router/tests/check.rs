//! What is true of a router after every step, whatever happened.

use std::collections::BTreeSet;

use super::super::entry::State;
use super::super::limits::{LOADED_BYTES_MAX, PENDING_ROWS_MAX, READ_AHEAD_EVENTS_MAX};
use super::super::*;
use super::world::World;
use crate::store::Seq;

/// Every index says what the entries say, every credit is accounted for, and nothing is forgotten.
pub(super) fn check(router: &Router) {
    assert!(
        router.touched.is_empty(),
        "everything that changed was looked at"
    );
    for sub in router.subs.values() {
        let name = &sub.name;
        let leased = |(seq, entry): (&Seq, &entry::Entry)| match entry.state {
            State::Leased(lease) if !lease.settling => Some((lease.deadline_ms, *seq)),
            _ => None,
        };
        let leases: BTreeSet<_> = sub.entries.iter().filter_map(leased).collect();
        assert_eq!(
            leases, sub.leases,
            "{name}: leases are indexed by their ends"
        );
        let waits = |(seq, entry): (&Seq, &entry::Entry)| match entry.state {
            State::Waiting(until) => Some((until, *seq)),
            _ => None,
        };
        let waiting: BTreeSet<_> = sub.entries.iter().filter_map(waits).collect();
        assert_eq!(
            waiting, sub.waiting,
            "{name}: waits are indexed by their ends"
        );
        let suspects = sub.entries.iter().filter(|(_, entry)| entry.suspect);
        let suspects: BTreeSet<Seq> = suspects.map(|(seq, _)| *seq).collect();
        assert_eq!(suspects, sub.suspects, "{name}: suspects are indexed");
        let loaded = sub.entries.values().filter(|entry| entry.body.is_some());
        let loaded: usize = loaded.map(|entry| entry.bytes).sum();
        assert_eq!(loaded, sub.loaded_bytes, "{name}: loaded bytes are counted");
        assert!(
            loaded <= LOADED_BYTES_MAX + (2 << 20),
            "{name}: loaded bytes are bounded"
        );
        assert!(
            sub.entries.len() <= PENDING_ROWS_MAX + 64,
            "{name}: entries are bounded"
        );
        assert!(
            sub.ready.len() <= READ_AHEAD_EVENTS_MAX + 2 * PENDING_ROWS_MAX,
            "{name}"
        );

        let mut sessions = BTreeSet::new();
        let mut in_flight = BTreeSet::new();
        for (seq, entry) in &sub.entries {
            assert!(
                entry.failures < sub.policy.failures_max,
                "{name}: {seq} should be dead"
            );
            assert!(
                entry.crashes < sub.policy.crashes_max,
                "{name}: {seq} should be dead"
            );
            if let State::Leased(lease) = entry.state {
                assert!(
                    entry.body.is_some(),
                    "{name}: {seq} is in flight with its body"
                );
                assert!(
                    entry.inline || *seq <= sub.leased_to_durable,
                    "{name}: {seq} was leased before that was durable"
                );
                assert!(
                    !entry.suspect || lease.settling || alone(router, lease.link),
                    "{seq}"
                );
            }
            let Some(session) = &entry.session else {
                assert!(
                    entry.state != State::Parked,
                    "{name}: {seq} has nothing to wait for"
                );
                continue;
            };
            sessions.insert(session.clone());
            let head = sub
                .sessions
                .head(session)
                .expect("a session with an entry has a head");
            assert!(
                head != *seq || entry.state != State::Parked,
                "{name}: head {seq} is parked"
            );
            if entry.lease().is_some() {
                assert_eq!(head, *seq, "{name}: only heads are in flight");
                assert!(
                    in_flight.insert(session.clone()),
                    "{name}: one in flight per session"
                );
            }
        }
        assert_eq!(
            sessions.len(),
            sub.sessions.len(),
            "{name}: sessions do not outlive their events"
        );
        let ready = |(_, entry): &(&Seq, &entry::Entry)| entry.state == State::Ready;
        for (seq, _) in sub.entries.iter().filter(ready) {
            let known = sub.ready.contains(seq) || sub.unloaded.contains(seq);
            assert!(known, "{name}: {seq} is ready and nobody will look at it");
        }
        if sub.is_served() && !(sub.unloaded.is_empty() && sub.missing.is_empty()) {
            assert!(
                sub.reading_bodies,
                "{name}: what is not loaded is being read"
            );
        }
        assert_eq!(
            sub.armed.is_some(),
            sub.armed
                .is_some_and(|at| router.timers.contains(&(at, sub.id))),
            "{name}: its timer is set"
        );
        if let Some(earliest) = sub.earliest() {
            assert!(
                sub.armed.is_some_and(|at| at <= earliest),
                "{name}: nothing due is missed"
            );
        }
        assert!(
            sub.withdrawn.len() <= super::super::limits::WITHDRAWN_MAX,
            "{name}: notes of filters are bounded"
        );
        assert!(
            sub.filing <= 2 * super::super::limits::WITHDRAWN_FILING_MAX,
            "{name}: what is filed is bounded"
        );
        if sub.dirty {
            assert!(
                router.dirty.contains(&sub.id),
                "{name}: it is listed for writing"
            );
        }
    }
    assert!(
        router.timers.len() <= router.subs.len(),
        "one timer per subscription"
    );
    if !router.housekeeping.is_empty() {
        assert!(
            router.flush_at_ms.is_some(),
            "what is to be written has a time"
        );
    }
    for (link, state) in &router.links {
        let mut events = 0;
        let mut bytes = 0;
        let mut suspects = 0;
        let members = router
            .subs
            .values()
            .filter(|sub| sub.members.iter().any(|m| m.link == *link));
        assert_eq!(
            members.count(),
            state.subs.len(),
            "{link:?} and its subscriptions know each other"
        );
        for id in &state.subs {
            let sub = &router.subs[id];
            suspects += sub.suspects.len();
            let member = sub
                .members
                .iter()
                .find(|m| m.link == *link)
                .expect("known to both");
            let held = sub
                .entries
                .values()
                .filter(|e| e.lease().is_some_and(|l| l.link == *link));
            let held: Vec<usize> = held.map(|entry| entry.bytes).collect();
            assert_eq!(
                member.in_flight.events,
                held.len(),
                "{}: credit of {link:?}",
                sub.name
            );
            assert_eq!(
                member.in_flight.bytes,
                held.iter().sum::<usize>(),
                "{}",
                sub.name
            );
            events += held.len();
            bytes += held.iter().sum::<usize>();
        }
        assert_eq!(state.in_flight.events, events, "credit of {link:?}");
        assert_eq!(state.in_flight.bytes, bytes, "credit of {link:?}");
        assert_eq!(state.suspects, suspects, "suspects of {link:?}");
    }
}

fn alone(router: &Router, link: LinkId) -> bool {
    router
        .links
        .get(&link)
        .is_none_or(|state| state.in_flight.events == 1)
}

impl World {
    /// The router is sound, and what ended is on its way to the disk.
    pub(super) fn check(&self) {
        check(&self.router);
        for (id, model) in &self.subs {
            // A refused batch is not known to be refused before its answer.
            let told = self.batch.is_none();
            if told && !model.unflushed.is_empty() && self.router.get(*id).is_some() {
                assert!(
                    self.router.next_flush().is_some(),
                    "{}: ends will be written",
                    model.name
                );
            }
        }
    }
}
