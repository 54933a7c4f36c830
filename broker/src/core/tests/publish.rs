//! Publishing: what is stamped, what is refused, what is answered when.

use serde_json::json;

use super::driver::Broker;

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
