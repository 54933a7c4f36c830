//! What was counted for each owner of subscriptions: an instance, or a client by name.
//!
//! Counting is an addition in a table that is there already; nothing is allocated per event. What is
//! counted outlives the subscription it was counted for, so that no counter ever runs backwards.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`INSTANCES_MAX`] instances | counted together as `other/other` |
//! | [`CLIENTS_MAX`] clients | counted together as `other` |

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use trunkline_contract::error::Code;
use trunkline_contract::rpc::DeadReason;
use trunkline_contract::topic::{Class, classify};

use crate::instance::InstanceKey;

use super::histogram::{Histogram, LATENCY_MS};
use super::subscription::Owner;

/// Instances that are counted apart.
pub(crate) const INSTANCES_MAX: usize = 1024;
/// Clients that are counted apart.
pub(crate) const CLIENTS_MAX: usize = 64;

/// What a topic is about: a label with few values, where topics have many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicClass(u8);

impl TopicClass {
    /// Names of the classes, in the order of their numbers.
    pub const NAMES: [&'static str; 8] = [
        "inbound",
        "outbound",
        "delivery",
        "hook",
        "tool",
        "lifecycle",
        "dead",
        "other",
    ];
    /// Something came in from outside.
    pub const INBOUND: Self = Self(0);
    /// What became of what went out.
    pub const DELIVERY: Self = Self(2);

    /// The class of a topic.
    pub fn of(topic: &str) -> Self {
        Self(match classify(topic) {
            Class::Inbound { .. } => 0,
            Class::Outbound { .. } => 1,
            Class::Delivery { .. } => 2,
            Class::Hook { .. } => 3,
            Class::Tool { .. } => 4,
            Class::Lifecycle { .. } => 5,
            Class::Dead { .. } => 6,
            // Its own clockwork: counted with what is not of a channel.
            Class::Timer { .. } | Class::Part { .. } | Class::Other => 7,
        })
    }

    /// Its number, below the count of names.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why an event was given up without a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It expired, and its subscription wants no dead letter of that.
    Expired,
    /// Its subscription held too much; it is told of the gap.
    Hold,
    /// The log no longer had it.
    Purged,
    /// Its subscription was deleted.
    Deleted,
    /// Ephemeral, and too many waited before it.
    EphemeralFull,
    /// Ephemeral, and nobody served the subscription.
    EphemeralUnserved,
}

impl Dropped {
    /// All of them, in the order of their numbers.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Expired, "expired"),
        (Self::Hold, "hold"),
        (Self::Purged, "purged"),
        (Self::Deleted, "deleted"),
        (Self::EphemeralFull, "ephemeral_full"),
        (Self::EphemeralUnserved, "ephemeral_unserved"),
    ];
}

/// Every reason of a dead letter, in the order of their numbers.
pub const DEAD_REASONS: [DeadReason; 7] = [
    DeadReason::Rejected,
    DeadReason::DeliveryLimit,
    DeadReason::TooOld,
    DeadReason::Crashed,
    DeadReason::Expired,
    DeadReason::Removed,
    DeadReason::Filed,
];

/// What was counted for one owner since the daemon started.
#[derive(Debug, Default)]
pub struct Meter {
    /// Events handed over, every time.
    pub delivered: u64,
    /// Of them those that may have been handed over before.
    pub redelivered: u64,
    /// Settled: done.
    pub acked: u64,
    /// Settled: failed, to be tried again.
    pub naked: u64,
    /// Settled: not now, without a failure.
    pub deferred: u64,
    /// Settled: never.
    pub rejected: u64,
    /// Leases that ran out.
    pub lease_expired: u64,
    /// Settlements that came too late.
    pub stale: u64,
    /// Dead letters, as [`DEAD_REASONS`] orders them.
    pub dead: [u64; DEAD_REASONS.len()],
    /// Events given up, as [`Dropped::ALL`] orders them.
    pub dropped: [u64; Dropped::ALL.len()],
    /// Events it published that were stored, by class.
    pub stored: [u64; TopicClass::NAMES.len()],
    /// Events it published that were stored already.
    pub duplicates: u64,
    /// Ephemeral events it published.
    pub ephemeral: u64,
    /// Of what it published, events that matched no subscription.
    pub unmatched: u64,
    /// Its refused publishes and commits, by code; empty before the first.
    refused: Vec<(Code, u64)>,
    /// From storing to the first handing-over, in ms, by class.
    waits: [Option<Histogram>; TopicClass::NAMES.len()],
    /// From handing-over to ack, in ms.
    handling: Option<Histogram>,
    /// Wall-clock ms of the last inbound event it brought.
    pub last_inbound_at_ms: Option<i64>,
}

impl Meter {
    /// Counts a refused publish or commit.
    pub fn refused(&mut self, code: Code) {
        match self.refused.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => self.refused.push((code, 1)),
        }
    }

    /// Refused publishes and commits, by code.
    pub fn refusals(&self) -> &[(Code, u64)] {
        &self.refused
    }

    /// Counts an event of its own that is durable.
    pub fn stored(&mut self, class: TopicClass, matched: u32, now_ms: i64) {
        self.stored[class.index()] += 1;
        self.unmatched += u64::from(matched == 0);
        if class == TopicClass::INBOUND {
            self.last_inbound_at_ms = Some(now_ms);
        }
    }

    pub(crate) fn waited(&mut self, topic: &str, ms: u64) {
        let wait = &mut self.waits[TopicClass::of(topic).index()];
        wait.get_or_insert_with(|| Histogram::new(LATENCY_MS))
            .record(ms);
    }

    pub(crate) fn handled(&mut self, ms: u64) {
        self.acked += 1;
        let handling = &mut self.handling;
        handling
            .get_or_insert_with(|| Histogram::new(LATENCY_MS))
            .record(ms);
    }

    pub(crate) fn dropped(&mut self, why: Dropped, count: u64) {
        self.dropped[why as usize] += count;
    }

    /// Counts a dead letter.
    pub fn died(&mut self, reason: DeadReason) {
        let at = DEAD_REASONS.iter().position(|known| *known == reason);
        self.dead[at.expect("every reason is listed")] += 1;
    }

    /// From storing to the first handing-over, in ms, by the number of the class.
    pub fn waits(&self) -> impl Iterator<Item = (usize, &Histogram)> {
        let waits = self.waits.iter().enumerate();
        waits.filter_map(|(class, wait)| Some((class, wait.as_ref()?)))
    }

    /// From handing-over to ack, in ms, if there was any.
    pub fn handling(&self) -> Option<&Histogram> {
        self.handling.as_ref()
    }
}

/// Names one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeterId(u32);

/// All meters, by owner.
#[derive(Debug, Default)]
pub struct Meters {
    owned: Vec<(Owner, Meter)>,
    ids: HashMap<Owner, MeterId, FxBuildHasher>,
    clients: usize,
    instances: usize,
}

impl Meters {
    /// The meter of an owner; what is over the bound shares one.
    pub fn id(&mut self, owner: &Owner) -> MeterId {
        if let Some(id) = self.ids.get(owner) {
            return *id;
        }
        let (known, most) = match owner {
            Owner::Client(_) => (&mut self.clients, CLIENTS_MAX),
            Owner::Instance(_) => (&mut self.instances, INSTANCES_MAX),
        };
        if *known >= most {
            let other = match owner {
                Owner::Client(_) => Owner::Client("other".into()),
                Owner::Instance(_) => Owner::Instance(InstanceKey::new("other", "other")),
            };
            return self.ids.get(&other).copied().unwrap_or_else(|| {
                // One more than the bound: whatever else comes finds it.
                self.add(other)
            });
        }
        *known += 1;
        self.add(owner.clone())
    }

    fn add(&mut self, owner: Owner) -> MeterId {
        let id = MeterId(self.owned.len() as u32);
        self.ids.insert(owner.clone(), id);
        self.owned.push((owner, Meter::default()));
        id
    }

    /// One meter, to count.
    pub fn get(&mut self, id: MeterId) -> &mut Meter {
        &mut self.owned[id.0 as usize].1
    }

    /// The meter of an owner that has one of its own.
    pub fn of(&self, owner: &Owner) -> Option<&Meter> {
        let id = self.ids.get(owner)?;
        Some(&self.owned[id.0 as usize].1)
    }

    /// The owner that a meter stands for, which is `other` beyond the bounds.
    pub fn owner(&self, id: MeterId) -> &Owner {
        &self.owned[id.0 as usize].0
    }

    /// Every meter, with whose it is.
    pub fn all(&self) -> impl Iterator<Item = (&Owner, &Meter)> {
        self.owned.iter().map(|(owner, meter)| (owner, meter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_beyond_the_bound_are_counted_together() {
        let mut meters = Meters::default();
        for number in 0..CLIENTS_MAX + 10 {
            let id = meters.id(&Owner::Client(format!("c{number}").into()));
            meters.get(id).delivered += 1;
        }
        let again = meters.id(&Owner::Client("c3".into()));
        meters.get(again).delivered += 1;
        assert_eq!(meters.all().count(), CLIENTS_MAX + 1);
        let of = |name: &str| meters.of(&Owner::Client(name.into())).map(|m| m.delivered);
        assert_eq!((of("c3"), of("other")), (Some(2), Some(10)));
    }

    #[test]
    fn every_class_of_topic_has_its_name() {
        for (topic, class) in [
            ("plugin.inbound.sms.main", "inbound"),
            ("plugin.outbound.sms", "outbound"),
            ("plugin.delivery.sms.main", "delivery"),
            ("plugin.hook.sms.main", "hook"),
            ("plugin.tool.sms.send", "tool"),
            ("plugin.lifecycle.sms.main", "lifecycle"),
            ("plugin.dead.instance-sms-main", "dead"),
            ("agent.done", "other"),
        ] {
            assert_eq!(TopicClass::NAMES[TopicClass::of(topic).index()], class);
        }
        assert_eq!(
            TopicClass::NAMES[TopicClass::INBOUND.index()],
            "inbound",
            "the constant is the class of that name"
        );
    }
}
