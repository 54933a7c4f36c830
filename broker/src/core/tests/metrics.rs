//! The numbers agree with what was done.

use serde_json::{Value, json};
use trunkline_contract::rpc::InstanceState;

use super::driver::Broker;
use crate::core::InstanceReport;
use crate::core::metrics::METRICS;
use crate::instance::InstanceKey;
use crate::router::LinkId;

/// The metrics at one moment.
struct Numbers(Value);

impl Numbers {
    fn of(broker: &mut Broker, reader: LinkId) -> Self {
        Self(broker.call(reader, "admin.metrics", &json!({})).unwrap())
    }

    fn family(&self, name: &str) -> &Value {
        let families = self.0["families"].as_array().unwrap();
        let found = families.iter().find(|family| family["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    /// The sample of exactly these labels.
    fn sample(&self, name: &str, labels: &Value) -> Option<&Value> {
        let empty = json!({});
        let samples = self.family(name)["samples"].as_array().unwrap();
        let mut samples = samples.iter();
        samples.find(|sample| sample.get("labels").unwrap_or(&empty) == labels)
    }

    fn get(&self, name: &str, labels: &Value) -> f64 {
        let found = self.sample(name, labels);
        let found = found.unwrap_or_else(|| panic!("no {name}{labels}"));
        found["value"].as_f64().unwrap()
    }

    fn histogram(&self, name: &str, labels: &Value) -> (u64, f64) {
        let found = self.sample(name, labels);
        let found = &found.unwrap_or_else(|| panic!("no {name}{labels}"))["histogram"];
        let counts = found["counts"].as_array().unwrap().iter();
        let sum = found["sum"].as_f64().unwrap();
        (counts.map(|count| count.as_u64().unwrap()).sum(), sum)
    }
}

fn out(broker: &mut Broker, app: LinkId, id: &str) {
    let event = json!({ "id": id, "session_id": id, "payload": 1 });
    broker
        .publish(app, "plugin.outbound.mail.a", &event)
        .unwrap();
}

fn settle(broker: &mut Broker, link: LinkId, how: &str) {
    let events = broker.take(link, "broker.event");
    let deliveries: Vec<&Value> = events.iter().map(|e| &e["delivery"]["id"]).collect();
    let params = json!({ "deliveries": deliveries });
    broker
        .call(link, &format!("broker.{how}"), &params)
        .unwrap();
}

/// Proves O1 for the core: each number is what was done, for the instance or client that did it.
/// Proves P7d, metric: dead letters are counted by plugin, instance and reason, and shown while they wait.
#[test]
fn deliveries_settlements_and_publishes_are_counted_by_whom_they_belong_to() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    out(&mut broker, app, "acked");
    broker.advance(40);
    settle(&mut broker, plugin, "ack");
    out(&mut broker, app, "rejected");
    settle(&mut broker, plugin, "reject");
    out(&mut broker, app, "naked");
    settle(&mut broker, plugin, "nak");
    broker.advance(5_000);
    settle(&mut broker, plugin, "ack");
    out(&mut broker, app, "in flight");
    out(&mut broker, app, "in flight");
    broker
        .publish(app, "agent.nobody", &json!({ "payload": 1 }))
        .unwrap();
    broker
        .publish(app, "plugin.hook.mail.a", &json!({ "payload": 1 }))
        .unwrap_err();

    let numbers = Numbers::of(&mut broker, app);
    let mail = json!({ "plugin": "mail", "instance": "a" });
    let with = |name: &str, value: &str| {
        let mut labels = mail.clone();
        labels[name] = value.into();
        labels
    };
    let get = |name: &str, labels: &Value| numbers.get(name, labels) as u64;
    assert_eq!(get("trunkline_deliveries_total", &mail), 5);
    assert_eq!(get("trunkline_redeliveries_total", &mail), 1);
    for (result, count) in [("acked", 2), ("rejected", 1), ("naked", 1), ("stale", 0)] {
        let labels = with("result", result);
        assert_eq!(
            get("trunkline_settlements_total", &labels),
            count,
            "{result}"
        );
    }
    for (reason, count) in [("rejected", 1), ("crashed", 0)] {
        let labels = with("reason", reason);
        assert_eq!(get("trunkline_dead_letters_total", &labels), count);
    }
    assert_eq!(get("trunkline_dead_letters", &mail), 1);
    assert_eq!(get("trunkline_events_in_flight", &mail), 1);
    assert_eq!(get("trunkline_events_pending", &mail), 0);
    let waits = numbers.histogram(
        "trunkline_delivery_wait_seconds",
        &with("class", "outbound"),
    );
    assert_eq!(
        waits.0, 4,
        "each event is handed over for the first time once"
    );
    let (handled, seconds) = numbers.histogram("trunkline_handling_seconds", &mail);
    assert_eq!(handled, 2);
    assert!(seconds >= 0.04, "{seconds}");

    let operator = |result: &str| json!({ "client": "operator", "result": result });
    for (result, count) in [("stored", 5), ("duplicate", 1), ("topic_not_granted", 1)] {
        let labels = operator(result);
        assert_eq!(get("trunkline_publishes_total", &labels), count, "{result}");
    }
    let class = |class: &str| json!({ "client": "operator", "class": class });
    assert_eq!(
        get("trunkline_published_events_total", &class("outbound")),
        4
    );
    assert_eq!(get("trunkline_published_events_total", &class("other")), 1);
    let unmatched = json!({ "client": "operator" });
    assert_eq!(get("trunkline_published_unmatched_total", &unmatched), 1);
}

/// Proves P8a: two instances of one plugin are counted apart.
#[test]
fn instances_of_one_plugin_have_numbers_of_their_own() {
    let mut broker = Broker::new();
    let app = broker.admin();
    for (name, count) in [("a", 3), ("b", 5)] {
        let link = broker.plugin(&format!("mail/{name}"));
        for id in 0..count {
            let event = json!({ "id": format!("{name}{id}"), "payload": 1 });
            let out = format!("plugin.outbound.mail.{name}");
            broker.publish(app, &out, &event).unwrap();
            let inbound = format!("plugin.inbound.mail.{name}");
            broker.publish(link, &inbound, &event).unwrap();
            settle(&mut broker, link, "ack");
        }
    }
    let numbers = Numbers::of(&mut broker, app);
    for (name, count) in [("a", 3), ("b", 5)] {
        let of = |more: Value| {
            let mut labels = json!({ "plugin": "mail", "instance": name });
            let more = more.as_object().unwrap().clone();
            labels.as_object_mut().unwrap().extend(more);
            labels
        };
        for (family, labels) in [
            ("trunkline_deliveries_total", of(json!({}))),
            (
                "trunkline_settlements_total",
                of(json!({ "result": "acked" })),
            ),
            (
                "trunkline_publishes_total",
                of(json!({ "result": "stored" })),
            ),
        ] {
            let found = numbers.get(family, &labels) as u64;
            assert_eq!(found, count, "{family} {labels}");
        }
    }
}

/// Proves Q4 where it is counted: an event that nobody subscribed to is stored, and said so.
#[test]
fn an_event_without_a_subscriber_is_counted_and_its_publisher_told() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let answer = broker.publish(app, "agent.nobody", &json!({ "payload": 1 }));
    assert_eq!(answer.unwrap()["matched"], 0);
    let numbers = Numbers::of(&mut broker, app);
    let other = json!({ "class": "other" });
    assert_eq!(
        numbers.get("trunkline_events_unmatched_total", &other) as u64,
        1
    );
    assert_eq!(
        numbers.get("trunkline_events_stored_total", &other) as u64,
        1
    );
}

/// Proves O1: what waits for an instance that is down is counted, though it was never loaded.
#[test]
fn what_waits_for_an_instance_that_is_down_is_counted() {
    let mut broker = Broker::new();
    let app = broker.admin();
    broker.configure("mail/a");
    for id in ["one", "two", "three"] {
        out(&mut broker, app, id);
    }
    let numbers = Numbers::of(&mut broker, app);
    let mail = json!({ "plugin": "mail", "instance": "a" });
    assert_eq!(numbers.get("trunkline_events_pending", &mail) as u64, 3);
    assert_eq!(numbers.get("trunkline_instance_up", &mail) as u64, 0);
    let offline = json!({ "plugin": "mail", "instance": "a", "state": "offline" });
    assert_eq!(numbers.get("trunkline_subscriptions", &offline) as u64, 1);
}

/// Proves LN56: drops are exported by reason from 0 on, and counted when they happen.
#[test]
fn drops_are_there_from_zero_on() {
    let mut broker = Broker::new();
    let app = broker.admin();
    broker.configure("mail/a");
    let mail = |reason: &str| json!({ "plugin": "mail", "instance": "a", "reason": reason });
    let numbers = Numbers::of(&mut broker, app);
    for reason in [
        "expired",
        "hold",
        "purged",
        "deleted",
        "ephemeral_full",
        "ephemeral_unserved",
    ] {
        let count = numbers.get("trunkline_events_dropped_total", &mail(reason));
        assert_eq!(count as u64, 0, "{reason}");
    }
    let params = json!({ "topic": "plugin.outbound.mail.a", "event": {}, "ephemeral": true });
    broker.call(app, "broker.publish", &params).unwrap();
    let numbers = Numbers::of(&mut broker, app);
    let unserved = mail("ephemeral_unserved");
    assert_eq!(
        numbers.get("trunkline_events_dropped_total", &unserved) as u64,
        1
    );
}

/// Proves O2: when an account last brought something in, its last failure, and its state are in the status
/// and in the metrics.
#[test]
fn the_state_of_an_account_its_last_inbound_event_and_its_last_error_are_told() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let mail = json!({ "plugin": "mail", "instance": "a" });
    let before = broker.call(app, "admin.status", &json!({})).unwrap();
    assert!(before["instances"][0].get("last_inbound_at").is_none());
    broker.advance(1_000);
    broker
        .publish(plugin, "plugin.inbound.mail.a", &json!({ "payload": 1 }))
        .unwrap();
    broker.advance(1_000);
    let report = InstanceReport {
        state: InstanceState::BackingOff,
        reason: "exit status 3".into(),
        pid: None,
        restarts: 2,
        exit: None,
        next_start_ms: None,
    };
    broker.core.report(&InstanceKey::parse("mail/a"), report);
    broker.run();
    let status = broker.call(app, "admin.status", &json!({})).unwrap();
    let instance = &status["instances"][0];
    assert_eq!(instance["last_inbound_at"], "2025-06-15T15:06:41.000Z");
    assert_eq!(instance["last_error"], "exit status 3");
    assert_eq!(instance["last_error_at"], "2025-06-15T15:06:42.000Z");
    let numbers = Numbers::of(&mut broker, app);
    let get = |name: &str| numbers.get(name, &mail);
    assert_eq!(get("trunkline_instance_up") as u64, 0);
    assert_eq!(get("trunkline_instance_restarts_total") as u64, 2);
    let at = get("trunkline_instance_last_inbound_timestamp_seconds");
    assert_eq!(at as u64, 1_750_000_001);
    let state = |state: &str| {
        let labels = json!({ "plugin": "mail", "instance": "a", "state": state });
        numbers.get("trunkline_instance_state", &labels) as u64
    };
    assert_eq!((state("backing_off"), state("ready")), (1, 0));
}

/// Proves S2 for monitoring: whoever may read anything may read the numbers, nobody else.
#[test]
fn numbers_are_for_those_who_may_read() {
    let mut broker = Broker::new();
    let reader = broker.client("prometheus", &["read:agent.>"]);
    let writer = broker.client("writer", &["publish:agent.>"]);
    let plugin = broker.plugin("mail/a");
    Numbers::of(&mut broker, reader);
    for link in [writer, plugin] {
        let code = broker.refusal(link, "admin.metrics", &json!({}));
        assert_eq!(code, "unauthorized");
    }
    let code = broker.refusal(reader, "admin.status", &json!({}));
    assert_eq!(code, "unauthorized");
}

#[test]
fn every_metric_is_in_the_table_once_and_no_other_is_given() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    out(&mut broker, app, "one");
    settle(&mut broker, plugin, "ack");
    let numbers = Numbers::of(&mut broker, app);
    for (at, metric) in METRICS.iter().enumerate() {
        let more = &METRICS[at + 1..];
        assert!(more.iter().all(|other| other.name != metric.name));
    }
    for family in numbers.0["families"].as_array().unwrap() {
        let name = family["name"].as_str().unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name}");
    }
}

/// Proves O1, engines: ticks of pollers, ends of assemblies and lost connections are counted by instance.
#[test]
fn what_engines_do_is_counted_by_who_does_it() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    for name in ["engine.poll.mail", "engine.assemble.mail.x", "mine"] {
        let params = json!({ "name": name, "after_ms": 1_000 });
        broker.call(plugin, "timer.set", &params).unwrap();
    }
    let key = InstanceKey::parse("mail/a");
    for state in [
        InstanceState::Ready,
        InstanceState::Degraded,
        InstanceState::Degraded,
        InstanceState::Ready,
        InstanceState::Degraded,
    ] {
        let report = InstanceReport {
            state,
            reason: format!("{state:?}"),
            pid: None,
            restarts: 0,
            exit: None,
            next_start_ms: None,
        };
        broker.core.report(&key, report);
    }
    broker.advance(1_000);
    let numbers = Numbers::of(&mut broker, app);
    let of = json!({ "plugin": "mail", "instance": "a" });
    assert_eq!(
        numbers.get("trunkline_instance_degraded_total", &of) as u64,
        2
    );
    for engine in ["poll", "assemble", "none"] {
        let of = json!({ "plugin": "mail", "instance": "a", "engine": engine });
        assert_eq!(numbers.get("trunkline_timers_fired_total", &of) as u64, 1);
    }
}

/// Proves O1, delivery by state: each receipt that is stored counts for its instance, its kind and its state, also
/// one that the broker says for an instance; a repeat of one counts once.
#[test]
fn receipts_are_counted_by_what_they_say() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let labels =
        |state: &str| json!({ "plugin": "mail", "instance": "a", "kind": "mail", "state": state });
    let count = |broker: &mut Broker, state: &str| {
        Numbers::of(broker, app).get("trunkline_receipts_total", &labels(state)) as u64
    };
    assert_eq!(count(&mut broker, "delivered"), 0);
    for (id, state) in [
        ("1", "sent"),
        ("2", "sent"),
        ("2", "sent"),
        ("3", "delivered"),
        ("4", "lost"),
    ] {
        let receipt = json!({ "id": id, "payload": { "state": state, "provider_id": "SM1" } });
        broker
            .publish(plugin, "plugin.delivery.mail.a", &receipt)
            .unwrap();
    }
    let event = json!({ "id": "late", "expires_at": "2000-01-01T00:00:00Z", "payload": 1 });
    broker
        .publish(app, "plugin.outbound.mail.a", &event)
        .unwrap();
    for (state, expected) in [
        ("queued", 0),
        ("sent", 2),
        ("delivered", 1),
        ("read", 0),
        ("failed", 1),
        ("unknown", 0),
        ("other", 1),
    ] {
        assert_eq!(count(&mut broker, state), expected, "{state}");
    }
}
