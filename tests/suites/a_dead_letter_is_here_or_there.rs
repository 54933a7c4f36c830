//! Promise: "The end of a delivery and its dead letter are one transaction" (SPEC.md 12.1), and so are a replay and
//! the end of the dead letter; what is replayed is delivered at once; what is too large is refused when it is
//! published, and never becomes anybody's dead letter.
//!
//! The short form runs in every check; `cargo fault-long` runs the long one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_contract::limits::{EVENT_BYTES_MARGIN, FRAME_BYTES_MAX};
use trunkline_tests::daemon::Setup;
use trunkline_tests::http;
use trunkline_tests::random::Random;
use trunkline_tests::scenario::is_long;
use trunkline_tests::wire::{Delivery, Incoming, Peer, Subscribe, WireError};

const PATIENCE: Duration = Duration::from_secs(30);
/// Much longer than the whole test: whoever waits for it is seen to wait.
const BACKOFF_MS: u64 = 600_000;
const TOPIC: &str = "agent.job";
const EVENTS: u64 = 40;

fn setup(home: &Path) -> Setup {
    Setup::new(home, &home.join("data"), "")
}

/// A worker of the subscription that all of this is about.
fn worker(setup: &Setup) -> Peer {
    let mut peer = setup.connect("worker").unwrap();
    let subscribe = Subscribe {
        name: "jobs".into(),
        filters: vec![TOPIC.into()],
        group: None,
        credit: 4 * EVENTS,
        retry: Some(json!({"backoff_ms": [BACKOFF_MS]})),
    };
    peer.subscribe(&subscribe).unwrap();
    peer
}

fn publish(setup: &Setup, id: &str) {
    let mut peer = setup.connect("app").unwrap();
    let event = json!({"topic": TOPIC, "event": {"id": id, "payload": id}});
    peer.call("broker.publish", &event, PATIENCE).unwrap();
}

fn delivery(peer: &mut Peer) -> Delivery {
    loop {
        match peer.next(PATIENCE).unwrap().expect("a delivery comes") {
            Incoming::Delivery(delivery) => return delivery,
            Incoming::Reply { .. } | Incoming::Other { .. } => {}
        }
    }
}

fn handed(delivery: &Delivery) -> String {
    delivery.handing.as_ref().unwrap().id.clone()
}

/// The job that a delivery is about, whether it is the first event or a replay of it.
fn job(delivery: &Delivery) -> String {
    serde_json::from_str(&delivery.payload).unwrap()
}

/// Everything that is delivered up to an event of its own, which is settled.
fn delivered(setup: &Setup, peer: &mut Peer, mark: &str) -> Vec<Delivery> {
    publish(setup, mark);
    let mut found = Vec::new();
    loop {
        let one = delivery(peer);
        if job(&one) == mark {
            let ack = json!({"deliveries": [handed(&one)]});
            peer.call("broker.ack", &ack, PATIENCE).unwrap();
            return found;
        }
        found.push(one);
    }
}

/// The dead letters, by job.
fn dead(setup: &Setup) -> BTreeMap<String, String> {
    let mut peer = setup.connect("operator").unwrap();
    let mut found = BTreeMap::new();
    let mut params = json!({"limit": 1000});
    loop {
        let page = peer.call("admin.dlq.list", &params, PATIENCE).unwrap();
        for letter in page["letters"].as_array().unwrap() {
            let id = letter["id"].as_str().unwrap();
            let shown = peer.call("admin.dlq.show", &json!({"id": id}), PATIENCE);
            let job = shown.unwrap()["event"]["payload"].clone();
            let before = found.insert(job.as_str().unwrap().to_owned(), id.to_owned());
            assert_eq!(before, None, "one job is two dead letters");
        }
        match page["next"].as_str() {
            Some(next) => params["after"] = next.into(),
            None => return found,
        }
    }
}

/// Asks for each, and reads so many of the answers. Gives the places of those that were answered.
fn ask_and_leave(peer: &mut Peer, method: &str, all: &[Value], answers: u64) -> BTreeSet<usize> {
    let numbers: Vec<u64> = all
        .iter()
        .map(|params| peer.request(method, params).unwrap())
        .collect();
    peer.flush().unwrap();
    let mut answered = BTreeSet::new();
    while (answered.len() as u64) < answers {
        if let Some(Incoming::Reply { id, result }) = peer.next(PATIENCE).unwrap() {
            result.unwrap();
            answered.insert(numbers.iter().position(|number| *number == id).unwrap());
        }
    }
    answered
}

/// Each job is a dead letter or is delivered: never both, never neither, never twice.
fn check_each_is_once(
    jobs: &BTreeSet<String>,
    dead: &BTreeMap<String, String>,
    delivered: &[Delivery],
    at: &str,
) {
    let mut seen: BTreeSet<String> = dead.keys().cloned().collect();
    for one in delivered {
        assert!(seen.insert(job(one)), "{at}: {} is both or twice", job(one));
    }
    assert_eq!(&seen, jobs, "{at}: some are neither");
}

/// Proves Q5: the daemon is killed amid rejects and amid replays, again and again; each event is then a dead letter
/// or is delivered, never both and never neither, and a replay that was answered has happened.
#[test]
fn a_dead_letter_is_moved_whole_however_often_the_daemon_is_killed() {
    let (seed, mut random) = Random::from_environment("kill -9 amid rejects and replays");
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path());
    let mut daemon = setup.start().unwrap();
    for round in 0..(if is_long() { 60 } else { 4 }) {
        let at = format!("seed {seed}, round {round}");
        let jobs: BTreeSet<String> = (0..EVENTS).map(|n| format!("{round}-{n}")).collect();
        let mut peer = worker(&setup);
        for id in &jobs {
            publish(&setup, id);
        }
        let first: Vec<Delivery> = (0..EVENTS).map(|_| delivery(&mut peer)).collect();

        // Rejected, and killed before all are answered.
        ask_and_leave(
            &mut peer,
            "broker.reject",
            &rejects(&first),
            random.below(EVENTS),
        );
        daemon.kill();
        daemon = setup.start().unwrap();
        let mut peer = worker(&setup);
        let again = delivered(&setup, &mut peer, &format!("mark-{round}-1"));
        check_each_is_once(&jobs, &dead(&setup), &again, &format!("{at}, rejects"));

        // The others too; then replayed, and killed before all are answered.
        ask_and_leave(
            &mut peer,
            "broker.commit",
            &commits(&again),
            again.len() as u64,
        );
        let letters = dead(&setup);
        assert_eq!(
            letters.keys().cloned().collect::<BTreeSet<_>>(),
            jobs,
            "{at}"
        );
        drop(peer);
        let (names, asked): (Vec<&String>, Vec<Value>) = letters
            .iter()
            .map(|(job, id)| (job, json!({"id": id})))
            .unzip();
        let mut operator = setup.connect("operator").unwrap();
        let answers = random.below(EVENTS);
        let answered = ask_and_leave(&mut operator, "admin.dlq.replay", &asked, answers);
        daemon.kill();
        daemon = setup.start().unwrap();
        let mut peer = worker(&setup);
        let replayed = delivered(&setup, &mut peer, &format!("mark-{round}-2"));
        let left = dead(&setup);
        check_each_is_once(&jobs, &left, &replayed, &format!("{at}, replays"));
        for place in answered {
            assert!(!left.contains_key(names[place]), "{at}: it was answered");
        }
        for one in &replayed {
            assert_eq!(one.replay_of.as_ref(), letters.get(&job(one)), "{at}");
        }

        let acks: Vec<Value> = replayed
            .iter()
            .map(|one| json!({"deliveries": [handed(one)]}))
            .collect();
        ask_and_leave(&mut peer, "broker.ack", &acks, acks.len() as u64);
        let all = json!({"all": true});
        operator = setup.connect("operator").unwrap();
        operator.call("admin.dlq.discard", &all, PATIENCE).unwrap();
    }
}

/// Rejects that are durable once they are answered.
fn commits(deliveries: &[Delivery]) -> Vec<Value> {
    let one = |delivery| json!({"reject": [{"delivery": handed(delivery), "code": "bad"}]});
    deliveries.iter().map(one).collect()
}

fn rejects(deliveries: &[Delivery]) -> Vec<Value> {
    let one = |delivery| json!({"deliveries": [handed(delivery)], "code": "bad"});
    deliveries.iter().map(one).collect()
}

/// Proves Q5: what is replayed, over the link or over HTTP, is delivered at once and anew, although the subscription
/// would wait for a repeat.
#[test]
fn what_is_replayed_is_delivered_at_once() {
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path());
    let _daemon = setup.start().unwrap();
    let address = http::address(&setup.data).unwrap();
    let mut peer = worker(&setup);
    publish(&setup, "one");
    for over_http in [false, true] {
        let first = delivery(&mut peer);
        let [reject] = &commits(&[first])[..] else {
            unreachable!("one delivery is one commit")
        };
        peer.call("broker.commit", reject, PATIENCE).unwrap();
        let letters = dead(&setup);
        let id = &letters["one"];
        let asked = json!({"id": id});
        if over_http {
            let bearer = format!("Bearer {}", setup.token());
            let headers = [
                ("authorization", bearer.as_str()),
                ("content-type", "application/json"),
            ];
            let path = "/v1/dead-letters/replay";
            let answer = http::send(&address, "POST", path, &headers, &asked.to_string());
            let answer = answer.unwrap();
            assert_eq!((answer.status, &*answer.body), (200, r#"{"count":1}"#));
        } else {
            let mut operator = setup.connect("operator").unwrap();
            operator.call("admin.dlq.replay", &asked, PATIENCE).unwrap();
        }
        assert!(dead(&setup).is_empty());
        let replay = delivery(&mut peer);
        assert_eq!(
            (job(&replay), replay.replay_of.as_ref()),
            ("one".to_owned(), Some(id))
        );
        assert_eq!(replay.handing.as_ref().unwrap().attempt, 1);
        let nak = json!({"deliveries": [handed(&replay)], "delay_ms": 0, "counted": false});
        peer.call("broker.nak", &nak, PATIENCE).unwrap();
    }
}

/// Proves Q5: an event over the limit is the error `frame_too_large` at once, over the link and over HTTP in each of
/// its forms; the link goes on, nothing of it is stored, and what is just within the limit is.
#[test]
fn a_payload_over_the_limit_is_refused_when_it_is_published() {
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path());
    let _daemon = setup.start().unwrap();
    let limit = FRAME_BYTES_MAX - EVENT_BYTES_MARGIN;
    let overhead = json!({"payload": ""}).to_string().len();
    let payload = |bytes: usize| "x".repeat(bytes - overhead);
    let mut app = setup.connect("app").unwrap();
    let publish = |bytes| json!({"topic": TOPIC, "event": {"payload": payload(bytes)}});
    let (within, over) = (publish(limit), publish(limit + 1));
    let check = |refused: Result<Value, WireError>| {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("frame_too_large"), "{error}");
    };
    check(app.call("broker.publish", &over, PATIENCE));
    let small = json!({"topic": TOPIC, "event": {"payload": 1}});
    for refused in [&over, &publish(FRAME_BYTES_MAX - 200)] {
        let both = json!({"events": [small, refused]});
        // Over a frame, the answer names no request: the link goes on all the same.
        if refused.to_string().len() < FRAME_BYTES_MAX - 1000 {
            check(app.call("broker.commit", &both, PATIENCE));
        } else {
            app.request("broker.commit", &both).unwrap();
            app.flush().unwrap();
        }
    }
    let taken = app.call("broker.publish", &within, PATIENCE).unwrap();
    let first = taken["seq"].as_u64().unwrap();

    let address = http::address(&setup.data).unwrap();
    let bearer = format!("Bearer {}", setup.token());
    let post = |kind: &str, body: String| {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        http::send(&address, "POST", "/v1/publish", &headers, &body).unwrap()
    };
    let cloud = |bytes| json!({"specversion": "1.0", "id": "c", "source": "/s", "type": TOPIC, "data": payload(bytes)});
    let bodies = [
        (
            "application/json",
            json!({"topic": TOPIC, "payload": payload(limit + 1)}).to_string(),
        ),
        ("application/cloudevents+json", cloud(limit + 1).to_string()),
        (
            "application/cloudevents-batch+json",
            json!([cloud(20), cloud(limit + 1)]).to_string(),
        ),
    ];
    for (kind, body) in bodies {
        let answer = post(kind, body);
        let refused: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &refused["error"]["code"]),
            (413, &json!("frame_too_large")),
            "{kind}: {refused}"
        );
    }
    // The event is given an id on its way.
    let within = json!({"topic": TOPIC, "payload": payload(limit - 100)}).to_string();
    let answer = post("application/json", within);
    assert_eq!(answer.status, 200, "{}", answer.body);

    // Only the two that were within the limit are there.
    let mut peer = worker(&setup);
    let found = delivered(&setup, &mut peer, "mark");
    assert_eq!(
        found.len(),
        2,
        "{:?}",
        found
            .iter()
            .map(|one| one.payload.len())
            .collect::<Vec<_>>()
    );
    assert!(first > 0);
}
