//! One process of an instance is replaced with another while events come: who serves, who is refused, and that
//! nothing is lost or out of order.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::driver::Broker;
use crate::clock::{Random, SeededRandom};
use crate::core::{ExitSummary, InstanceSetup, InstanceSignal, LinkKind};
use crate::instance::InstanceKey;
use crate::router::LinkId;

pub(super) const TOPIC: &str = "plugin.outbound.mail.a";

pub(super) fn hello(id: &str) -> Value {
    json!({ "manifest": { "plugin": { "id": id, "version": "2.0.0" } }, "protocol": "trunkline/1.0" })
}

/// The setup in force, as it would be read again.
pub(super) fn setup(broker: &Broker, key: &InstanceKey) -> InstanceSetup {
    broker.core.instances[key].setup.clone()
}

/// Starts a process in the other seat, up to standby.
fn successor(broker: &mut Broker, key: &InstanceKey) -> (LinkId, InstanceKey) {
    let seat = broker.core.instances[key].seat.other_seat();
    let setup = setup(broker, key);
    broker.signals.clear();
    broker.core.prepare_switch(setup).unwrap();
    let link = broker.attach(LinkKind::Spawned(seat.clone()));
    broker.reply_to(link, "initialize", &hello(&key.plugin));
    assert_eq!(signals(broker), [(seat.clone(), InstanceSignal::Standby)]);
    (link, seat)
}

pub(super) fn signals(broker: &mut Broker) -> Vec<(InstanceKey, InstanceSignal)> {
    std::mem::take(&mut broker.signals)
}

pub(super) fn deactivate(broker: &mut Broker, seat: &InstanceKey, link: LinkId) {
    broker.core.deactivate(seat, 1_000, "replaced");
    broker.run();
    broker.reply_to(link, "instance.deactivate", &json!({}));
    let back = (seat.clone(), InstanceSignal::Deactivated(None));
    assert_eq!(signals(broker), [back]);
}

pub(super) fn activate(broker: &mut Broker, seat: &InstanceKey, link: LinkId) {
    broker.core.activate(seat);
    broker.run();
    broker.reply_to(link, "instance.activate", &json!({}));
    let ready = json!({ "state": "ready" });
    broker.call(link, "instance.status", &ready).unwrap();
    signals(broker);
}

pub(super) fn publish(broker: &mut Broker, app: LinkId, n: u64) {
    let event = json!({ "id": format!("e{n}"), "session_id": "s", "payload": n });
    broker.publish(app, TOPIC, &event).unwrap();
}

/// What came: its number and its delivery.
pub(super) fn taken(broker: &mut Broker, link: LinkId) -> Vec<(u64, Value)> {
    let events = broker.take(link, "broker.event").into_iter();
    events
        .map(|event| {
            let number = event["event"]["payload"].as_u64().unwrap();
            (number, event["delivery"]["id"].clone())
        })
        .collect()
}

pub(super) fn numbers(taken: &[(u64, Value)]) -> Vec<u64> {
    taken.iter().map(|(number, _)| *number).collect()
}

pub(super) fn ack(broker: &mut Broker, link: LinkId, delivery: &Value) -> Value {
    let params = json!({ "deliveries": [delivery] });
    broker.call(link, "broker.ack", &params).unwrap()
}

/// Proves L10: the old process serves until the new one has shaken hands; then it gives back what it holds, and the
/// new one gets that first, and everything after it.
#[test]
fn a_successor_gets_what_the_old_process_held_and_what_came_meanwhile() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let old = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    let (new, seat) = successor(&mut broker, &key);
    publish(&mut broker, app, 1);
    let held = taken(&mut broker, old);
    assert_eq!(numbers(&held), [1], "the old one still serves");
    assert!(taken(&mut broker, new).is_empty());

    broker.core.deactivate(&key, 1_000, "replaced");
    broker.run();
    publish(&mut broker, app, 2);
    let reply = json!({ "id": "r1", "payload": 1 });
    let inbound = "plugin.inbound.mail.a";
    broker
        .publish(old, inbound, &reply)
        .expect("what runs may finish");
    broker.reply_to(old, "instance.deactivate", &json!({}));
    signals(&mut broker);
    assert!(taken(&mut broker, old).is_empty(), "nothing new reaches it");

    activate(&mut broker, &seat, new);
    let first = taken(&mut broker, new);
    assert_eq!(numbers(&first), [1]);
    let stale = ack(&mut broker, old, &held[0].1);
    assert_eq!(stale["stale"].as_array().unwrap().len(), 1, "{stale}");
    ack(&mut broker, new, &first[0].1);
    let second = taken(&mut broker, new);
    assert_eq!(numbers(&second), [2]);
    ack(&mut broker, new, &second[0].1);
    broker.core.end_switch(&key, true).unwrap();
    broker.run();
    assert!(broker.closed.contains(&old) && !broker.closed.contains(&new));
    publish(&mut broker, app, 3);
    assert_eq!(numbers(&taken(&mut broker, new)), [3]);
}

/// Proves LN19: only one generation counts. Before its activation the new process may do nothing, after it the old one
/// may do nothing.
#[test]
fn the_seat_that_does_not_serve_is_refused_everything() {
    let mut broker = Broker::new();
    let old = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    let before = broker.core.instances[&key].generation;
    let (new, seat) = successor(&mut broker, &key);
    let event = json!({ "id": "x", "payload": 1 });
    let publish = json!({ "topic": "plugin.inbound.mail.a", "event": event });
    let put = json!({ "scope": "instance", "key": "k", "value": 1 });
    assert_eq!(
        broker.refusal(new, "broker.publish", &publish),
        "not_active"
    );
    assert_eq!(broker.refusal(new, "kv.put", &put), "not_active");
    let ready = json!({ "state": "fatal" });
    broker.call(new, "instance.status", &ready).unwrap();
    assert!(signals(&mut broker).is_empty(), "it has nothing to say yet");

    deactivate(&mut broker, &key, old);
    assert_eq!(
        broker.refusal(old, "broker.publish", &publish),
        "not_active"
    );
    activate(&mut broker, &seat, new);
    assert_eq!(broker.core.instances[&key].generation, before + 1);
    assert_eq!(
        broker.refusal(old, "broker.publish", &publish),
        "stale_generation"
    );
    assert_eq!(broker.refusal(old, "kv.put", &put), "stale_generation");
    let tools = json!({ "tools": [{ "name": "t", "input_schema": {} }] });
    assert_eq!(
        broker.refusal(old, "tool.register", &tools),
        "stale_generation"
    );
    broker.call(old, "instance.status", &ready).unwrap();
    assert!(signals(&mut broker).is_empty(), "nor any more");
    broker.call(new, "broker.publish", &publish).unwrap();

    broker.core.shutdown(&key, 100, "replaced");
    broker.run();
    broker.reply_to(old, "shutdown", &json!({ "ok": true }));
    broker.detach(old);
    let told = signals(&mut broker);
    let of_old = |signal| (key.clone(), signal);
    assert_eq!(
        told,
        [
            of_old(InstanceSignal::Drained),
            of_old(InstanceSignal::LinkClosed)
        ]
    );
}

/// Proves L10: a process that fails its handshake is told of under its own seat, and the old one never notices.
#[test]
fn a_refused_successor_does_not_touch_the_old_process() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let old = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    let seat = key.other_seat();
    let in_force = setup(&broker, &key);
    broker.signals.clear();
    broker.core.prepare_switch(in_force.clone()).unwrap();
    let twice = broker.core.prepare_switch(in_force).unwrap_err();
    assert_eq!(twice.code.as_str(), "instance_busy");
    let new = broker.attach(LinkKind::Spawned(seat.clone()));
    broker.reply_to(new, "initialize", &hello("other"));
    let told = signals(&mut broker);
    assert!(
        matches!(&told[..], [(of, InstanceSignal::Refused(_)), (_, InstanceSignal::LinkClosed)] if *of == seat),
        "{told:?}"
    );
    broker.core.exited(&seat, &ExitSummary::default());
    broker.run();
    assert_eq!(
        signals(&mut broker),
        [(seat, InstanceSignal::Blamed(false))]
    );
    broker.core.end_switch(&key, false).unwrap();
    publish(&mut broker, app, 1);
    assert_eq!(numbers(&taken(&mut broker, old)), [1]);
}

/// Proves LN19: what the new version's manifest allows is in force exactly while that version serves.
#[test]
fn a_rollback_takes_the_old_manifest_back_into_force() {
    let mut broker = Broker::new();
    let old = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    let mut wider = setup(&broker, &key);
    wider.version = "2.0.0".into();
    let agent = trunkline_contract::topic::Filter::parse("agent.new").unwrap();
    wider.grants.publish.push(agent);
    broker.core.prepare_switch(wider).unwrap();
    let seat = key.other_seat();
    let new = broker.attach(LinkKind::Spawned(seat.clone()));
    broker.reply_to(new, "initialize", &hello("mail"));
    let publish = json!({ "topic": "agent.new", "event": { "id": "x", "payload": 1 } });
    assert_eq!(
        broker.refusal(old, "broker.publish", &publish),
        "topic_not_granted"
    );
    deactivate_quietly(&mut broker, &key, old);
    activate(&mut broker, &seat, new);
    broker.call(new, "broker.publish", &publish).unwrap();
    // It dies before it is ready: the old one is activated again, before or after the switch has ended.
    broker.detach(new);
    broker.core.exited(&seat, &ExitSummary::default());
    broker.core.end_switch(&key, false).unwrap();
    broker.run();
    activate(&mut broker, &key, old);
    assert_eq!(setup(&broker, &key).version, "1.2.3");
    assert_eq!(
        broker.refusal(old, "broker.publish", &publish),
        "topic_not_granted"
    );
    let inbound = json!({ "topic": "plugin.inbound.mail.a", "event": { "id": "y", "payload": 1 } });
    broker.call(old, "broker.publish", &inbound).unwrap();
}

fn deactivate_quietly(broker: &mut Broker, seat: &InstanceKey, link: LinkId) {
    signals(broker);
    deactivate(broker, seat, link);
}

/// One seat of an instance whose processes are replaced again and again.
struct Rig {
    broker: Broker,
    rng: SeededRandom,
    app: LinkId,
    key: InstanceKey,
    /// Seat and link of the process that serves, if there is one.
    serving: Option<(InstanceKey, LinkId)>,
    held: Vec<(u64, Value)>,
    published: u64,
    /// How often each number was acknowledged, and the last that came for the first time.
    acked: BTreeMap<u64, u32>,
    newest: u64,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let mut broker = Broker::new();
        let app = broker.admin();
        let link = broker.plugin("mail/a");
        let key = InstanceKey::parse("mail/a");
        Self {
            broker,
            rng: SeededRandom(seed),
            app,
            serving: Some((key.clone(), link)),
            key,
            held: Vec::new(),
            published: 0,
            acked: BTreeMap::new(),
            newest: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.bits() % n
    }

    /// Publishes, takes and acknowledges a little.
    fn live(&mut self) {
        for _ in 0..self.below(4) {
            self.published += 1;
            publish(&mut self.broker, self.app, self.published);
        }
        let Some((_, link)) = self.serving.clone() else {
            return;
        };
        for (number, delivery) in taken(&mut self.broker, link) {
            assert!(number <= self.newest + 1, "{number} after {}", self.newest);
            self.newest = self.newest.max(number);
            self.held.push((number, delivery));
        }
        while !self.held.is_empty() && self.below(3) > 0 {
            let (number, delivery) = self.held.remove(0);
            let answer = ack(&mut self.broker, link, &delivery);
            if answer["stale"].as_array().unwrap().is_empty() {
                *self.acked.entry(number).or_default() += 1;
            }
            for (number, delivery) in taken(&mut self.broker, link) {
                self.newest = self.newest.max(number);
                self.held.push((number, delivery));
            }
        }
    }

    fn kill(&mut self, seat: &InstanceKey, link: LinkId) {
        self.broker.detach(link);
        let summary = ExitSummary {
            clean: true,
            ..ExitSummary::default()
        };
        self.broker.core.exited(seat, &summary);
        self.broker.run();
    }

    fn kill_serving(&mut self) {
        if let Some((seat, link)) = self.serving.take() {
            self.kill(&seat, link);
            self.held.clear();
        }
    }

    fn restart(&mut self, seat: &InstanceKey) -> LinkId {
        let link = self.broker.attach(LinkKind::Spawned(seat.clone()));
        self.broker.reply_to(link, "initialize", &hello("mail"));
        link
    }

    fn activate(&mut self, seat: &InstanceKey, link: LinkId) {
        activate(&mut self.broker, seat, link);
        self.serving = Some((seat.clone(), link));
    }

    /// One replacement, with one of the two killed at any step, or neither.
    fn replace(&mut self) {
        let fate = self.below(8);
        let old = self.broker.core.instances[&self.key].seat.clone();
        signals(&mut self.broker);
        let (new_link, new) = successor(&mut self.broker, &self.key.clone());
        self.live();
        if fate == 0 {
            self.kill(&new, new_link);
            self.broker.core.end_switch(&self.key, false).unwrap();
            return self.live();
        }
        if fate == 1 {
            self.kill_serving();
            self.live();
        }
        let mut old_link = self.serving.as_ref().map(|(_, link)| *link);
        if let Some(link) = old_link {
            self.broker.core.deactivate(&old, 1_000, "replaced");
            self.broker.run();
            self.live();
            if fate == 2 {
                self.kill_serving();
                old_link = None;
            } else {
                let nothing = json!({});
                self.broker.reply_to(link, "instance.deactivate", &nothing);
                self.held.clear();
                self.serving = None;
            }
        }
        if fate == 3 {
            self.kill(&new, new_link);
            self.broker.core.end_switch(&self.key, false).unwrap();
            let link = old_link.unwrap_or_else(|| self.restart(&old));
            return self.activate(&old, link);
        }
        self.activate(&new, new_link);
        self.live();
        if fate == 4 {
            // Killed at work, before anybody trusts it.
            self.kill_serving();
            let link = old_link.unwrap_or_else(|| self.restart(&old));
            if self.below(2) == 0 {
                self.broker.core.end_switch(&self.key, false).unwrap();
                self.activate(&old, link);
            } else {
                self.activate(&old, link);
                self.broker.core.end_switch(&self.key, false).unwrap();
            }
            return self.live();
        }
        if fate == 5
            && let Some(link) = old_link
        {
            self.kill(&old, link);
        }
        self.broker.core.end_switch(&self.key, true).unwrap();
        self.broker.run();
        self.live();
    }
}

/// Proves L10: whichever of the two is killed at whatever step, every event is delivered, in the order of its session,
/// and is settled once.
#[test]
fn whoever_is_killed_at_whatever_step_every_event_comes_in_order_and_is_settled_once() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed);
        for _ in 0..6 {
            rig.live();
            rig.replace();
        }
        if rig.serving.is_none() {
            let seat = rig.broker.core.instances[&rig.key].seat.clone();
            let link = rig.restart(&seat);
            rig.activate(&seat, link);
        }
        for _ in 0..20 {
            rig.live();
        }
        while let Some((_, link)) = rig.serving.clone() {
            let mut rest = std::mem::take(&mut rig.held);
            rest.extend(taken(&mut rig.broker, link));
            if rest.is_empty() {
                break;
            }
            for (number, delivery) in rest {
                ack(&mut rig.broker, link, &delivery);
                *rig.acked.entry(number).or_default() += 1;
            }
        }
        let all: Vec<u64> = (1..=rig.published).collect();
        let acked: Vec<u64> = rig.acked.keys().copied().collect();
        assert_eq!(acked, all, "seed {seed}");
        assert!(rig.acked.values().all(|count| *count == 1), "seed {seed}");
    }
}
