//! What is private to operators reaches a plugin only where a grant names it.

use serde_json::{Value, json};
use trunkline_contract::topic::Filter;

use super::driver::Broker;
use crate::router::LinkId;

/// Takes what the plugin was handed, settles it, and gives the topics.
fn topics(broker: &mut Broker, plugin: LinkId) -> Vec<String> {
    let events = broker.take(plugin, "broker.event");
    let deliveries: Vec<&Value> = events
        .iter()
        .map(|event| &event["delivery"]["id"])
        .collect();
    let deliveries: Vec<&&Value> = deliveries.iter().filter(|id| id.is_string()).collect();
    let params = json!({ "deliveries": deliveries });
    broker.call(plugin, "broker.ack", &params).unwrap();
    events
        .iter()
        .map(|event| event["topic"].as_str().unwrap().to_owned())
        .collect()
}

/// Makes a lifecycle event and a dead-letter advisory of another instance, and an ordinary event.
fn happen(broker: &mut Broker, admin: LinkId, other: LinkId) {
    let params = json!({ "state": "degraded", "reason": "x" });
    broker.call(other, "instance.status", &params).unwrap();
    let key = crate::instance::InstanceKey::parse("other/b");
    let report = broker.core.instances[&key].report.clone();
    broker.core.report(&key, report);
    broker.run();
    let event = json!({ "payload": 1 });
    broker
        .publish(admin, "plugin.outbound.other.b", &event)
        .unwrap();
    let taken = broker.take(other, "broker.event");
    let params = json!({ "deliveries": [taken[0]["delivery"]["id"]] });
    broker.call(other, "broker.reject", &params).unwrap();
    broker.publish(admin, "agent.done", &event).unwrap();
    broker.advance(20);
}

fn granted(filter: &str) -> Broker {
    let mut broker = Broker::new();
    broker.granted = vec![Filter::parse(filter).unwrap()];
    broker
}

/// Proves W12: a plugin that may receive `>` gets everything but what needs `admin`: live, as it passes,
/// read later, and after the broker was killed.
#[test]
fn a_wildcard_of_a_plugin_does_not_reach_what_is_private() {
    let expected = ["plugin.outbound.other.b", "agent.done"];
    let mut broker = granted(">");
    let admin = broker.admin();
    let plugin = broker.plugin("mail/a");
    let other = broker.plugin("other/b");
    topics(&mut broker, plugin);
    happen(&mut broker, admin, other);
    assert_eq!(topics(&mut broker, plugin), expected);

    broker.detach(plugin);
    happen(&mut broker, admin, other);
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    let subscriptions = status["subscriptions"].as_array().unwrap();
    let waits = subscriptions
        .iter()
        .find(|sub| sub["name"] == "instance.mail.a");
    assert_eq!(
        waits.unwrap()["pending"],
        2,
        "what it will not get does not wait"
    );
    broker.restart();
    let plugin = broker.plugin("mail/a");
    assert_eq!(topics(&mut broker, plugin), expected);

    for filter in ["plugin.lifecycle.>", "plugin.dead.*"] {
        let ask = json!({ "name": "more", "filters": [filter] });
        let code = broker.refusal(plugin, "broker.subscribe", &ask);
        assert_eq!(code, "topic_not_granted");
    }
    let ask = json!({ "name": "more", "filters": ["plugin.>"], "start": "earliest" });
    broker.call(plugin, "broker.subscribe", &ask).unwrap();
    let read = topics(&mut broker, plugin);
    assert!(read.len() >= 2 && !read.iter().any(|topic| topic.contains("lifecycle")));
}

#[test]
fn a_grant_that_names_what_is_private_gives_it() {
    let mut broker = granted("plugin.lifecycle.>");
    let admin = broker.admin();
    let plugin = broker.plugin("mail/a");
    let other = broker.plugin("other/b");
    topics(&mut broker, plugin);
    happen(&mut broker, admin, other);
    let read = topics(&mut broker, plugin);
    assert!(!read.is_empty() && read.iter().all(|topic| topic == "plugin.lifecycle.other.b"));
}
