//! What operators see, and who may ask.

use serde_json::{Value, json};
use trunkline_contract::rpc::InstanceState;

use super::driver::Broker;
use crate::core::InstanceReport;
use crate::instance::InstanceKey;

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let list = list.as_array().unwrap();
    list.iter()
        .find(|item| item["name"] == name || item["code"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list:?}"))
}

/// Proves L13: the state of an instance, its reason and its beginning are in the status and on its
/// lifecycle topic.
#[test]
fn every_state_of_an_instance_shows_in_status_and_on_its_topic() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let ask = json!({ "name": "life", "filters": ["plugin.lifecycle.>"] });
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let key = InstanceKey::parse("mail/a");
    broker.configure("mail/a");
    for (state, text) in [
        (InstanceState::Starting, "starting"),
        (InstanceState::Ready, "ready"),
        (InstanceState::Degraded, "degraded"),
        (InstanceState::NeedsAuth, "needs_auth"),
        (InstanceState::BackingOff, "backing_off"),
        (InstanceState::Failed, "failed"),
        (InstanceState::Disabled, "disabled"),
    ] {
        broker.advance(10);
        broker.core.report(
            &key,
            InstanceReport {
                state,
                reason: format!("because {text}"),
                pid: None,
                restarts: 3,
                exit: None,
                next_start_ms: None,
            },
        );
        broker.run();
        let status = broker.call(admin, "admin.status", &json!({})).unwrap();
        let instance = &status["instances"][0];
        assert_eq!(instance["state"], text);
        assert_eq!(instance["reason"], format!("because {text}"));
        assert_eq!(instance["restarts"], 3);
        let events = broker.take(admin, "broker.event");
        assert_eq!(events[0]["topic"], "plugin.lifecycle.mail.a");
        assert_eq!(events[0]["event"]["payload"]["state"], text);
        assert_eq!(events[0]["event"]["payload"]["since"], instance["since"]);
        let ack = json!({ "deliveries": [events[0]["delivery"]["id"]] });
        broker.call(admin, "broker.ack", &ack).unwrap();
    }
}

/// Proves Q4: a publish that nobody subscribed to says so, is kept, counted and shown by doctor.
/// Proves P8d: so is what came in by an account and is routed to nobody.
#[test]
fn a_publish_without_a_subscriber_is_kept_and_told_to_everybody_who_asks() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let event = json!({ "payload": "nobody hears" });
    let answer = broker.publish(admin, "agent.lonely", &event).unwrap();
    assert_eq!(answer["matched"], 0);
    let inbound = "plugin.inbound.mail.sales";
    let answer = broker.publish(admin, inbound, &event).unwrap();
    assert_eq!(answer["matched"], 0);
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    assert_eq!(status["counters"]["events_unmatched"], 2);
    let doctor = broker.call(admin, "admin.doctor", &json!({})).unwrap();
    let findings = doctor["findings"].as_array().unwrap().iter();
    let texts: Vec<&str> = findings
        .filter(|finding| finding["code"] == "events_unmatched")
        .filter(|finding| finding["severity"] == "warning")
        .map(|finding| finding["text"].as_str().unwrap())
        .collect();
    for topic in ["agent.lonely", inbound] {
        assert!(texts.iter().any(|text| text.contains(topic)), "{texts:?}");
    }
    let ask = json!({ "name": "late", "filters": ["agent.>"], "start": "earliest" });
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let events = broker.take(admin, "broker.event");
    assert_eq!(events[0]["event"]["payload"], "nobody hears");
}

/// Proves X6: a healthy broker has no findings: receipts, answers and the broker's own records that nobody reads are
/// no faults.
#[test]
fn what_is_there_for_whoever_asks_is_no_finding() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let link = broker.plugin("mail/a");
    let sent = json!({ "id": "asked", "payload": { "text": "hi" } });
    let asked = broker
        .publish(admin, "plugin.outbound.mail.a", &sent)
        .unwrap();
    assert_eq!(asked["matched"], 1);
    let answer = json!({ "correlation_id": "asked", "payload": { "text": "hi" } });
    let receipt = json!({ "correlation_id": "asked", "payload": { "state": "sent" } });
    for (topic, event) in [
        ("plugin.inbound.mail.a", &answer),
        ("plugin.delivery.mail.a", &receipt),
    ] {
        assert_eq!(broker.publish(link, topic, event).unwrap()["matched"], 0);
    }
    let nothing = json!({ "id": "no-such-letter" });
    broker.refusal(admin, "admin.dlq.discard", &nothing);
    let doctor = broker.call(admin, "admin.doctor", &json!({})).unwrap();
    let findings = doctor["findings"].as_array().unwrap().iter();
    let unmatched: Vec<_> = findings
        .filter(|finding| finding["code"] == "events_unmatched")
        .collect();
    assert!(unmatched.is_empty(), "{unmatched:?}");
}

#[test]
fn status_counts_what_waits_for_whom() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let key = broker.configure("mail/a");
    for index in 0..5 {
        let event = json!({ "payload": index });
        broker
            .publish(admin, "plugin.outbound.mail.a", &event)
            .unwrap();
        broker.publish(admin, "agent.other", &event).unwrap();
    }
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    let sub = named(&status["subscriptions"], "instance.mail.a");
    assert_eq!(
        (&sub["pending"], &sub["state"]),
        (&json!(5), &json!("idle"))
    );
    assert_eq!(status["instances"][0]["pending"], 5);
    assert_eq!(
        status["clients"],
        json!([{ "name": "operator", "links": 1 }])
    );
    assert_eq!(status["store"]["kind"], "memory");
    let doctor = broker.call(admin, "admin.doctor", &json!({})).unwrap();
    named(&doctor["findings"], "subscription_offline");
    named(&doctor["findings"], "instance_not_ready");
    let link = broker.plugin(&key.to_string());
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    let sub = named(&status["subscriptions"], "instance.mail.a");
    assert_eq!((&sub["in_flight"], &sub["members"]), (&json!(5), &json!(1)));
    let events = broker.take(link, "broker.event");
    assert_eq!(events.len(), 5);

    broker.advance(3_000);
    let oldest = |broker: &mut Broker| {
        let status = broker.call(admin, "admin.status", &json!({})).unwrap();
        let sub = named(&status["subscriptions"], "instance.mail.a")["oldest_ms"].clone();
        assert_eq!(status["instances"][0]["oldest_ms"], sub);
        sub
    };
    assert_eq!(oldest(&mut broker), 3_000);
    let event = json!({ "payload": 5 });
    broker
        .publish(admin, "plugin.outbound.mail.a", &event)
        .unwrap();
    let ids: Vec<_> = events
        .iter()
        .map(|event| &event["delivery"]["id"])
        .collect();
    broker
        .call(link, "broker.ack", &json!({ "deliveries": ids }))
        .unwrap();
    broker.advance(20);
    assert_eq!(oldest(&mut broker), 20, "the oldest that is left");
}

#[test]
fn whoever_has_not_the_admin_scope_is_refused() {
    let mut broker = Broker::new();
    let client = broker.client("app", &["read:>", "publish:>", "kv:"]);
    let plugin = broker.plugin("mail/a");
    for link in [client, plugin] {
        for method in [
            "admin.status",
            "admin.dlq.list",
            "admin.shutdown",
            "admin.tail",
        ] {
            assert_eq!(broker.refusal(link, method, &json!({})), "unauthorized");
        }
        let info = broker.call(link, "system.info", &json!({})).unwrap();
        assert_eq!(info["protocol"]["max"], "1.0");
    }
}

#[test]
fn what_belongs_to_the_control_plane_is_passed_on_and_answered() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let params = json!({ "plugin": "mail" });
    let id = broker.request(admin, "admin.plugins.restart", &params);
    let control = broker.controls.pop().unwrap();
    assert_eq!(control.method, "admin.plugins.restart");
    let answer = serde_json::value::to_raw_value(&json!({ "restarted": 1 })).unwrap();
    broker
        .core
        .respond(control.link, control.id.as_deref(), Ok(answer));
    broker.run();
    assert_eq!(broker.answer(admin, id).unwrap().unwrap()["restarted"], 1);
}

/// Proves W12: what a plugin may publish and receive follows from its grants; beyond them is a typed
/// error, a counter and one lifecycle event.
#[test]
fn a_plugin_publishes_and_receives_what_it_was_granted_only() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let ask = json!({ "name": "life", "filters": ["plugin.lifecycle.>"] });
    let link = broker.plugin("mail/a");
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let event = json!({ "payload": {} });
    for topic in ["plugin.inbound.mail.a", "plugin.delivery.mail.a"] {
        broker.publish(link, topic, &event).unwrap();
    }
    for topic in [
        "agent.x",
        "plugin.inbound.chat.b",
        "plugin.lifecycle.mail.a",
    ] {
        let params = json!({ "topic": topic, "event": event });
        assert_eq!(
            broker.refusal(link, "broker.publish", &params),
            "topic_not_granted"
        );
    }
    for filter in ["agent.>", "plugin.outbound.>", ">"] {
        let ask = json!({ "name": "more", "filters": [filter] });
        assert_eq!(
            broker.refusal(link, "broker.subscribe", &ask),
            "topic_not_granted"
        );
    }
    broker.advance(20_000);
    let doctor = broker.call(admin, "admin.doctor", &json!({})).unwrap();
    let finding = named(&doctor["findings"], "publishes_refused");
    assert!(finding["text"].as_str().unwrap().contains("mail/a"));
    let told = broker.take(admin, "broker.event");
    let rejected = &told[0]["event"]["payload"]["rejected"];
    assert_eq!(rejected["code"], "topic_not_granted");
}
