//! Seeded publishers and subscribers that put load on a broker and write the history of what they saw.
//!
//! Each link has a thread of its own. When the broker dies, publishers note their unanswered publishes as
//! unknown and publish them again under the same ids; subscribers come back and go on. Nothing here decides
//! whether a promise held: that is the checker's.

#[cfg(test)]
mod fake;
mod gate;
mod ledger;
mod publisher;
mod subscriber;
#[cfg(test)]
mod tests;

pub use gate::Gate;
pub use ledger::Ledger;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::history::{History, Record};
use crate::random::Random;

/// Name under which the drivers connect.
pub const CLIENT: &str = "harness";

/// The load of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Publishing links.
    pub publishers: u64,
    /// Sessions of each publisher.
    pub sessions: u64,
    /// Publishes of one link that may be unanswered at once.
    pub window: usize,
    /// Most events of one publisher.
    pub events_max: u64,
    /// Topics to publish on.
    pub topics: Vec<String>,
    /// Roughly how large a payload is.
    pub payload_bytes: u64,
    /// Of 100 acked events, so many are published once more under their id.
    pub repeat_percent: u64,
    /// Subscriptions of this process.
    pub subscriptions: Vec<SubscriptionPlan>,
    /// Subscriptions that other processes serve: full name and filters. They are in the history, and no drain
    /// of this process waits for them.
    pub served_elsewhere: Vec<(String, Vec<String>)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            publishers: 3,
            sessions: 8,
            window: 16,
            events_max: 100_000,
            topics: vec!["agent.load.a".into(), "agent.load.b".into()],
            payload_bytes: 120,
            repeat_percent: 3,
            subscriptions: vec![
                SubscriptionPlan::new("all", &["agent.load.>"], 1),
                SubscriptionPlan::new("shared", &["agent.load.a"], 3),
            ],
            served_elsewhere: Vec::new(),
        }
    }
}

/// A subscription and how it is served.
#[derive(Debug, Clone)]
pub struct SubscriptionPlan {
    /// Name within the client.
    pub name: String,
    /// Topic filters.
    pub filters: Vec<String>,
    /// Links that share it.
    pub members: u64,
    /// Most events in flight on each link.
    pub credit: u64,
    /// How its members settle.
    pub habits: Habits,
}

impl SubscriptionPlan {
    /// A subscription with the usual habits.
    pub fn new(name: &str, filters: &[&str], members: u64) -> Self {
        Self {
            name: name.into(),
            filters: filters.iter().map(|filter| (*filter).into()).collect(),
            members,
            credit: 32,
            habits: Habits::default(),
        }
    }

    /// Its full name.
    pub fn full_name(&self) -> String {
        format!("client.{CLIENT}.{}", self.name)
    }
}

/// How a member settles, in parts of 1000.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Asks for it later, without a failure.
    pub nak: u64,
    /// Asks for it later, as a failure.
    pub counted_nak: u64,
    /// After asking for it later, acks the former delivery once it has the new one.
    pub stale_ack: u64,
    /// Never wants it.
    pub reject: u64,
    /// Acks without waiting for an answer.
    pub silent_ack: u64,
    /// Drops its link with everything it holds.
    pub detach: u64,
    /// Most deliveries that it holds before it settles one.
    pub hold_max: usize,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            nak: 60,
            counted_nak: 10,
            stale_ack: 30,
            reject: 5,
            silent_ack: 250,
            detach: 2,
            hold_max: 8,
        }
    }
}

/// What all threads of a load share.
#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    token: String,
    history: Arc<History>,
    gate: Gate,
    ledger: Ledger,
    is_publishing: AtomicBool,
    links: AtomicU64,
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the threads; they wait until [`Gate::open`].
    ///
    /// # Panics
    /// When the machine gives no thread.
    pub fn start(
        plan: &Plan,
        random: &mut Random,
        socket: &Path,
        token: &str,
        history: Arc<History>,
    ) -> Self {
        let owed: Vec<_> = plan
            .subscriptions
            .iter()
            .map(|subscription| (subscription.full_name(), subscription.filters.clone()))
            .collect();
        for (sub, filters) in owed.iter().chain(&plan.served_elsewhere) {
            let (sub, filters) = (sub.clone(), filters.clone());
            // Every subscription starts at the earliest event, so everything is owed to it.
            history.record(Record::Sub {
                sub,
                filters,
                from_seq: 0,
            });
        }
        let shared = Arc::new(Shared {
            socket: socket.to_owned(),
            token: token.to_owned(),
            history,
            gate: Gate::default(),
            ledger: Ledger::new(owed),
            is_publishing: AtomicBool::new(true),
            links: AtomicU64::new(0),
        });
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            Builder::new()
                .name(name)
                .spawn(run)
                .expect("the machine has threads left")
        };
        let publishers = (0..plan.publishers)
            .map(|n| {
                let publisher =
                    publisher::Publisher::new(n, plan, random.split(), Arc::clone(&shared));
                spawn(format!("publisher-{n}"), Box::new(move || publisher.run()))
            })
            .collect();
        let mut subscribers = Vec::new();
        for subscription in &plan.subscriptions {
            let former = subscriber::Former::default();
            for n in 0..subscription.members {
                let member = subscriber::Member::new(
                    subscription.clone(),
                    random.split(),
                    Arc::clone(&former),
                    Arc::clone(&shared),
                );
                let name = format!("{}-{n}", subscription.name);
                subscribers.push(spawn(name, Box::new(move || member.run())));
            }
        }
        Self {
            shared,
            publishers,
            subscribers,
        }
    }

    /// Where the broker's lives are announced.
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// What is owed and settled.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Makes no new events; returns when every publish is answered.
    ///
    /// # Panics
    /// When a publisher panicked.
    pub fn finish_publishing(&mut self) {
        self.shared.is_publishing.store(false, Ordering::Release);
        for publisher in self.publishers.drain(..) {
            publisher.join().expect("a publisher does not panic");
        }
    }

    /// Waits up to `limit` until everything owed is settled; returns how much is not.
    pub fn drain(&self, limit: Duration) -> u64 {
        self.shared.ledger.wait_settled(limit)
    }

    /// Ends every thread.
    ///
    /// # Panics
    /// When one of them panicked.
    pub fn end(mut self) {
        self.shared.is_publishing.store(false, Ordering::Release);
        self.shared.gate.finish();
        for thread in self.publishers.drain(..).chain(self.subscribers.drain(..)) {
            thread.join().expect("a driver does not panic");
        }
    }
}
