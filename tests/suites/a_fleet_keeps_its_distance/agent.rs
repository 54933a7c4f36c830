//! The agent: it answers whatever comes in by any account, and acks it when its answer is stored.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_tests::daemon::Setup;
use trunkline_tests::history::{Dlv, Record, hash};
use trunkline_tests::wire::{Delivery, Incoming, Peer, Subscribe};

use crate::network::Network;

const SUB: &str = "client.agent.in";
/// Number of its link, of which the network's connections have none.
const LINK: u64 = 1 << 32;
const CREDIT: u64 = 1_024;
const LOOK: Duration = Duration::from_millis(20);

/// What waits for the broker's answer.
enum Asked {
    Publish { id: String, delivery: Option<Asker> },
    Ack,
}

/// What a publish answers.
struct Asker {
    delivery: String,
    id: String,
}

pub(crate) struct Agent {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    peer: Peer,
    network: Arc<Network>,
    asked: HashMap<u64, Asked>,
}

impl Agent {
    pub(crate) fn start(setup: &Setup, network: &Arc<Network>) -> Self {
        let mut peer = setup.connect("agent").unwrap();
        let subscribe = Subscribe {
            name: "in".into(),
            filters: vec!["plugin.inbound.fleet.>".into()],
            group: None,
            credit: CREDIT,
            retry: None,
        };
        let subscribed = peer.subscribe(&subscribe).unwrap();
        assert_eq!(subscribed.subscription, SUB);
        network.inward.record(Record::Sub {
            sub: SUB.into(),
            filters: subscribe.filters,
            from_seq: 0,
        });
        network.inward.record(Record::Attach {
            sub: SUB.into(),
            link: LINK,
            life: 1,
            pid: std::process::id(),
            credit: CREDIT,
        });
        let is_over = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            peer,
            network: network.clone(),
            asked: HashMap::new(),
        };
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) || !work.asked.is_empty() {
                work.step();
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }

    /// Lets it finish what it does.
    pub(crate) fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Work {
    fn step(&mut self) {
        match self.peer.next(LOOK).unwrap() {
            Some(Incoming::Delivery(delivery)) => self.answer(&delivery),
            Some(Incoming::Reply { id, result }) => match self.asked.remove(&id) {
                Some(Asked::Publish { id, delivery }) => {
                    published(&self.network, &id, &result.unwrap());
                    if let Some(asker) = delivery {
                        self.network.inward.record(Record::AckSent {
                            sub: SUB.into(),
                            delivery: asker.delivery.clone(),
                            id: asker.id,
                        });
                        let number = self.peer.ack(&asker.delivery).unwrap();
                        self.asked.insert(number, Asked::Ack);
                    }
                }
                Some(Asked::Ack) | None => drop(result.unwrap()),
            },
            _ => {}
        }
    }

    fn answer(&mut self, delivery: &Delivery) {
        let handing = delivery.handing.as_ref().unwrap();
        let name = delivery.topic.rsplit('.').next().unwrap().to_owned();
        let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
        let text = payload["text"].as_str().unwrap().to_owned();
        self.network.inward.record(Record::Dlv(Dlv {
            sub: SUB.into(),
            link: LINK,
            id: delivery.event_id.clone(),
            session: Some(name.clone()),
            hash: hash(text.as_bytes()),
            delivery: handing.id.clone(),
            attempt: handing.attempt,
            redelivered: handing.redelivered,
            replay_of: None,
            seq: None,
            lease_ms: handing.lease_ms,
        }));
        let id = format!("re:{}", delivery.event_id);
        let number = publish(&mut self.peer, &self.network, &name, &id, false);
        let asker = Asker {
            delivery: handing.id.clone(),
            id: delivery.event_id.clone(),
        };
        let delivery = Some(asker);
        self.asked.insert(number, Asked::Publish { id, delivery });
    }
}

/// Queues what an account is to say, and gives the request's number.
pub(crate) fn publish(peer: &mut Peer, network: &Network, name: &str, id: &str, hold: bool) -> u64 {
    let topic = format!("plugin.outbound.fleet.{name}");
    network.outward.record(Record::PubInvoke {
        id: id.to_owned(),
        source: "agent".into(),
        topic: topic.clone(),
        session: Some(name.to_owned()),
        hash: hash(id.as_bytes()),
    });
    let payload = json!({ "text": id, "hold": hold }).to_string();
    peer.publish(&topic, id, Some(name), &payload).unwrap()
}

/// Notes what a publish was answered with.
pub(crate) fn published(network: &Network, id: &str, answer: &Value) {
    network.outward.record(Record::PubOk {
        id: id.to_owned(),
        source: "agent".into(),
        seq: answer["seq"].as_u64().unwrap(),
        duplicate: answer["duplicate"] == true,
    });
}

/// Where the histories of a run are.
pub(crate) fn histories(home: &Path) -> [std::path::PathBuf; 2] {
    ["inward.jsonl", "outward.jsonl"].map(|name| home.join(name))
}
