//! What an instance tells of its start, and who sees it for how long.

use serde_json::{Value, json};
use trunkline_contract::limits::{PROGRESS_DATA_BYTES_MAX, PROGRESS_REPORT_MS};
use trunkline_contract::rpc::InstanceState;

use super::driver::Broker;
use super::switch::{activate, deactivate, hello, setup, signals};
use crate::core::{InstanceReport, InstanceSignal, LinkKind};
use crate::instance::InstanceKey;
use crate::router::LinkId;

/// Tells the state that the supervisor would.
fn report(broker: &mut Broker, key: &InstanceKey, state: InstanceState) {
    let report = InstanceReport {
        state,
        reason: String::new(),
        pid: Some(42),
        restarts: 0,
        exit: None,
        next_start_ms: None,
    };
    broker.core.report(key, report);
    broker.run();
}

/// An instance in the midst of its `on_start`, and an operator who follows what is said of it.
fn starting() -> (Broker, LinkId, LinkId, InstanceKey) {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let ask = json!({ "name": "life", "filters": ["plugin.lifecycle.>"] });
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let key = broker.configure("mail/a");
    let link = begin(&mut broker, &key);
    told(&mut broker, admin);
    (broker, admin, link, key)
}

fn begin(broker: &mut Broker, key: &InstanceKey) -> LinkId {
    let link = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(link, "initialize", &hello("mail"));
    report(broker, key, InstanceState::Starting);
    broker.core.activate(key);
    broker.run();
    link
}

/// Payloads that came on the lifecycle topic.
fn told(broker: &mut Broker, admin: LinkId) -> Vec<Value> {
    let mut payloads = Vec::new();
    loop {
        let events = broker.take(admin, "broker.event");
        if events.is_empty() {
            return payloads;
        }
        for mut event in events {
            // What is not stored has no delivery.
            if let Some(id) = event["delivery"].get("id") {
                let ack = json!({ "deliveries": [id] });
                broker.call(admin, "broker.ack", &ack).unwrap();
            }
            payloads.push(event["event"]["payload"].take());
        }
    }
}

fn shown(broker: &mut Broker, admin: LinkId) -> Value {
    let mut status = broker.call(admin, "admin.status", &json!({})).unwrap();
    status["instances"][0].take()
}

/// Proves LN15: what a start tells, with the data that a person needs for it, is on the lifecycle topic and in the status
/// until the start ends, and not after.
#[test]
fn a_start_shows_what_it_waits_for_until_it_ends() {
    let (mut broker, admin, link, key) = starting();
    broker.signals.clear();
    let scan =
        json!({ "done": 1.0, "total": 2.0, "message": "scan the code", "data": { "qr": "2@abc" } });
    broker.call(link, "instance.progress", &scan).unwrap();
    assert_eq!(
        broker.signals,
        [(key.clone(), InstanceSignal::Progress)],
        "the start limit begins anew"
    );
    let events = told(&mut broker, admin);
    assert_eq!(events.len(), 1, "{events:?}");
    let late = json!({ "name": "late", "filters": ["plugin.lifecycle.>"], "start": "earliest" });
    broker.call(admin, "broker.subscribe", &late).unwrap();
    let stored = told(&mut broker, admin);
    assert!(!stored.is_empty(), "the states before");
    assert!(
        stored.iter().all(|event| event.get("progress").is_none()),
        "a code is a credential, and is not stored: {stored:?}"
    );
    let end = json!({ "subscription": "late", "delete": true });
    broker.call(admin, "broker.unsubscribe", &end).unwrap();
    let status = shown(&mut broker, admin);
    for seen in [&events[0], &status] {
        assert_eq!(seen["state"], "starting");
        assert_eq!(seen["reason"], "scan the code");
        assert_eq!(seen["progress"], scan);
    }
    let ready = json!({ "state": "ready" });
    broker.call(link, "instance.status", &ready).unwrap();
    assert_eq!(shown(&mut broker, admin)["progress"], Value::Null);
    // Between its word and the supervisor's, and after both, it is over.
    broker.call(link, "instance.progress", &scan).unwrap();
    report(&mut broker, &key, InstanceState::Ready);
    broker.call(link, "instance.progress", &scan).unwrap();
    broker.advance(2 * PROGRESS_REPORT_MS);
    let events = told(&mut broker, admin);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["state"], &events[0]["progress"]),
        (&json!("ready"), &Value::Null)
    );
    assert_eq!(shown(&mut broker, admin)["reason"], "");
}

/// Proves LN15: what a start tells is never stored, not as a reason either; before the activation it is in the log alone.
#[test]
fn what_a_start_tells_is_no_reason_of_a_stored_event() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let key = broker.configure("mail/a");
    let link = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(link, "initialize", &hello("mail"));
    report(&mut broker, &key, InstanceState::Starting);
    let early = json!({ "message": "the code is 1234" });
    broker.call(link, "instance.progress", &early).unwrap();
    assert_eq!(shown(&mut broker, admin)["progress"], Value::Null);
    assert_eq!(shown(&mut broker, admin)["reason"], "");
    let is_it = |line: &crate::core::LogLine| line.message == "the code is 1234";
    assert!(broker.logs.iter().any(is_it));
    report(&mut broker, &key, InstanceState::Standby);
    broker.core.activate(&key);
    broker.run();
    let code = json!({ "message": "the code is 5678" });
    broker.call(link, "instance.progress", &code).unwrap();
    assert_eq!(shown(&mut broker, admin)["reason"], "the code is 5678");
    report(&mut broker, &key, InstanceState::Starting);
    let late = json!({ "name": "late", "filters": ["plugin.lifecycle.>"], "start": "earliest" });
    broker.call(admin, "broker.subscribe", &late).unwrap();
    let stored = told(&mut broker, admin);
    assert_eq!(stored.len(), 3, "{stored:?}");
    assert!(
        stored.iter().all(|event| event["reason"] == ""),
        "{stored:?}"
    );
}

/// Proves LN15: a start that tells a thousand things a second fills neither the store nor anybody's screen.
#[test]
fn the_newest_of_many_is_told_once_a_second() {
    let (mut broker, admin, link, _key) = starting();
    for n in 0..1000 {
        let step = json!({ "message": format!("step {n}") });
        broker.call(link, "instance.progress", &step).unwrap();
    }
    assert_eq!(
        shown(&mut broker, admin)["progress"]["message"],
        "step 999",
        "the status is never behind"
    );
    let messages = |events: Vec<Value>| -> Vec<String> {
        let of = |event: Value| event["progress"]["message"].as_str().unwrap().to_owned();
        events.into_iter().map(of).collect()
    };
    assert_eq!(messages(told(&mut broker, admin)), ["step 0"]);
    broker.advance(PROGRESS_REPORT_MS);
    assert_eq!(messages(told(&mut broker, admin)), ["step 999"]);
    broker.advance(10 * PROGRESS_REPORT_MS);
    let again = json!({ "message": "step 999" });
    broker.call(link, "instance.progress", &again).unwrap();
    assert_eq!(
        messages(told(&mut broker, admin)),
        ["step 999"],
        "for who listens only now"
    );
    let logged = broker.logs.iter().filter(|line| line.message == "step 999");
    assert_eq!(logged.count(), 1);
}

/// A process that starts again and again has no more than its share either, and nothing of the one before is shown.
#[test]
fn a_start_that_follows_another_begins_with_nothing_told() {
    let (mut broker, admin, first, key) = starting();
    let scan = json!({ "message": "scan the code", "data": { "qr": "old" } });
    broker.call(first, "instance.progress", &scan).unwrap();
    let late = json!({ "message": "still there" });
    broker.call(first, "instance.progress", &late).unwrap();
    broker.detach(first);
    broker
        .core
        .exited(&key, &crate::core::ExitSummary::default());
    broker.run();
    assert_eq!(shown(&mut broker, admin)["progress"], Value::Null);
    let second = begin(&mut broker, &key);
    told(&mut broker, admin);
    let next = json!({ "message": "another code" });
    broker.call(second, "instance.progress", &next).unwrap();
    assert!(told(&mut broker, admin).is_empty(), "too soon");
    broker.advance(PROGRESS_REPORT_MS);
    let events = told(&mut broker, admin);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["progress"], next);
}

#[test]
fn data_that_is_too_long_is_left_out_and_the_log_says_so() {
    let (mut broker, admin, link, _key) = starting();
    let long = json!({ "message": "scan", "data": { "qr": "x".repeat(PROGRESS_DATA_BYTES_MAX) } });
    broker.call(link, "instance.progress", &long).unwrap();
    let status = shown(&mut broker, admin);
    assert_eq!(status["progress"], json!({ "message": "scan" }));
    let warned = broker.logs.iter().any(|line| {
        line.level == "warn" && line.message.contains(&PROGRESS_DATA_BYTES_MAX.to_string())
    });
    assert!(warned, "{:?}", broker.logs);
}

/// A process that is to replace another tells nothing in its name before it is activated.
#[test]
fn a_successor_shows_its_start_once_it_is_activated() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let old = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    let in_force = setup(&broker, &key);
    broker.core.prepare_switch(in_force).unwrap();
    let seat = key.other_seat();
    let new = broker.attach(LinkKind::Spawned(seat.clone()));
    let step = json!({ "message": "warming up" });
    broker.call(new, "instance.progress", &step).unwrap();
    assert_eq!(shown(&mut broker, admin)["progress"], Value::Null);
    broker.reply_to(new, "initialize", &hello("mail"));
    signals(&mut broker);
    deactivate(&mut broker, &key, old);
    report(&mut broker, &key, InstanceState::Starting);
    broker.core.activate(&seat);
    broker.run();
    broker.call(new, "instance.progress", &step).unwrap();
    assert_eq!(shown(&mut broker, admin)["progress"], step);
    // It is no good: the old one serves again, and of the other nothing is left.
    broker.core.end_switch(&key, false).unwrap();
    broker.run();
    assert_eq!(shown(&mut broker, admin)["progress"], Value::Null);
    activate(&mut broker, &key, old);
    assert_eq!(shown(&mut broker, admin)["progress"], Value::Null);
}
