//! What is kept and for how long; what happens when there is no room.

use serde_json::{Value, json};

use super::driver::{Broker, options};
use crate::core::Retention;
use crate::router::LinkId;
use crate::store::memory::MemoryOptions;
use crate::store::{ReadLimit, Store};
use trunkline_contract::topic::Filter;

const HOUR_MS: u64 = 3_600_000;

fn broker(change: impl FnOnce(&mut Retention)) -> Broker {
    let mut options = options();
    change(&mut options.retention);
    Broker::with(options, MemoryOptions::default(), 5)
}

fn fill(broker: &mut Broker, link: LinkId, topic: &str, count: usize, bytes: usize) {
    for _ in 0..count {
        let event = json!({ "payload": "x".repeat(bytes) });
        broker.publish(link, topic, &event).unwrap();
    }
}

fn kept(broker: &Broker, topic: &str) -> usize {
    let mut reader = broker.store.reader().unwrap();
    let limit = ReadLimit {
        events: usize::MAX,
        bytes: usize::MAX,
        scanned: usize::MAX,
    };
    let filters = [Filter::parse(topic).unwrap()];
    reader.events(0, &filters, limit).unwrap().events.len()
}

/// Proves O7 for the log: what is older than its age goes, and what comes is kept.
#[test]
fn events_older_than_their_age_are_forgotten() {
    let mut broker = broker(|retention| retention.events_age_ms = HOUR_MS);
    let app = broker.client("app", &["publish:agent.>"]);
    fill(&mut broker, app, "agent.a", 300, 10);
    broker.advance(HOUR_MS / 2);
    fill(&mut broker, app, "agent.a", 50, 10);
    assert_eq!(kept(&broker, "agent.>"), 350);
    broker.advance(HOUR_MS / 2 + 5_000);
    assert_eq!(kept(&broker, "agent.>"), 50);
}

/// Proves O7 for the log: above its bytes the oldest events go.
#[test]
fn events_above_the_bytes_are_forgotten_oldest_first() {
    let mut broker = broker(|retention| retention.events_bytes = 200_000);
    let app = broker.client("app", &["publish:agent.>"]);
    fill(&mut broker, app, "agent.a", 1000, 1000);
    broker.advance(3_000);
    let facts = broker.store.reader().unwrap().facts().unwrap();
    assert!(facts.event_bytes <= 200_000, "{} bytes", facts.event_bytes);
    assert!(facts.event_bytes > 150_000, "{} bytes", facts.event_bytes);
    assert!(facts.tail > 500);
}

#[test]
fn what_a_subscription_holds_stays_until_it_lets_go() {
    let mut broker = broker(|retention| {
        retention.events_age_ms = HOUR_MS;
        retention.hold_age_ms = 100 * HOUR_MS;
    });
    let app = broker.admin();
    broker.configure("mail/a");
    fill(&mut broker, app, "plugin.outbound.mail.a", 20, 10);
    fill(&mut broker, app, "agent.other", 20, 10);
    broker.advance(3 * HOUR_MS);
    assert_eq!(kept(&broker, "plugin.outbound.>"), 20);
    assert_eq!(kept(&broker, "agent.>"), 0);
    broker.restart();
    broker.configure("mail/a");
    broker.advance(120_000);
    assert_eq!(kept(&broker, "plugin.outbound.>"), 20);
    let plugin = broker.plugin("mail/a");
    let events = broker.take(plugin, "broker.event");
    assert_eq!(events.len(), 20);
    broker.restart();
    broker.configure("mail/a");
    broker.advance(120_000);
    assert_eq!(
        kept(&broker, "plugin.outbound.>"),
        20,
        "leased is not settled"
    );
    let plugin = broker.plugin("mail/a");
    for event in broker.take(plugin, "broker.event") {
        let ack = json!({ "deliveries": [event["delivery"]["id"]] });
        broker.call(plugin, "broker.ack", &ack).unwrap();
    }
    broker.advance(120_000);
    assert_eq!(kept(&broker, "plugin.outbound.>"), 0);
}

fn subscribe(broker: &mut Broker, link: LinkId, more: &Value) {
    let mut ask = json!({ "name": "mine", "filters": ["agent.mine"], "start": "earliest" });
    for (key, value) in more.as_object().unwrap() {
        ask[key] = value.clone();
    }
    broker.call(link, "broker.subscribe", &ask).unwrap();
}

#[test]
fn a_subscription_that_holds_for_too_long_is_told_of_a_gap() {
    let mut broker = broker(|_| {});
    let app = broker.admin();
    subscribe(&mut broker, app, &json!({ "hold": { "age_ms": HOUR_MS } }));
    broker.detach(app);
    let app = broker.admin();
    fill(&mut broker, app, "agent.mine", 7, 10);
    fill(&mut broker, app, "agent.other", 7, 10);
    broker.advance(HOUR_MS / 2);
    fill(&mut broker, app, "agent.mine", 2, 10);
    broker.advance(HOUR_MS / 2 + 60_000);
    let status = broker.call(app, "admin.status", &json!({})).unwrap();
    assert_eq!(status["counters"]["events_skipped"], 7);
    broker.restart();
    let app = broker.admin();
    subscribe(&mut broker, app, &json!({ "hold": { "age_ms": HOUR_MS } }));
    let gaps = broker.take(app, "broker.gap");
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["count"], 7);
    let status = broker.call(app, "admin.status", &json!({})).unwrap();
    assert_eq!(status["subscriptions"][0]["state"], "lagging");
    let doctor = broker.call(app, "admin.doctor", &json!({})).unwrap();
    assert_eq!(doctor["findings"][0]["code"], "subscription_lagging");
    let ack = json!({ "deliveries": [gaps[0]["delivery"]["id"]] });
    let settled = broker.call(app, "broker.ack", &ack).unwrap();
    assert_eq!(settled["stale"], json!([]));
    assert_eq!(broker.take(app, "broker.event").len(), 2);
    broker.advance(100);
    broker.restart();
    let app = broker.admin();
    subscribe(&mut broker, app, &json!({}));
    assert!(broker.take(app, "broker.gap").is_empty());
}

#[test]
fn a_subscription_that_holds_too_many_bytes_loses_its_oldest_only() {
    let mut broker = broker(|_| {});
    let app = broker.admin();
    let hold = json!({ "hold": { "bytes": 50_000 } });
    subscribe(&mut broker, app, &hold);
    broker.detach(app);
    for _ in 0..3 {
        let app = broker.admin();
        fill(&mut broker, app, "agent.mine", 40, 1000);
        // Time enough for every subscription's turn.
        broker.advance(20_000);
        broker.restart();
    }
    let app = broker.admin();
    subscribe(&mut broker, app, &hold);
    let gaps = broker.take(app, "broker.gap");
    let events = broker.take(app, "broker.event");
    assert_eq!(
        gaps[0]["count"].as_u64().unwrap() as usize + events.len(),
        120
    );
    let bytes: usize = events.iter().map(|e| e["event"].to_string().len()).sum();
    assert!((40_000..=50_500).contains(&bytes), "{bytes} bytes are held");
    assert!(events[0]["delivery"]["id"].is_string());
}

#[test]
fn a_client_subscription_that_nobody_serves_holds_nothing_in_the_end() {
    let mut broker = broker(|retention| retention.events_age_ms = HOUR_MS);
    let app = broker.admin();
    subscribe(&mut broker, app, &json!({ "expire_ms": 4 * HOUR_MS }));
    // Served for long: the time counts from its end, also over a restart.
    broker.advance(6 * HOUR_MS);
    broker.restart();
    let app = broker.client("app", &["publish:agent.>"]);
    fill(&mut broker, app, "agent.mine", 5, 10);
    broker.advance(2 * HOUR_MS);
    assert_eq!(kept(&broker, "agent.mine"), 5);
    broker.advance(2 * HOUR_MS + 120_000);
    assert_eq!(kept(&broker, "agent.mine"), 0);
    let admin = broker.admin();
    let status = broker.call(admin, "admin.status", &json!({})).unwrap();
    assert_eq!(status["subscriptions"][0]["state"], "expired");
    subscribe(&mut broker, admin, &json!({}));
    let gaps = broker.take(admin, "broker.gap");
    assert_eq!(gaps[0]["count"], 5);
}

/// Proves O7: at a full disk publishes are refused with a typed error, while settlements, dead letters and
/// deletions still work.
#[test]
fn a_full_disk_refuses_publishes_and_nothing_else() {
    let mut broker = broker(|_| {});
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    fill(&mut broker, app, "plugin.outbound.mail.a", 3, 10);
    broker.core.set_disk(86.0);
    let doctor = broker.call(app, "admin.doctor", &json!({})).unwrap();
    assert_eq!(doctor["findings"][0]["code"], "disk_nearly_full");
    broker.core.set_disk(92.5);
    let event = json!({ "topic": "agent.a", "event": { "payload": 1 } });
    let error = broker.call(app, "broker.publish", &event).unwrap_err();
    assert_eq!(error["data"]["code"], "storage_full");
    assert!(error["data"]["retry_after_ms"].is_u64());
    let put = json!({ "scope": "instance", "key": "k", "value": 1 });
    assert_eq!(broker.refusal(plugin, "kv.put", &put), "storage_full");
    let events = broker.take(plugin, "broker.event");
    let ack = json!({ "deliveries": [events[0]["delivery"]["id"]] });
    broker.call(plugin, "broker.ack", &ack).unwrap();
    let reject = json!({ "deliveries": [events[1]["delivery"]["id"]] });
    broker.call(plugin, "broker.reject", &reject).unwrap();
    broker.advance(100);
    let dead = broker.call(app, "admin.dlq.list", &json!({})).unwrap();
    assert_eq!(dead["total"], 1);
    let delete = json!({ "scope": "instance", "key": "k" });
    broker.call(plugin, "kv.delete", &delete).unwrap();
    let doctor = broker.call(app, "admin.doctor", &json!({})).unwrap();
    assert_eq!(doctor["findings"][0]["code"], "disk_full");
    broker.core.set_disk(50.0);
    broker.call(app, "broker.publish", &event).unwrap();
}

#[test]
fn the_store_has_a_size_of_its_own_that_counts_like_a_disk() {
    let mut broker = broker(|retention| retention.store_bytes_max = Some(100_000));
    let app = broker.client("app", &["publish:agent.>"]);
    fill(&mut broker, app, "agent.a", 95, 1000);
    broker.advance(2_000);
    let event = json!({ "topic": "agent.a", "event": { "payload": 1 } });
    assert_eq!(
        broker.refusal(app, "broker.publish", &event),
        "storage_full"
    );
}
