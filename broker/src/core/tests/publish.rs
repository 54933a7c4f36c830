//! Publishing: what is stamped, what is refused, what is answered when.

use serde_json::json;

use super::driver::{Broker, options};
use crate::core::CoreOptions;
use crate::store::memory::MemoryOptions;

#[test]
fn an_answer_to_a_publish_waits_for_the_disk() {
    let mut broker = Broker::new();
    let link = broker.client("app", &["publish:agent.>", "read:agent.>"]);
    broker.hold_batches = true;
    let event = json!({ "payload": { "text": "hello" } });
    let id = broker.request(
        link,
        "broker.publish",
        &json!({ "topic": "agent.a", "event": event }),
    );
    assert!(broker.answer(link, id).is_none());
    broker.release_batch();
    let answer = broker.answer(link, id).unwrap().unwrap();
    assert_eq!(answer["duplicate"], false);
    assert!(answer["seq"].as_u64().unwrap() > 0);
}

#[test]
fn a_client_gets_what_it_subscribed_to_and_settles_it() {
    let mut broker = Broker::new();
    let link = broker.client("app", &["publish:agent.>", "read:agent.>"]);
    let ask = json!({ "name": "mine", "filters": ["agent.>"] });
    broker.call(link, "broker.subscribe", &ask).unwrap();
    let event = json!({ "payload": 1, "session_id": "s" });
    let answer = broker.publish(link, "agent.a", &event).unwrap();
    assert_eq!(answer["matched"], 1);
    let events = broker.take(link, "broker.event");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"]["payload"], 1);
    let ack = json!({ "deliveries": [events[0]["delivery"]["id"]] });
    let settled = broker.call(link, "broker.ack", &ack).unwrap();
    assert_eq!(settled["stale"], json!([]));
}

/// Proves W2: id, timestamp and source are filled in where they are missing; a given id and timestamp are
/// kept byte by byte.
#[test]
fn what_is_missing_is_filled_in_and_what_is_given_is_kept() {
    let mut broker = Broker::new();
    let link = broker.client("app", &["publish:agent.>", "read:agent.>"]);
    let ask = json!({ "name": "mine", "filters": ["agent.>"] });
    broker.call(link, "broker.subscribe", &ask).unwrap();
    broker.publish(link, "agent.a", &json!({})).unwrap();
    let given =
        json!({ "id": "my id/1", "timestamp": "2020-01-01T00:00:00.5+02:00", "payload": null });
    broker.publish(link, "agent.a", &given).unwrap();
    let events = broker.take(link, "broker.event");
    let event = &events[0]["event"];
    assert_eq!(event["id"].as_str().unwrap().len(), 36);
    assert!(event["timestamp"].is_string());
    assert_eq!(event["source"], "client:app");
    let event = &events[1]["event"];
    assert_eq!(
        (&event["id"], &event["timestamp"]),
        (&given["id"], &given["timestamp"])
    );
}

/// Proves W3: a publish as a request is answered with its number or a typed error; as a notification it is
/// silent, counted, and reported on the lifecycle topic once per kind.
#[test]
fn a_refused_notification_is_silent_counted_and_reported_once() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let link = broker.plugin("mail/a");
    let ask = json!({ "name": "life", "filters": ["plugin.lifecycle.>"] });
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let good = broker
        .publish(link, "plugin.inbound.mail.a", &json!({ "payload": 1 }))
        .unwrap();
    assert!(good["seq"].is_u64());
    let refused = json!({ "topic": "agent.x", "event": { "payload": 1 } });
    for _ in 0..100 {
        broker.notify(link, "broker.publish", &refused);
    }
    broker.advance(30_000);
    let mut reported = 0;
    for event in broker.take(admin, "broker.event") {
        reported += event["event"]["payload"]["rejected"]["count"]
            .as_u64()
            .unwrap();
    }
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    assert_eq!(status["counters"]["publishes_refused"], 100);
    assert!(reported >= 1, "the first is reported at once");
    let huge = json!({ "payload": "x".repeat((1 << 20) - 8 * 1024) });
    let params = json!({ "topic": "plugin.inbound.mail.a", "event": huge });
    assert_eq!(
        broker.refusal(link, "broker.publish", &params),
        "frame_too_large"
    );
}

/// Proves W10: a call to the host that waits delays neither a publish nor an ack of the same link.
#[test]
fn a_pending_call_to_the_host_delays_no_publish() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let link = broker.plugin("mail/a");
    broker
        .publish(admin, "plugin.outbound.mail.a", &json!({ "payload": 1 }))
        .unwrap();
    broker.hold_reads = true;
    let get = json!({ "scope": "instance", "key": "k" });
    let pending = broker.request(link, "kv.get", &get);
    let other = broker.plugin("mail/b");
    let lock = json!({ "name": "l", "ttl_ms": 60_000 });
    broker.call(other, "lock.acquire", &lock).unwrap();
    let wait = json!({ "name": "l", "ttl_ms": 60_000, "wait_ms": 10_000 });
    let waiting = broker.request(link, "lock.acquire", &wait);
    let answer = broker
        .publish(link, "plugin.inbound.mail.a", &json!({ "payload": 1 }))
        .unwrap();
    assert!(answer["seq"].is_u64());
    let events = broker.take(link, "broker.event");
    let ack = json!({ "deliveries": [events[0]["delivery"]["id"]] });
    broker.call(link, "broker.ack", &ack).unwrap();
    broker.call(link, "ping", &json!({})).unwrap();
    assert!(broker.answer(link, pending).is_none());
    assert!(broker.answer(link, waiting).is_none());
    broker.release_reads();
    let error = broker.answer(link, pending).unwrap().unwrap_err();
    assert_eq!(error["data"]["code"], "not_found");
}

/// Proves LN8: 10 000 events to a plugin that takes nothing cost bounded memory, nothing is lost, and
/// nobody is bothered with errors.
#[test]
fn ten_thousand_events_to_a_stalled_plugin_stay_in_the_store() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let link = broker.plugin("mail/a");
    broker.stall(link, true);
    let event = json!({ "payload": "x".repeat(2000) });
    for _ in 0..10_000 {
        broker.notify(
            admin,
            "broker.publish",
            &json!({ "topic": "plugin.outbound.mail.a", "event": event }),
        );
    }
    let waiting = broker.core.outbox(link).unwrap().len();
    assert!(waiting <= 2 << 20, "{waiting} bytes wait on the link");
    let sub = broker.core.router.find("instance.mail.a").unwrap();
    let sub = broker.core.router.get(sub).unwrap();
    assert!(
        sub.loaded_bytes <= 9 << 20,
        "{} bytes are loaded",
        sub.loaded_bytes
    );
    assert!(
        sub.view().pending <= 1024,
        "{} are loaded",
        sub.view().pending
    );
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    assert!(status["counters"].get("publishes_refused").is_none());
    broker.stall(link, false);
    let mut count = 0;
    loop {
        let events = broker.take(link, "broker.event");
        if events.is_empty() {
            break;
        }
        count += events.len();
        let ids: Vec<_> = events.iter().map(|e| &e["delivery"]["id"]).collect();
        broker
            .call(link, "broker.ack", &json!({ "deliveries": ids }))
            .unwrap();
        broker.advance(20);
    }
    assert_eq!(count, 10_000);
}

/// Proves LN37: who did not subscribe to a topic gets not one byte of its events.
#[test]
fn who_did_not_subscribe_gets_nothing() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let other = broker.plugin("chat/b");
    let link = broker.plugin("mail/a");
    broker.stall(other, true);
    for topic in ["plugin.outbound.mail.a", "plugin.outbound.mail", "agent.x"] {
        let event = json!({ "payload": {}, "session_id": "s" });
        broker.publish(admin, topic, &event).unwrap();
    }
    assert_eq!(broker.core.outbox(other).unwrap().len(), 0);
    // The session's second waits for its first.
    assert_eq!(broker.take(link, "broker.event").len(), 1);
}

/// Proves LN41: order within a session, and no session waits for another.
#[test]
fn sessions_are_ordered_and_do_not_wait_for_each_other() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let link = broker.plugin("mail/a");
    for index in 0..3 {
        for session in ["blocked", "free"] {
            let event = json!({ "payload": index, "session_id": session });
            broker
                .publish(admin, "plugin.outbound.mail.a", &event)
                .unwrap();
        }
    }
    let mut seen = Vec::new();
    loop {
        let events = broker.take(link, "broker.event");
        if events.is_empty() {
            break;
        }
        for event in events {
            if event["event"]["session_id"] == "free" {
                seen.push(event["event"]["payload"].as_u64().unwrap());
                let ack = json!({ "deliveries": [event["delivery"]["id"]] });
                broker.call(link, "broker.ack", &ack).unwrap();
            } else {
                assert_eq!(event["event"]["payload"], 0, "the head is not settled");
            }
        }
    }
    assert_eq!(seen, [0, 1, 2]);
}

/// Proves LN44 for events and methods: what is not known is an error that says so, never an empty success.
#[test]
fn an_unknown_method_or_topic_is_a_typed_error() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    for method in [
        "broker.nothing",
        "kv.nothing",
        "lock.nothing",
        "llm.complete",
    ] {
        assert_eq!(broker.refusal(link, method, &json!({})), "not_implemented");
    }
    let event = json!({ "payload": 1 });
    let publish = |topic: &str| json!({ "topic": topic, "event": event });
    for (topic, code) in [
        ("plugin.inbound.unknown.x", "topic_not_granted"),
        ("not a topic", "invalid_topic"),
        ("", "invalid_topic"),
    ] {
        assert_eq!(
            broker.refusal(link, "broker.publish", &publish(topic)),
            code,
            "{topic:?}"
        );
    }
    let admin = broker.admin();
    let unrouted = publish("plugin.outbound.nobody");
    assert_eq!(
        broker.refusal(admin, "broker.publish", &unrouted),
        "unrouted"
    );
    let admin_method = broker.refusal(admin, "admin.nothing", &json!({}));
    assert_eq!(admin_method, "not_implemented");
}

/// Proves H6, the time of it: what a provider says again under its id is the same for 72 h, also in another life of
/// the broker, and new after that; another instance's id is another one.
#[test]
fn an_id_of_an_instance_is_known_for_its_time_and_no_longer() {
    const HOUR_MS: u64 = 3_600_000;
    let mut broker = Broker::new();
    let say = |broker: &mut Broker, name: &str| {
        let link = broker.plugin(&format!("mail/{name}"));
        let topic = format!("plugin.inbound.mail.{name}");
        let message = json!({ "id": "update-917", "payload": { "text": "hi" } });
        let said = broker.publish(link, &topic, &message).unwrap();
        broker.detach(link);
        said["duplicate"] == true
    };
    assert!(!say(&mut broker, "a"));
    assert!(!say(&mut broker, "b"));
    broker.leap(71 * HOUR_MS);
    assert!(say(&mut broker, "a"));
    broker.restart();
    assert!(say(&mut broker, "a"));
    broker.leap(HOUR_MS + 1_000);
    assert!(!say(&mut broker, "a"), "the time of the first is over");
    assert!(say(&mut broker, "a"), "and that of the second begins");
}

/// Proves P8a: the rate is each instance's own. One that is too fast is told when to go on, and no other waits for it.
#[test]
fn the_rate_of_one_instance_is_no_other_ones() {
    let limited = CoreOptions {
        source_events_per_second: Some(2),
        ..options()
    };
    let mut broker = Broker::with(limited, MemoryOptions::default(), 1);
    let (a, b) = (broker.plugin("mail/a"), broker.plugin("mail/b"));
    let say = |broker: &mut Broker, link, name: &str| {
        let topic = format!("plugin.inbound.mail.{name}");
        broker.publish(link, &topic, &json!({ "payload": 1 }))
    };
    for _ in 0..2 {
        say(&mut broker, a, "a").unwrap();
    }
    let refused = say(&mut broker, a, "a").unwrap_err()["data"].clone();
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert_eq!(refused["retry_after_ms"], 500, "{refused}");
    for _ in 0..2 {
        say(&mut broker, b, "b").unwrap();
    }
    broker.advance(499);
    assert!(say(&mut broker, a, "a").is_err(), "it is not over yet");
    broker.advance(1);
    say(&mut broker, a, "a").unwrap();
}
