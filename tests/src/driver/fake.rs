//! A broker in a few lines that keeps the promises, and breaks one on demand: drivers and checker are shown to
//! agree with an honest broker and to catch a dishonest one before they are let loose on the real one.
//!
//! Everything is in memory; a crash ends every link and every lease, and keeps what was acked.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::checker::matches;

/// A promise to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plant {
    None,
    NoDedupe,
    SessionLockOff,
    RedeliveredFlagOff,
    EpochCheckOff,
    /// A crash forgets the last events although they were acked.
    ForgetsAcked,
}

struct Stored {
    id: String,
    topic: String,
    session: Option<String>,
    payload: String,
}

#[derive(Default)]
struct Sub {
    filters: Vec<String>,
    /// Link and credit.
    members: Vec<(u64, usize)>,
    open: BTreeSet<usize>,
    looked: usize,
    /// Delivery to event and link.
    leased: HashMap<String, (usize, u64)>,
    attempts: HashMap<usize, u64>,
}

struct State {
    plant: Plant,
    log: Vec<Stored>,
    by_id: HashMap<String, usize>,
    subs: HashMap<String, Sub>,
    links: HashMap<u64, UnixStream>,
    last: u64,
}

/// The broker.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// Listens at `socket` for ever.
    pub(super) fn listen(socket: &Path, plant: Plant) -> Self {
        let (log, by_id) = (Vec::new(), HashMap::new());
        let (subs, links) = (HashMap::new(), HashMap::new());
        let state = State {
            plant,
            log,
            by_id,
            subs,
            links,
            last: 0,
        };
        let fake = Self(Arc::new(Mutex::new(state)));
        let listener = UnixListener::bind(socket).unwrap();
        let accepting = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = accepting.clone();
                let stream = stream.unwrap();
                thread::spawn(move || serving.serve(stream));
            }
        });
        fake
    }

    /// Ends every link and every lease.
    pub(super) fn crash(&self) {
        let mut state = self.lock();
        for (_, link) in state.links.drain() {
            link.shutdown(Shutdown::Both).ok();
        }
        if state.plant == Plant::ForgetsAcked {
            let kept = state.log.len().saturating_sub(3);
            state.log.truncate(kept);
            state.by_id.retain(|_, seq| *seq < kept);
        }
        let length = state.log.len();
        for sub in state.subs.values_mut() {
            sub.members.clear();
            sub.leased.clear();
            sub.open.retain(|seq| *seq < length);
            sub.looked = sub.looked.min(length);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn serve(&self, stream: UnixStream) {
        let link = {
            let mut state = self.lock();
            state.last += 1;
            let link = state.last;
            state.links.insert(link, stream.try_clone().unwrap());
            link
        };
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            let mut state = self.lock();
            // A link that a crash has ended is heard no more.
            if !state.links.contains_key(&link) {
                break;
            }
            state.frame(link, &line);
            state.deliver();
        }
        let mut state = self.lock();
        state.links.remove(&link);
        for sub in state.subs.values_mut() {
            sub.members.retain(|(member, _)| *member != link);
            sub.leased.retain(|_, (_, member)| *member != link);
        }
        state.deliver();
    }
}

impl State {
    fn frame(&mut self, link: u64, line: &str) {
        let frame: Value = serde_json::from_str(line).unwrap();
        let params = &frame["params"];
        let result = match frame["method"].as_str().unwrap() {
            "connect" => json!({"source": "client:harness"}),
            "broker.publish" => self.publish(line, params),
            "broker.subscribe" => self.subscribe(link, params),
            "broker.ack" | "broker.reject" => self.settle(params, true),
            "broker.nak" => self.settle(params, false),
            other => panic!("the fake knows no {other}"),
        };
        if frame["id"].is_u64() {
            self.send(
                link,
                &json!({"jsonrpc": "2.0", "id": frame["id"], "result": result}).to_string(),
            );
        }
    }

    fn publish(&mut self, line: &str, params: &Value) -> Value {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let id = text(&params["event"]["id"]).unwrap();
        if self.plant != Plant::NoDedupe
            && let Some(seq) = self.by_id.get(&id)
        {
            return json!({"seq": seq + 1, "duplicate": true});
        }
        let seq = self.log.len();
        self.by_id.insert(id.clone(), seq);
        self.log.push(Stored {
            id,
            topic: text(&params["topic"]).unwrap(),
            session: text(&params["event"]["session_id"]),
            payload: payload(line),
        });
        json!({"seq": seq + 1, "duplicate": false})
    }

    fn subscribe(&mut self, link: u64, params: &Value) -> Value {
        let name = format!("client.harness.{}", params["name"].as_str().unwrap());
        let created = !self.subs.contains_key(&name);
        let sub = self.subs.entry(name.clone()).or_default();
        sub.filters = serde_json::from_value(params["filters"].clone()).unwrap();
        sub.members
            .push((link, params["credit"]["events"].as_u64().unwrap() as usize));
        json!({"subscription": name, "cursor": 0, "head": self.log.len(), "created": created})
    }

    fn settle(&mut self, params: &Value, is_final: bool) -> Value {
        let mut stale = Vec::new();
        for delivery in params["deliveries"].as_array().unwrap() {
            let delivery = delivery.as_str().unwrap();
            let found = self.subs.values_mut().find_map(|sub| {
                let (seq, _) = sub.leased.remove(delivery)?;
                Some((sub, seq))
            });
            match found {
                Some((sub, seq)) => drop(is_final && sub.open.remove(&seq)),
                None if self.plant == Plant::EpochCheckOff => self.settle_anyway(delivery),
                None => stale.push(delivery.to_owned()),
            }
        }
        json!({"stale": stale})
    }

    /// Takes an old delivery for the present one.
    fn settle_anyway(&mut self, delivery: &str) {
        let seq: usize = delivery.split('-').next().unwrap().parse().unwrap();
        for sub in self
            .subs
            .values_mut()
            .filter(|sub| delivery.ends_with(&sub.filters[0]))
        {
            sub.leased.retain(|_, (leased, _)| *leased != seq);
            sub.open.remove(&seq);
        }
    }

    fn deliver(&mut self) {
        let mut frames = Vec::new();
        let plant = self.plant;
        for (name, sub) in &mut self.subs {
            for seq in sub.looked..self.log.len() {
                if sub
                    .filters
                    .iter()
                    .any(|filter| matches(filter, &self.log[seq].topic))
                {
                    sub.open.insert(seq);
                }
            }
            sub.looked = self.log.len();
            let leased: HashSet<usize> = sub.leased.values().map(|(seq, _)| *seq).collect();
            let mut busy: HashSet<&str> = HashSet::new();
            for seq in sub.open.iter().copied() {
                let event = &self.log[seq];
                let is_free = event
                    .session
                    .as_deref()
                    .is_none_or(|session| busy.insert(session));
                if leased.contains(&seq) || !is_free && plant != Plant::SessionLockOff {
                    continue;
                }
                let load = |link: u64| sub.leased.values().filter(|(_, l)| *l == link).count();
                let free = sub
                    .members
                    .iter()
                    .find(|(link, credit)| load(*link) < *credit);
                let Some((link, _)) = free.copied() else {
                    break;
                };
                let attempt = sub.attempts.entry(seq).or_default();
                *attempt += 1;
                self.last += 1;
                let delivery = format!("{seq}-{}-{}", self.last, sub.filters[0]);
                let redelivered = *attempt > 1 && plant != Plant::RedeliveredFlagOff;
                frames.push((link, frame(event, &delivery, *attempt, redelivered, name)));
                sub.leased.insert(delivery, (seq, link));
            }
        }
        for (link, frame) in frames {
            self.send(link, &frame);
        }
    }

    fn send(&self, link: u64, frame: &str) {
        if let Some(mut stream) = self.links.get(&link) {
            // A link that has ended is noticed by its reader.
            stream.write_all(format!("{frame}\n").as_bytes()).ok();
        }
    }
}

/// The payload's bytes as they stand in the frame.
fn payload(line: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Frame<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        event: Event<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let frame: Frame<'_> = serde_json::from_str(line).unwrap();
    frame.params.event.payload.get().to_owned()
}

fn frame(event: &Stored, delivery: &str, attempt: u64, redelivered: bool, sub: &str) -> String {
    let Stored {
        id,
        topic,
        session,
        payload,
    } = event;
    let handing = json!({
        "id": delivery, "attempt": attempt, "redelivered": redelivered, "lease_ms": 30_000, "subscription": sub,
    });
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"broker.event\",\"params\":{{\"topic\":{topic},\"event\":{{\
         \"id\":{id},\"session_id\":{session},\"payload\":{payload}}},\"delivery\":{handing}}}}}",
        topic = json!(topic),
        id = json!(id),
        session = json!(session),
    )
}
