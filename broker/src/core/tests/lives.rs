//! Whole lives of the core, through frames: clients that publish, repeat themselves, subscribe, settle and
//! vanish, a broker that is killed before, while and after it writes. Each from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde_json::{Value, json};

use super::driver::Broker;
use crate::clock::{Random, SeededRandom};
use crate::router::LinkId;
use crate::store::Store;

const TOPICS: [&str; 3] = ["agent.a", "agent.b", "agent.deep.c"];
/// (client, filter) of each subscriber.
const READERS: [(&str, &str); 2] = [("all", "agent.>"), ("some", "agent.a")];
const CREDIT: usize = 4;

/// One publish and what is known of it.
#[derive(Debug, Clone)]
struct Published {
    topic: &'static str,
    session: Option<String>,
    payload: u64,
    seq: Option<u64>,
    /// Answered: it survived.
    acked: bool,
}

#[derive(Debug, Default)]
struct Read {
    link: Option<LinkId>,
    /// Deliveries that are held: (delivery, event id).
    held: Vec<(String, String)>,
    /// Event id → how often it came.
    seen: BTreeMap<String, u32>,
    rejected: BTreeSet<String>,
    last_first: BTreeMap<String, u64>,
}

struct Life {
    broker: Broker,
    rng: SeededRandom,
    writer: Option<LinkId>,
    published: BTreeMap<String, Published>,
    /// Requests without an answer: request id → event id.
    open: Vec<(u64, String)>,
    readers: Vec<Read>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            broker: Broker::new(),
            rng: SeededRandom(seed),
            writer: None,
            published: BTreeMap::new(),
            open: Vec::new(),
            readers: READERS.iter().map(|_| Read::default()).collect(),
        };
        for reader in 0..READERS.len() {
            life.connect(reader);
        }
        life
    }

    fn below(&mut self, n: usize) -> usize {
        (self.rng.bits() % n.max(1) as u64) as usize
    }

    fn writer(&mut self) -> LinkId {
        if let Some(link) = self.writer {
            return link;
        }
        let link = self.broker.client("writer", &["publish:agent.>"]);
        self.writer = Some(link);
        link
    }

    fn connect(&mut self, index: usize) {
        if self.readers[index].link.is_some() {
            return;
        }
        let (name, filter) = READERS[index];
        let link = self
            .broker
            .client(name, &["read:agent.>", "publish:agent.>"]);
        let ask = json!({
            "name": "s", "filters": [filter], "start": "new",
            "credit": { "events": CREDIT, "bytes": 1 << 20 },
            "retry": { "failures_max": 100, "backoff_ms": [20], "lease_ms": 5_000 },
        });
        self.broker.request(link, "broker.subscribe", &ask);
        self.readers[index].link = Some(link);
        self.readers[index].held.clear();
    }

    fn send(&mut self, id: &str) {
        let link = self.writer();
        let published = &self.published[id];
        let event = json!({
            "id": id, "session_id": published.session, "payload": published.payload,
        });
        let ask = json!({ "topic": published.topic, "event": event });
        let request = self.broker.request(link, "broker.publish", &ask);
        self.open.push((request, id.to_owned()));
    }

    fn publish(&mut self) {
        let id = format!("id{}", self.published.len());
        let session = self.below(4);
        let published = Published {
            topic: TOPICS[self.below(3)],
            session: (session > 0).then(|| session.to_string()),
            payload: self.rng.bits() >> 16,
            seq: None,
            acked: false,
        };
        self.published.insert(id.clone(), published);
        self.send(&id);
    }

    /// Says an old id again, with the same body or (once it survived) with another.
    fn repeat(&mut self) {
        let ids: Vec<String> = self.published.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.below(ids.len())].clone();
        if self.below(3) > 0 || !self.published[&id].acked || self.broker.hold_batches {
            return self.send(&id);
        }
        let link = self.writer();
        let topic = self.published[&id].topic;
        let ask = json!({ "topic": topic, "event": { "id": id, "payload": "another" } });
        assert_eq!(
            self.broker.refusal(link, "broker.publish", &ask),
            "id_conflict"
        );
    }

    fn look(&mut self) {
        if let Some(link) = self.writer {
            let mut still = Vec::new();
            for (request, id) in std::mem::take(&mut self.open) {
                let Some(answer) = self.broker.answer(link, request) else {
                    still.push((request, id));
                    continue;
                };
                let answer = answer.unwrap_or_else(|error| panic!("{id} was refused: {error}"));
                let seq = answer["seq"].as_u64().unwrap();
                let published = self.published.get_mut(&id).unwrap();
                assert_eq!(*published.seq.get_or_insert(seq), seq, "one id, one number");
                published.acked = true;
            }
            self.open = still;
        }
        for index in 0..self.readers.len() {
            self.look_at(index);
        }
    }

    fn look_at(&mut self, index: usize) {
        let Some(link) = self.readers[index].link else {
            return;
        };
        for params in self.broker.take(link, "broker.event") {
            let delivery = params["delivery"]["id"].as_str().unwrap().to_owned();
            let id = params["event"]["id"].as_str().unwrap().to_owned();
            let published = &self.published[&id];
            assert_eq!(
                params["event"]["payload"], published.payload,
                "as it was published"
            );
            assert_eq!(params["topic"], published.topic);
            let reader = &mut self.readers[index];
            let times = reader.seen.entry(id.clone()).or_default();
            *times += 1;
            if *times > 1 {
                assert_eq!(params["delivery"]["redelivered"], true, "{id} came again");
                assert!(
                    params["delivery"]["attempt"].as_u64().unwrap() > 1,
                    "{id} came again"
                );
            } else if let (Some(session), Some(seq)) = (&published.session, published.seq) {
                let last = reader.last_first.entry(session.clone()).or_default();
                assert!(*last < seq, "first deliveries of session {session} ascend");
                *last = seq;
            }
            assert!(!reader.rejected.contains(&id), "{id} was given up");
            if let Some(session) = &published.session {
                let busy = reader
                    .held
                    .iter()
                    .any(|(_, other)| self.published[other].session.as_ref() == Some(session));
                assert!(!busy, "one of session {session} at a time");
            }
            reader.held.push((delivery, id));
            assert!(reader.held.len() <= CREDIT, "credit holds");
        }
    }

    fn settle(&mut self) {
        let index = self.below(self.readers.len());
        let Some(link) = self.readers[index].link else {
            return;
        };
        if self.readers[index].held.is_empty() {
            return;
        }
        let which = self.below(self.readers[index].held.len());
        let (delivery, _) = self.readers[index].held.remove(which);
        let one = json!({ "deliveries": [delivery] });
        match self.below(6) {
            0 => {
                let nak = json!({ "deliveries": [delivery], "delay_ms": 5, "reason": "later" });
                let answer = self.broker.call(link, "broker.nak", &nak).unwrap();
                assert_eq!(answer["stale"], json!([]));
            }
            1 => {
                // All or nothing, with the answer it derives.
                let ask = json!({ "ack": [delivery], "events": [] });
                self.broker.request(link, "broker.commit", &ask);
            }
            2 if !self.broker.hold_batches => {
                let made_up = json!({ "ack": [delivery, "1-1-1"] });
                assert_eq!(
                    self.broker.refusal(link, "broker.commit", &made_up),
                    "stale_lease"
                );
                let answer = self.broker.call(link, "broker.ack", &one).unwrap();
                assert_eq!(
                    answer["stale"],
                    json!([]),
                    "the refused commit settled nothing"
                );
            }
            _ => {
                let answer = self.broker.call(link, "broker.ack", &one).unwrap();
                assert_eq!(answer["stale"], json!([]));
            }
        }
    }

    fn restart(&mut self) {
        if self.below(2) == 0
            && let Some((_, batch)) = self.broker.held_batch.take()
        {
            // It reached the disk, and nobody was told.
            self.broker.store.commit(batch).unwrap();
        }
        self.broker.hold_batches = false;
        self.broker.restart();
        self.writer = None;
        for reader in &mut self.readers {
            reader.link = None;
            reader.held.clear();
        }
        self.forget();
    }

    /// What was not answered is unknown: it is said again, under the same id.
    fn forget(&mut self) {
        for (_, id) in std::mem::take(&mut self.open) {
            if self.below(2) == 0 {
                self.send(&id);
            }
        }
    }

    fn step(&mut self) {
        match self.below(100) {
            0..=34 => self.publish(),
            35..=44 => self.repeat(),
            45..=74 => self.settle(),
            75..=80 => {
                let ms = [1, 10, 30][self.below(3)];
                if !self.broker.hold_batches {
                    self.broker.advance(ms);
                }
            }
            81..=86 => self.broker.hold_batches = true,
            87..=92 => self.broker.release_batch(),
            93 | 94 => {
                let index = self.below(self.readers.len());
                if let Some(link) = self.readers[index].link.take() {
                    self.broker.detach(link);
                    self.readers[index].held.clear();
                }
            }
            95 => {
                if let Some(link) = self.writer.take() {
                    self.broker.detach(link);
                    self.forget();
                }
            }
            96 => self.restart(),
            _ => {
                self.broker.release_batch();
                for index in 0..self.readers.len() {
                    self.connect(index);
                }
            }
        }
        self.look();
    }

    fn drain(&mut self) {
        self.broker.release_batch();
        self.look();
        for index in 0..self.readers.len() {
            self.connect(index);
        }
        for _ in 0..2_000 {
            self.look();
            let mut idle = true;
            for index in 0..self.readers.len() {
                let link = self.readers[index].link.unwrap();
                let held = std::mem::take(&mut self.readers[index].held);
                idle &= held.is_empty();
                let ids: Vec<&String> = held.iter().map(|(delivery, _)| delivery).collect();
                self.broker
                    .notify(link, "broker.ack", &json!({ "deliveries": ids }));
            }
            self.broker.advance(25);
            self.look();
            idle &= self.readers.iter().all(|reader| reader.held.is_empty());
            if idle && self.broker.core.is_quiet() {
                break;
            }
        }
        self.look();
        for (id, published) in self.published.iter().filter(|(_, p)| p.acked) {
            assert!(
                self.readers[0].seen.contains_key(id),
                "{id} reached nobody: {published:?}"
            );
            let some = self.readers[1].seen.contains_key(id);
            assert_eq!(some, published.topic == "agent.a", "{id}: {published:?}");
        }
    }
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..60 + (seed % 3) * 60 {
        life.step();
    }
    life.drain();
}

/// Proves the sentence "when publish returns an ack, the event survives": through frames, with repeats
/// under the same id, links that vanish and a broker that is killed at any point of a batch.
#[test]
fn lives_of_the_core_lose_nothing_that_was_acked() {
    let seeds = std::env::var("TRUNKLINE_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let first: u64 = std::env::var("TRUNKLINE_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    for seed in first..first + seeds.unwrap_or(150u64) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
            eprintln!("seed {seed} failed");
            resume_unwind(panic);
        }
    }
}

#[test]
fn a_frame_that_waits_for_its_route_keeps_its_place() {
    let mut broker = Broker::new();
    broker.configure("chat/one");
    broker.configure("chat/two");
    let link = broker.client("app", &["publish:>", "read:>"]);
    broker.hold_reads = true;
    let bare =
        json!({ "topic": "plugin.outbound.chat", "event": { "session_id": "7", "payload": {} } });
    let first = broker.request(link, "broker.publish", &bare);
    let plain = json!({ "topic": "agent.a", "event": { "payload": 1 } });
    let second = broker.request(link, "broker.publish", &plain);
    assert!(broker.answer(link, first).is_none());
    assert!(
        broker.answer(link, second).is_none(),
        "nothing overtakes it"
    );
    broker.release_reads();
    let refused = broker.answer(link, first).unwrap().unwrap_err();
    assert_eq!(refused["data"]["code"], "unrouted");
    assert!(broker.answer(link, second).unwrap().is_ok());
}

/// A refused publish that nobody waits for is told on the lifecycle topic.
#[test]
fn a_refused_notification_is_reported() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let ask = json!({ "name": "watch", "filters": ["plugin.lifecycle.>"] });
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let plugin = broker.plugin("chat/one");
    let event = json!({ "topic": "agent.secret", "event": { "payload": 1 } });
    broker.notify(plugin, "broker.publish", &event);
    broker.advance(60_000);
    let told = broker.take(admin, "broker.event");
    let told: Vec<String> = told.iter().map(Value::to_string).collect();
    assert!(
        told.iter().any(|text| text.contains("topic_not_granted")),
        "{told:?}"
    );
}

/// A route is what an inbound event left behind; one that was never stored leaves none.
#[test]
fn a_refused_inbound_event_leaves_no_route() {
    let mut broker = Broker::new();
    let one = broker.plugin("chat/one");
    broker.configure("chat/two");
    let kinds = &mut broker.core.kinds;
    let both: Vec<_> = kinds.values().flatten().cloned().collect();
    let kind = kinds.keys().next().unwrap().clone();
    kinds.insert(kind.clone(), both);
    let inbound = format!("plugin.inbound.{kind}.one");
    let event = json!({ "topic": inbound, "event": { "session_id": "7", "payload": {} } });
    let ask = json!({ "events": [event], "ack": ["1-1-1"] });
    assert_eq!(broker.refusal(one, "broker.commit", &ask), "stale_lease");
    let app = broker.client("app", &["publish:>"]);
    let bare = json!({
        "topic": format!("plugin.outbound.{kind}"),
        "event": { "session_id": "7", "payload": {} },
    });
    assert_eq!(broker.refusal(app, "broker.publish", &bare), "unrouted");
    broker.call(one, "broker.publish", &event).unwrap();
    let answer = broker.call(app, "broker.publish", &bare).unwrap();
    assert_eq!(answer["matched"], 1);
}
