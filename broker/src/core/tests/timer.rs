//! Timers: when they are due, who is told, what a crash leaves, what is refused.

use serde_json::{Value, json};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::driver::Broker;

const MINUTE: u64 = 60_000;

fn set(broker: &mut Broker, link: LinkId, params: &Value) -> Value {
    broker.call(link, "timer.set", params).unwrap()
}

/// What came of timers: `(delivery, event)`.
fn due(broker: &mut Broker, link: LinkId) -> Vec<(String, Value)> {
    let events = broker.take(link, "broker.event");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = events.into_iter();
    pairs
        .map(|event| (text(&event["delivery"]["id"]), event["event"].clone()))
        .collect()
}

fn one(broker: &mut Broker, link: LinkId) -> (String, Value) {
    let mut all = due(broker, link);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn ack(broker: &mut Broker, link: LinkId, delivery: &str) {
    let settled = broker.call(link, "broker.ack", &json!({ "deliveries": [delivery] }));
    assert_eq!(settled.unwrap()["stale"], json!([]));
}

fn names(broker: &mut Broker, link: LinkId) -> Vec<String> {
    let list = broker.call(link, "timer.list", &json!({})).unwrap();
    let timers = list["timers"].as_array().unwrap().iter();
    timers
        .map(|timer| timer["set"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Proves LN27: a one-shot timer is an event to the instance that set it, once, with what it was set with.
#[test]
fn a_due_timer_is_an_event_to_its_instance_alone() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("mail/b");
    let watcher = broker.client("watcher", &["read:>"]);
    let wide = json!({ "name": "all", "filters": ["agent.>", "plugin.inbound.>"] });
    broker.call(watcher, "broker.subscribe", &wide).unwrap();
    let params = json!({ "name": "later", "after_ms": 5 * MINUTE, "data": { "n": 12_345_678_901_234_567_890_u64 } });
    let answer = set(&mut broker, a, &params);
    assert_eq!(answer, json!({ "due_at": "2025-06-15T15:11:40.000Z" }));
    broker.advance(5 * MINUTE - 1);
    assert_eq!(due(&mut broker, a), []);
    broker.advance(1);
    let (delivery, event) = one(&mut broker, a);
    assert_eq!(event["topic"], "plugin.timer.mail.a");
    assert_eq!(event["source"], "broker");
    assert_eq!(event["session_id"], "timer:later");
    let payload = json!({
        "name": "later", "due_at": "2025-06-15T15:11:40.000Z", "missed": 0,
        "data": { "n": 12_345_678_901_234_567_890_u64 },
    });
    assert_eq!(event["payload"], payload);
    assert_eq!(due(&mut broker, b), []);
    assert_eq!(due(&mut broker, watcher), []);
    ack(&mut broker, a, &delivery);
    broker.advance(60 * MINUTE);
    assert_eq!(due(&mut broker, a), []);
    assert_eq!(names(&mut broker, a), [""; 0]);
}

/// Proves LN27, P4a: an interval goes on without drift, and never while its last event is not settled.
#[test]
fn a_repeating_timer_waits_for_its_settlement_and_keeps_its_beat() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "beat", "every_ms": MINUTE }),
    );
    broker.advance(MINUTE);
    let (delivery, event) = one(&mut broker, link);
    assert_eq!(event["payload"]["due_at"], "2025-06-15T15:07:40.000Z");
    // It takes its time: three and a half beats pass.
    for _ in 0..14 {
        broker.advance(15_000);
        let extend = json!({ "deliveries": [delivery] });
        broker.call(link, "broker.extend", &extend).unwrap();
    }
    assert_eq!(due(&mut broker, link), []);
    let list = broker.call(link, "timer.list", &json!({})).unwrap();
    assert_eq!(list["timers"][0]["running"], true);
    ack(&mut broker, link, &delivery);
    let (delivery, event) = one(&mut broker, link);
    let payload = &event["payload"];
    assert_eq!(
        (&payload["due_at"], &payload["missed"]),
        (&json!("2025-06-15T15:10:40.000Z"), &json!(2))
    );
    let reject = json!({ "deliveries": [delivery], "reason": "no" });
    broker.call(link, "broker.reject", &reject).unwrap();
    broker.advance(30_000);
    let (_, event) = one(&mut broker, link);
    assert_eq!(event["payload"]["due_at"], "2025-06-15T15:11:40.000Z");
    assert_eq!(event["payload"]["missed"], 0);
}

/// Proves P4a: with jitter, timers that are due together come one by one: none before its time, none later than the jitter
/// allows, and none drifts.
#[test]
fn jitter_spreads_what_is_due_together_and_nothing_drifts() {
    const TIMERS: usize = 50;
    const JITTER: u64 = 20_000;
    const STEP: u64 = 500;
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    for n in 0..TIMERS {
        let beat = json!({ "name": format!("t{n}"), "every_ms": MINUTE, "jitter_ms": JITTER });
        set(&mut broker, link, &beat);
    }
    broker.advance(JITTER);
    for beat in ["15:07:40", "15:08:40", "15:09:40"] {
        // All of the round before are settled; this one begins on the minute.
        broker.advance(MINUTE - JITTER - STEP);
        broker.advance(STEP - 1);
        assert_eq!(due(&mut broker, link), [], "none before its time");
        broker.advance(1);
        let mut waits = Vec::new();
        for step in 0..=JITTER / STEP {
            for (delivery, event) in due(&mut broker, link) {
                let at = format!("2025-06-15T{beat}.000Z");
                assert_eq!(event["payload"]["due_at"], at);
                assert_eq!(event["payload"]["missed"], 0);
                waits.push(step);
                ack(&mut broker, link, &delivery);
            }
            if step < JITTER / STEP {
                broker.advance(STEP);
            }
        }
        assert_eq!(waits.len(), TIMERS, "none later than the jitter allows");
        waits.dedup();
        assert!(waits.len() > TIMERS / 5, "they are spread: {waits:?}");
    }
}

/// Proves P4a: when it is due next survives a restart, and the policy decides over what was missed meanwhile.
#[test]
fn timers_outlive_the_broker_and_its_absence() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    for misfire in ["skip", "once", "all"] {
        let cron = json!({ "name": misfire, "cron": "@hourly", "misfire": misfire });
        set(&mut broker, link, &cron);
    }
    // 15:06:40 now; nobody is there for three hours and a bit.
    broker.restart();
    broker.clock.advance(3 * 60 * MINUTE);
    let link = broker.plugin("mail/a");
    broker.advance(0);
    let mut found: Vec<(Value, Value, Value)> = Vec::new();
    loop {
        let all = due(&mut broker, link);
        if all.is_empty() {
            break;
        }
        for (delivery, event) in all {
            let payload = event["payload"].clone();
            found.push((
                payload["name"].clone(),
                payload["due_at"].clone(),
                payload["missed"].clone(),
            ));
            ack(&mut broker, link, &delivery);
        }
    }
    found.sort_by_key(|(name, at, _)| format!("{name}{at}"));
    let at = |hour: u64| json!(format!("2025-06-15T{hour}:00:00.000Z"));
    let wanted = [
        (json!("all"), at(16), json!(0)),
        (json!("all"), at(17), json!(0)),
        (json!("all"), at(18), json!(0)),
        (json!("once"), at(18), json!(2)),
    ];
    assert_eq!(found, wanted);
    broker.advance(3_200_000);
    let mut next = due(&mut broker, link);
    next.sort_by_key(|(_, event)| event["payload"]["name"].to_string());
    let missed: Vec<&Value> = next
        .iter()
        .map(|(_, event)| &event["payload"]["missed"])
        .collect();
    assert_eq!(missed, [&json!(0), &json!(0), &json!(3)]);
}

/// Proves LN27: a crash before the event is durable, after it, and between its end and the next due time
/// loses nothing and makes no second event of one due time.
#[test]
fn a_crash_at_any_commit_gives_each_due_time_one_event() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "beat", "every_ms": MINUTE }),
    );
    // It dies with the event on its way to the disk.
    broker.hold_batches = true;
    broker.advance(MINUTE);
    assert!(broker.held_batch.is_some());
    broker.hold_batches = false;
    broker.restart();
    let link = broker.plugin("mail/a");
    broker.advance(0);
    let (_, first) = one(&mut broker, link);
    // It dies with the event delivered.
    broker.restart();
    let link = broker.plugin("mail/a");
    broker.advance(0);
    let (delivery, again) = one(&mut broker, link);
    assert_eq!(
        (&first["id"], &first["payload"]),
        (&again["id"], &again["payload"])
    );
    // It dies between the commit that settles the event and what follows from it.
    broker.hold_batches = true;
    let id = broker.request(link, "broker.commit", &json!({ "ack": [delivery] }));
    let (token, batch) = broker.held_batch.take().expect("the commit is on its way");
    let results = crate::store::Store::commit(&mut broker.store, batch).unwrap();
    broker.core.batch_done(token, results);
    broker.run();
    assert_eq!(broker.answer(link, id).unwrap().err(), None);
    assert!(
        broker.held_batch.is_some(),
        "the next due time is on its way"
    );
    broker.hold_batches = false;
    broker.restart();
    let link = broker.plugin("mail/a");
    broker.advance(0);
    assert_eq!(due(&mut broker, link), []);
    broker.advance(MINUTE);
    let (_, second) = one(&mut broker, link);
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["payload"]["due_at"], "2025-06-15T15:08:40.000Z");
}

#[test]
fn a_cancelled_timer_gives_nothing_that_is_not_published_yet() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "x", "after_ms": MINUTE }),
    );
    // The cancel is on its way to the disk when the timer becomes due.
    broker.hold_batches = true;
    let cancel = broker.request(link, "timer.cancel", &json!({ "name": "x" }));
    broker.advance(MINUTE);
    broker.release_batch();
    assert_eq!(
        broker.answer(link, cancel).unwrap().unwrap(),
        json!({ "cancelled": true })
    );
    broker.advance(MINUTE);
    assert_eq!(due(&mut broker, link), []);
    let again = broker
        .call(link, "timer.cancel", &json!({ "name": "x" }))
        .unwrap();
    assert_eq!(again, json!({ "cancelled": false }));
}

#[test]
fn a_timer_that_is_set_anew_counts_from_then_and_waits_for_the_old_one() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "silence", "after_ms": MINUTE, "data": 1 }),
    );
    broker.advance(40_000);
    set(
        &mut broker,
        link,
        &json!({ "name": "silence", "after_ms": MINUTE, "data": 2 }),
    );
    broker.advance(40_000);
    assert_eq!(due(&mut broker, link), []);
    broker.advance(20_000);
    let (delivery, event) = one(&mut broker, link);
    assert_eq!(event["payload"]["data"], 2);
    set(
        &mut broker,
        link,
        &json!({ "name": "silence", "after_ms": 1, "data": 3 }),
    );
    broker.advance(10_000);
    assert_eq!(due(&mut broker, link), []);
    ack(&mut broker, link, &delivery);
    let (_, event) = one(&mut broker, link);
    assert_eq!(event["payload"]["data"], 3);
}

/// Proves P6c: timers change with the commit they are part of, or not at all.
#[test]
fn timers_of_a_commit_share_its_fate() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "old", "after_ms": MINUTE }),
    );
    let timers = json!([
        { "op": "set", "name": "new", "after_ms": 2 * MINUTE, "session": "chat/1" },
        { "op": "cancel", "name": "old" },
    ]);
    let kv = |revision: u64| json!([{ "op": "put", "scope": "instance", "key": "k", "value": 1, "if_revision": revision }]);
    let refused = json!({ "timers": timers, "kv": kv(99) });
    assert_eq!(
        broker.refusal(link, "broker.commit", &refused),
        "revision_conflict"
    );
    let unknown = json!({ "timers": [timers[0], { "op": "set", "name": "bad" }] });
    let error = broker.call(link, "broker.commit", &unknown).unwrap_err();
    assert_eq!(error["data"]["index"], 1);
    let stale = json!({ "timers": timers, "ack": ["1.1.1"] });
    assert_eq!(broker.refusal(link, "broker.commit", &stale), "stale_lease");
    assert_eq!(names(&mut broker, link), ["old"]);
    let taken = json!({ "timers": timers, "kv": kv(0) });
    let answer = broker.call(link, "broker.commit", &taken).unwrap();
    assert_eq!(
        answer["timers"],
        json!([{ "due_at": "2025-06-15T15:08:40.000Z" }, {}])
    );
    assert_eq!(names(&mut broker, link), ["new"]);
    broker.advance(2 * MINUTE);
    assert_eq!(one(&mut broker, link).1["session_id"], "chat/1");
}

#[test]
fn what_is_set_at_each_start_is_kept_where_it_is_the_same() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let beat = |every: u64| json!({ "name": "beat", "every_ms": every, "keep": true });
    let first = set(&mut broker, link, &beat(MINUTE));
    broker.advance(30_000);
    let kept = json!({ "due_at": first["due_at"], "kept": true });
    assert_eq!(set(&mut broker, link, &beat(MINUTE)), kept);
    let changed = set(&mut broker, link, &beat(2 * MINUTE));
    assert_eq!(changed, json!({ "due_at": "2025-06-15T15:09:10.000Z" }));
    let past = json!({ "name": "launch", "at": "2025-01-01T00:00:00Z", "keep": true });
    assert_eq!(set(&mut broker, link, &past), json!({ "kept": true }));
    let past = json!({ "name": "launch", "at": "2025-01-01T00:00:00Z" });
    set(&mut broker, link, &past);
    broker.advance(0);
    assert_eq!(one(&mut broker, link).1["payload"]["name"], "launch");
}

/// Proves P6c: an instance has a bounded number of timers, and a wrong one is refused with what was expected.
#[test]
fn what_cannot_be_a_timer_is_refused() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let refused = [
        (
            json!({ "name": "", "after_ms": 1 }),
            "invalid_arguments",
            "1 to 256 bytes",
        ),
        (
            json!({ "name": "a\nb", "after_ms": 1 }),
            "invalid_arguments",
            "control",
        ),
        (
            json!({ "name": "x" }),
            "invalid_arguments",
            "expected one of after_ms, at, every_ms and cron, found none",
        ),
        (
            json!({ "name": "x", "after_ms": 1, "cron": "@daily" }),
            "invalid_arguments",
            "found after_ms, cron",
        ),
        (
            json!({ "name": "x", "every_ms": 999 }),
            "invalid_arguments",
            "found 999 ms",
        ),
        (
            json!({ "name": "x", "every_ms": 5000, "tz": "UTC" }),
            "invalid_arguments",
            "tz only with cron",
        ),
        (
            json!({ "name": "x", "cron": "@daily", "tz": "Mars/Base" }),
            "invalid_arguments",
            "found \"Mars/Base\"",
        ),
        (
            json!({ "name": "x", "cron": "0 0 30 2 *" }),
            "invalid_arguments",
            "due some day",
        ),
        (
            json!({ "name": "x", "at": "tomorrow" }),
            "invalid_arguments",
            "RFC 3339",
        ),
        (
            json!({ "name": "x", "after_ms": u64::MAX }),
            "invalid_arguments",
            "at most",
        ),
        (
            json!({ "name": "x", "after_ms": 1, "data": "x".repeat(9000) }),
            "quota_exceeded",
            "8192 bytes",
        ),
    ];
    for (params, code, text) in refused {
        let error = broker.call(link, "timer.set", &params).unwrap_err();
        assert_eq!(error["data"]["code"], code, "{params}");
        assert!(error["message"].as_str().unwrap().contains(text), "{error}");
    }
    let client = broker.admin();
    let timer = json!({ "name": "x", "after_ms": 1 });
    assert_eq!(broker.refusal(client, "timer.set", &timer), "unauthorized");
    let event = json!({ "payload": {} });
    for link in [link, client] {
        let error = broker
            .publish(link, "plugin.timer.mail.a", &event)
            .unwrap_err();
        assert_eq!(error["data"]["code"], "topic_not_granted");
    }
    for n in 0..10_000 {
        set(
            &mut broker,
            link,
            &json!({ "name": format!("t{n}"), "after_ms": 600_000 }),
        );
    }
    assert_eq!(broker.refusal(link, "timer.set", &timer), "quota_exceeded");
    set(
        &mut broker,
        link,
        &json!({ "name": "t7", "after_ms": 600_000 }),
    );
    broker
        .call(link, "timer.cancel", &json!({ "name": "t8" }))
        .unwrap();
    set(
        &mut broker,
        link,
        &json!({ "name": "x", "after_ms": 600_000 }),
    );
    let page = broker
        .call(link, "timer.list", &json!({ "prefix": "t99" }))
        .unwrap();
    assert_eq!(page["timers"].as_array().unwrap().len(), 111);
    let page = broker
        .call(link, "timer.list", &json!({ "limit": 2 }))
        .unwrap();
    let rest = json!({ "after": page["next"], "limit": 1 });
    assert_eq!(
        broker.call(link, "timer.list", &rest).unwrap()["timers"][0]["set"]["name"],
        "t10"
    );
    // All are due at once, and come in pieces.
    let mut found = 0;
    broker.advance(600_000);
    loop {
        let all = due(&mut broker, link);
        if all.is_empty() {
            break;
        }
        found += all.len();
        let deliveries: Vec<String> = all.into_iter().map(|(delivery, _)| delivery).collect();
        broker
            .call(link, "broker.ack", &json!({ "deliveries": deliveries }))
            .unwrap();
    }
    assert_eq!(found, 10_000);
}

#[test]
fn the_timers_of_a_removed_instance_go_with_it() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "soon", "after_ms": MINUTE }),
    );
    set(
        &mut broker,
        link,
        &json!({ "name": "beat", "every_ms": MINUTE }),
    );
    broker.advance(MINUTE);
    assert_eq!(due(&mut broker, link).len(), 2);
    broker.core.remove(&InstanceKey::parse("mail/a"), false);
    broker.run();
    broker.restart();
    let link = broker.plugin("mail/a");
    assert_eq!(names(&mut broker, link), [""; 0]);
    broker.advance(10 * MINUTE);
    assert_eq!(due(&mut broker, link), []);
}

#[test]
fn a_clock_that_is_set_moves_what_follows_the_wall_and_holds_up_nothing_else() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    set(
        &mut broker,
        link,
        &json!({ "name": "beat", "every_ms": 2 * MINUTE }),
    );
    set(
        &mut broker,
        link,
        &json!({ "name": "noon", "cron": "0 12 * * *" }),
    );
    set(
        &mut broker,
        link,
        &json!({ "name": "once", "after_ms": 2 * MINUTE }),
    );
    // Two hours back: what counts from now still comes.
    broker.clock.jump_wall(-2 * 3_600_000);
    let mut found: Vec<String> = Vec::new();
    for _ in 0..9 {
        broker.advance(20_000);
        for (delivery, event) in due(&mut broker, link) {
            found.push(event["payload"]["name"].as_str().unwrap().to_owned());
            ack(&mut broker, link, &delivery);
        }
    }
    found.sort();
    assert_eq!(found, ["beat", "once"]);
    // A day ahead: noon was missed and is made up for within a minute.
    broker.clock.jump_wall(86_400_000);
    broker.advance(MINUTE);
    let found: Vec<Value> = due(&mut broker, link)
        .into_iter()
        .map(|(_, event)| event["payload"]["name"].clone())
        .collect();
    assert!(found.contains(&json!("noon")), "{found:?}");
}
