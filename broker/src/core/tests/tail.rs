//! Tails: what is kept, then what comes, never more than the link takes.

use serde_json::{Value, json};

use super::driver::Broker;

fn seqs(events: &[Value]) -> Vec<u64> {
    let seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b));
    seqs
}

#[test]
fn a_tail_shows_what_is_kept_and_then_what_comes() {
    let mut broker = Broker::new();
    let app = broker.client("app", &["publish:agent.>"]);
    for index in 0..3 {
        broker
            .publish(app, "agent.a", &json!({ "payload": index }))
            .unwrap();
        broker
            .publish(app, "agent.b", &json!({ "payload": index }))
            .unwrap();
    }
    broker.restart();
    let admin = broker.admin();
    let app = broker.client("app", &["publish:agent.>"]);
    let tail = json!({ "filters": ["agent.a"], "start": "earliest" });
    broker.call(admin, "admin.tail", &tail).unwrap();
    broker
        .publish(app, "agent.a", &json!({ "payload": "live" }))
        .unwrap();
    let events = broker.take(admin, "admin.event");
    assert_eq!(seqs(&events).len(), 4);
    assert_eq!(events[3]["event"]["payload"], "live");
    assert_eq!(events[0]["topic"], "agent.a");
    let again = broker.refusal(admin, "admin.tail", &tail);
    assert_eq!(again, "invalid_arguments");
    broker.call(admin, "admin.tail.end", &json!({})).unwrap();
    broker
        .publish(app, "agent.a", &json!({ "payload": "unseen" }))
        .unwrap();
    assert!(broker.take(admin, "admin.event").is_empty());
}

#[test]
fn a_tail_begins_at_a_time_and_ends_at_its_limit() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    for index in 0..5 {
        broker
            .publish(admin, "agent.a", &json!({ "payload": index }))
            .unwrap();
        broker.advance(1000);
    }
    let at = trunkline_contract::envelope::rfc3339(super::driver::START_MS + 2000);
    let tail = json!({ "start": { "time": at }, "limit": 2 });
    broker.call(admin, "admin.tail", &tail).unwrap();
    let events = broker.take(admin, "admin.event");
    let payloads: Vec<_> = events.iter().map(|e| &e["event"]["payload"]).collect();
    assert_eq!(payloads, [&json!(2), &json!(3)]);
    broker.call(admin, "admin.tail", &json!({})).unwrap();
}

#[test]
fn a_tail_of_a_link_that_does_not_read_costs_no_memory_and_misses_nothing() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let app = broker.client("app", &["publish:agent.>"]);
    broker
        .call(admin, "admin.tail", &json!({ "filters": ["agent.>"] }))
        .unwrap();
    broker.stall(admin, true);
    let event = json!({ "payload": "x".repeat(100_000) });
    for _ in 0..60 {
        broker.publish(app, "agent.a", &event).unwrap();
    }
    let waiting = broker.core.outbox(admin).unwrap().len();
    assert!(waiting < 2 << 20, "{waiting} bytes wait");
    broker.stall(admin, false);
    assert_eq!(seqs(&broker.take(admin, "admin.event")).len(), 60);
}
