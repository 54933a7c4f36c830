//! A failed attempt is seen by whoever looks: in the instance's log and in `doctor`.

use serde_json::{Value, json};

use super::driver::{Broker, options};
use crate::router::LinkId;
use crate::store::memory::MemoryOptions;

/// Publishes one event to the instance and gives its delivery.
fn deliver(broker: &mut Broker, app: LinkId, plugin: LinkId) -> Value {
    let event = json!({ "id": "the-event", "payload": 1 });
    broker
        .publish(app, "plugin.outbound.mail.a", &event)
        .unwrap();
    next(broker, plugin)
}

fn next(broker: &mut Broker, plugin: LinkId) -> Value {
    let events = broker.take(plugin, "broker.event");
    assert_eq!(events.len(), 1, "one event comes");
    events[0]["delivery"]["id"].clone()
}

fn nak(broker: &mut Broker, plugin: LinkId, delivery: &Value) {
    let error = json!({
        "type": "ValueError", "message": "no such\nchannel",
        "traceback": "Traceback (most recent call last):\n  File \"a.py\", line 1, in run\n    \
                      f()\n  File \"b.py\", line 7, in f\nValueError: no such channel",
    });
    let params = json!({ "deliveries": [delivery], "error": error });
    broker.call(plugin, "broker.nak", &params).unwrap();
}

fn said(broker: &mut Broker) -> Vec<(String, String)> {
    let lines = std::mem::take(&mut broker.logs).into_iter();
    lines
        .inspect(|line| assert!(line.is_brokers && line.key.to_string() == "mail/a"))
        .map(|line| (line.level, line.message))
        .collect()
}

fn failing(broker: &mut Broker, admin: LinkId) -> Option<Value> {
    let doctor = broker.call(admin, "admin.doctor", &json!({})).unwrap();
    let findings = doctor["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["code"] == "events_failing");
    found.cloned()
}

/// Proves P7d, alert: a dead letter is an error in the log of its instance when it is made, and a finding until
/// somebody decides about it.
#[test]
fn each_failed_attempt_is_one_line_in_the_log_of_its_instance() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let mut delivery = deliver(&mut broker, app, plugin);
    assert_eq!(failing(&mut broker, app), None);
    broker.logs.clear();
    for attempt in 1..6 {
        nak(&mut broker, plugin, &delivery);
        let text = format!(
            "event the-event on plugin.outbound.mail.a failed, attempt {attempt} of 6: \
             ValueError: no such channel (File \"b.py\", line 7, in f)"
        );
        assert_eq!(said(&mut broker), [("warn".to_owned(), text.clone())]);
        let found = failing(&mut broker, app).expect("it waits for another try");
        let shown = found["text"].as_str().unwrap();
        assert!(shown.contains(&text) && shown.contains("mail/a failed: 1 events wait"));
        delivery = loop {
            broker.advance(1_000);
            let events = broker.take(plugin, "broker.event");
            if let Some(event) = events.first() {
                break event["delivery"]["id"].clone();
            }
        };
    }
    nak(&mut broker, plugin, &delivery);
    let lines = said(&mut broker);
    assert_eq!((lines.len(), lines[0].0.as_str()), (1, "error"));
    let last = "attempt 6 of 6, and is a dead letter (delivery_limit): ValueError";
    assert!(lines[0].1.contains(last), "{lines:?}");
    broker.advance(20);
    let found = failing(&mut broker, app).expect("it is a dead letter");
    assert!(found["text"].as_str().unwrap().contains("1 are dead"));
    let params = json!({ "all": true });
    broker.call(app, "admin.dlq.discard", &params).unwrap();
    broker.advance(20);
    assert_eq!(failing(&mut broker, app), None, "nothing is left of it");
}

#[test]
fn rejects_commits_and_leases_that_run_out_are_told_too_and_not_now_is_not() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    broker.logs.clear();

    let delivery = deliver(&mut broker, app, plugin);
    let params = json!({ "deliveries": [delivery], "counted": false, "reason": "busy" });
    broker.call(plugin, "broker.nak", &params).unwrap();
    assert_eq!(said(&mut broker), [], "not now is no failure");
    broker.advance(2_000);

    let delivery = next(&mut broker, plugin);
    let params = json!({ "nak": [{ "delivery": delivery, "reason": "no room" }] });
    broker.call(plugin, "broker.commit", &params).unwrap();
    let lines = said(&mut broker);
    assert!(lines[0].0 == "warn" && lines[0].1.ends_with("attempt 1 of 6: no room"));
    broker.advance(2_000);

    next(&mut broker, plugin);
    broker.advance(30_001);
    let lines = said(&mut broker);
    assert!(
        lines[0]
            .1
            .contains("attempt 2 of 6: the lease of 30000 ms ran out")
    );
    broker.advance(10_000);

    let delivery = next(&mut broker, plugin);
    let params = json!({ "reject": [{ "delivery": delivery, "reason": "never" }] });
    broker.call(plugin, "broker.commit", &params).unwrap();
    let lines = said(&mut broker);
    let end = "was rejected at attempt 3 and is a dead letter: never";
    assert!(
        lines[0].0 == "error" && lines[0].1.ends_with(end),
        "{lines:?}"
    );

    let event = json!({ "id": "another", "payload": 2 });
    broker
        .publish(app, "plugin.outbound.mail.a", &event)
        .unwrap();
    let delivery = next(&mut broker, plugin);
    let params = json!({ "deliveries": [delivery], "code": "bad", "reason": "cannot parse" });
    broker.call(plugin, "broker.reject", &params).unwrap();
    let lines = said(&mut broker);
    assert_eq!(lines.len(), 1);
    let end = "was rejected at attempt 1 and is a dead letter: cannot parse";
    assert!(
        lines[0].0 == "error" && lines[0].1.ends_with(end),
        "{lines:?}"
    );
}

#[test]
fn what_failed_before_the_broker_was_killed_is_still_known_to_doctor() {
    let mut broker = Broker::with(options(), MemoryOptions::default(), 3);
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let delivery = deliver(&mut broker, app, plugin);
    nak(&mut broker, plugin, &delivery);
    broker.advance(20);
    broker.restart();
    let app = broker.admin();
    broker.configure("mail/a");
    let found = failing(&mut broker, app).expect("its row is durable");
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("ValueError: no such channel"), "{text}");
}

#[test]
fn a_secret_in_an_error_is_shown_nowhere() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let key = crate::instance::InstanceKey::parse("mail/a");
    let setup = &mut broker.core.instances.get_mut(&key).unwrap().setup;
    setup.secrets.insert("token".into(), "hunter2".into());
    broker.logs.clear();
    let delivery = deliver(&mut broker, app, plugin);
    let params = json!({ "deliveries": [delivery], "reason": "401 for hunter2" });
    broker.call(plugin, "broker.nak", &params).unwrap();
    assert!(said(&mut broker)[0].1.ends_with("401 for ***"));
    let found = failing(&mut broker, app).unwrap();
    assert!(!found.to_string().contains("hunter2"));
}

#[test]
fn a_client_that_fails_is_named_by_doctor() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let ask = json!({ "name": "work", "filters": ["agent.>"] });
    broker.call(app, "broker.subscribe", &ask).unwrap();
    let event = json!({ "payload": 1 });
    broker.publish(app, "agent.task", &event).unwrap();
    let delivery = next(&mut broker, app);
    let params = json!({ "deliveries": [delivery], "reason": "no idea" });
    broker.call(app, "broker.nak", &params).unwrap();
    let found = failing(&mut broker, app).unwrap();
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("client operator") && text.ends_with("attempt 1 of 6: no idea"));
    assert_eq!(broker.logs.len(), 0);
}
