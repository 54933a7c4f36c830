//! Dead letters: moved, listed, replayed, discarded, bounded.

use serde_json::{Value, json};

use super::driver::{Broker, options};
use crate::router::LinkId;
use crate::store::memory::MemoryOptions;

/// Publishes `count` events to the instance and rejects each.
fn reject(broker: &mut Broker, app: LinkId, plugin: LinkId, payloads: &[Value]) {
    for payload in payloads {
        let event = json!({ "payload": payload, "session_id": "s" });
        broker
            .publish(app, "plugin.outbound.mail.a", &event)
            .unwrap();
        let events = broker.take(plugin, "broker.event");
        let reject = json!({
            "deliveries": [events[0]["delivery"]["id"]], "code": "bad", "reason": "cannot parse",
        });
        broker.call(plugin, "broker.reject", &reject).unwrap();
        broker.advance(20);
    }
}

fn list(broker: &mut Broker, admin: LinkId) -> Vec<Value> {
    let page = broker.call(admin, "admin.dlq.list", &json!({})).unwrap();
    let letters = page["letters"].as_array().unwrap().clone();
    assert_eq!(page["total"], letters.len());
    letters
}

/// Proves Q5: a dead letter and the end of its delivery are one step, a replay and the end of the dead
/// letter too, and a replay is delivered at once.
#[test]
fn a_dead_letter_is_moved_and_replayed_in_one_step_each() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    reject(&mut broker, app, plugin, &[json!("first"), json!("second")]);
    let letters = list(&mut broker, app);
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["reason"], "rejected");
    assert_eq!(letters[0]["code"], "bad");
    assert_eq!(letters[0]["last_error"]["message"], "cannot parse");
    assert_eq!(letters[0]["subscription"], "instance.mail.a");
    let id = letters[0]["id"].clone();
    let shown = broker
        .call(app, "admin.dlq.show", &json!({ "id": id }))
        .unwrap();
    assert_eq!(shown["event"]["payload"], "first");

    broker.hold_batches = true;
    let asked = broker.request(app, "admin.dlq.replay", &json!({ "id": id }));
    assert!(broker.take(plugin, "broker.event").is_empty());
    // The broker dies before the replay is durable: nothing of it happened.
    broker.hold_batches = false;
    broker.restart();
    assert!(broker.answer(app, asked).is_none());
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    assert_eq!(list(&mut broker, app).len(), 2);
    assert!(broker.take(plugin, "broker.event").is_empty());

    let done = broker
        .call(app, "admin.dlq.replay", &json!({ "id": id }))
        .unwrap();
    assert_eq!(done["count"], 1);
    assert_eq!(list(&mut broker, app).len(), 1);
    let events = broker.take(plugin, "broker.event");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"]["payload"], "first");
    assert_eq!(events[0]["event"]["metadata"]["replay_of"], id);
    assert_eq!(events[0]["delivery"]["attempt"], 1);

    // It dies before it is settled: the replay is durable and comes again.
    broker.restart();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    assert_eq!(list(&mut broker, app).len(), 1);
    let events = broker.take(plugin, "broker.event");
    assert_eq!(events[0]["event"]["metadata"]["replay_of"], id);
    let ack = json!({ "deliveries": [events[0]["delivery"]["id"]] });
    broker.call(plugin, "broker.ack", &ack).unwrap();
    broker.advance(1000);
    broker.restart();
    let plugin = broker.plugin("mail/a");
    assert!(broker.take(plugin, "broker.event").is_empty());
    let app = broker.admin();
    let gone = broker.refusal(app, "admin.dlq.replay", &json!({ "id": id }));
    assert_eq!(gone, "not_found");
}

#[test]
fn all_are_replayed_page_by_page_and_discarded_together() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let payloads: Vec<Value> = (0..40).map(|index| json!(index)).collect();
    reject(&mut broker, app, plugin, &payloads);
    let filed = json!({ "origin": "feed item 7", "payload": { "raw": 1 }, "reason": "no date" });
    broker.call(plugin, "dead_letter.put", &filed).unwrap();
    let done = broker
        .call(app, "admin.dlq.replay", &json!({ "all": true }))
        .unwrap();
    assert_eq!(done["count"], 40);
    for expected in 0..40 {
        let events = broker.take(plugin, "broker.event");
        assert_eq!(events.len(), 1, "one session, one at a time");
        assert_eq!(events[0]["event"]["payload"], expected);
        let reject = json!({ "deliveries": [events[0]["delivery"]["id"]] });
        broker.call(plugin, "broker.reject", &reject).unwrap();
    }
    broker.advance(100);
    assert_eq!(list(&mut broker, app).len(), 41);
    let mine = json!({ "subscription": "instance.mail.a" });
    let done = broker.call(app, "admin.dlq.discard", &mine).unwrap();
    assert_eq!(done["count"], 41);
    assert!(list(&mut broker, app).is_empty());
    for (params, code) in [
        (json!({}), "invalid_arguments"),
        (json!({ "id": "zz" }), "invalid_arguments"),
        (json!({ "id": "1-1" }), "not_found"),
        (json!({ "subscription": "nobody" }), "not_found"),
        (json!({ "id": "1-1", "all": true }), "invalid_arguments"),
    ] {
        for method in ["admin.dlq.replay", "admin.dlq.discard"] {
            assert_eq!(
                broker.refusal(app, method, &params),
                code,
                "{method} {params}"
            );
        }
    }
}

#[test]
fn what_never_was_an_event_is_kept_and_cannot_be_replayed() {
    let mut broker = Broker::new();
    let plugin = broker.plugin("mail/a");
    let filed = json!({
        "origin": "feed item 7", "payload": { "raw": [1, 2] },
        "error": { "type": "ValueError", "message": "no date" },
    });
    let first = broker.call(plugin, "dead_letter.put", &filed).unwrap()["id"].clone();
    broker.restart();
    let (app, plugin) = (broker.admin(), broker.plugin("mail/a"));
    let second = broker.call(plugin, "dead_letter.put", &filed).unwrap()["id"].clone();
    assert_ne!(first, second);
    let letters = list(&mut broker, app);
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["reason"], "filed");
    assert_eq!(letters[0]["seq"], 0);
    assert_eq!(letters[0]["event"], json!({ "raw": [1, 2] }));
    assert_eq!(letters[0]["origin"], "feed item 7");
    assert_eq!(letters[0]["plugin_version"], "1.2.3");
    assert_eq!(letters[0]["last_error"]["type"], "ValueError");
    let replay = broker.refusal(app, "admin.dlq.replay", &json!({ "id": first }));
    assert_eq!(replay, "invalid_arguments");
}

#[test]
fn a_dead_letter_of_a_subscription_that_is_gone_is_not_replayed() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let ask = json!({ "name": "mine", "filters": ["agent.>"] });
    broker.call(app, "broker.subscribe", &ask).unwrap();
    broker
        .publish(app, "agent.a", &json!({ "payload": 1 }))
        .unwrap();
    let events = broker.take(app, "broker.event");
    let reject = json!({ "deliveries": [events[0]["delivery"]["id"]] });
    broker.call(app, "broker.reject", &reject).unwrap();
    broker.advance(20);
    let delete = json!({ "subscription": "mine", "delete": true });
    broker.call(app, "broker.unsubscribe", &delete).unwrap();
    broker.advance(20);
    let letters = list(&mut broker, app);
    let id = &letters[0]["id"];
    let code = broker.refusal(app, "admin.dlq.replay", &json!({ "id": id }));
    assert_eq!(code, "not_found");
    broker
        .call(app, "admin.dlq.discard", &json!({ "id": id }))
        .unwrap();
    assert!(list(&mut broker, app).is_empty());
}

/// Proves O7 for dead letters: beyond the quota the oldest lose their payload and keep their record.
#[test]
fn beyond_the_quota_the_oldest_payloads_are_cut() {
    let mut options = options();
    options.retention.dead_letters = 5;
    let mut broker = Broker::with(options, MemoryOptions::default(), 3);
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    let payloads: Vec<Value> = (0..8).map(|index| json!(index)).collect();
    reject(&mut broker, app, plugin, &payloads);
    broker.advance(3000);
    let cut = |letters: &[Value]| letters.iter().filter(|l| l["event"].is_null()).count();
    let letters = list(&mut broker, app);
    assert_eq!((letters.len(), cut(&letters)), (8, 3));
    assert!(letters[2]["event"].is_null() && letters[3]["event"]["payload"] == 3);
    assert_eq!(letters[0]["last_error"]["message"], "cannot parse");
    let code = broker.refusal(app, "admin.dlq.replay", &json!({ "id": letters[0]["id"] }));
    assert_eq!(code, "invalid_arguments");

    broker.restart();
    let (app, plugin) = (broker.admin(), broker.plugin("mail/a"));
    let payloads: Vec<Value> = (8..20).map(|index| json!(index)).collect();
    reject(&mut broker, app, plugin, &payloads);
    broker.advance(5000);
    let letters = list(&mut broker, app);
    assert_eq!((letters.len(), cut(&letters)), (10, 5));
    assert_eq!(letters[9]["event"]["payload"], 19);
}

/// Proves P7d: dead letters of what is sent are listed, shown, put back and deleted by item, by plugin and by target;
/// each was counted, and said at once where an operator looks.
#[test]
fn dead_letters_are_chosen_by_item_plugin_and_target() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let mail = broker.plugin("mail/a");
    let chat = broker.plugin("chat/b");
    let send = |broker: &mut Broker, plugin, topic: &str, target: &str, text: &str| {
        let event = json!({ "payload": text, "session_id": target });
        broker.publish(app, topic, &event).unwrap();
        let events = broker.take(plugin, "broker.event");
        let delivery = &events[0]["delivery"]["id"];
        let reject = json!({ "deliveries": [delivery], "code": "delivery_failed", "reason": "no" });
        broker.call(plugin, "broker.reject", &reject).unwrap();
        broker.advance(20);
    };
    // More of others than one page holds come before.
    for _ in 0..70 {
        send(&mut broker, mail, "plugin.outbound.mail.a", "ann", "to ann");
    }
    send(&mut broker, mail, "plugin.outbound.mail.a", "bob", "to bob");
    send(
        &mut broker,
        chat,
        "plugin.outbound.chat.b",
        "ann",
        "chat to ann",
    );
    let found = |broker: &mut Broker, which: &Value| {
        let (mut found, mut params) = (Vec::new(), which.clone());
        loop {
            let page = broker.call(app, "admin.dlq.list", &params).unwrap();
            let letters = page["letters"].as_array().unwrap().clone();
            found.extend(
                letters
                    .into_iter()
                    .map(|letter| letter["event"]["payload"].clone()),
            );
            if page["next"].is_null() {
                return found;
            }
            params["after"] = page["next"].clone();
        }
    };
    assert_eq!(found(&mut broker, &json!({ "session": "bob" })), ["to bob"]);
    let chats = json!({ "plugin": "chat" });
    assert_eq!(found(&mut broker, &chats), ["chat to ann"]);
    let ann = json!({ "plugin": "mail", "session": "ann", "limit": 50 });
    assert_eq!(found(&mut broker, &ann).len(), 70);
    // Both have to fit.
    let others = json!({ "plugin": "mail", "subscription": "instance.chat.b" });
    assert!(found(&mut broker, &others).is_empty());
    let own = json!({ "plugin": "chat", "subscription": "instance.chat.b" });
    assert_eq!(found(&mut broker, &own), ["chat to ann"]);
    // A name that begins alike is another plugin.
    assert!(found(&mut broker, &json!({ "plugin": "cha" })).is_empty());

    let counted = |broker: &mut Broker, method: &str, which: &Value| {
        broker.call(app, method, which).unwrap()["count"].clone()
    };
    let bob = json!({ "plugin": "mail", "session": "bob" });
    assert_eq!(counted(&mut broker, "admin.dlq.replay", &bob), 1);
    let again = broker.take(mail, "broker.event");
    assert_eq!(again[0]["event"]["payload"], "to bob");
    let chats = json!({ "all": true, "session": "ann", });
    assert_eq!(
        counted(
            &mut broker,
            "admin.dlq.discard",
            &json!({ "plugin": "cha" })
        ),
        0
    );
    let mails = json!({ "plugin": "mail", "session": "ann" });
    assert_eq!(counted(&mut broker, "admin.dlq.discard", &mails), 70);
    assert_eq!(counted(&mut broker, "admin.dlq.discard", &chats), 1);
    assert!(list(&mut broker, app).is_empty());
    for params in [
        json!({ "session": "ann" }),
        json!({ "plugin": "mail", "all": true }),
        json!({ "id": "1-1", "session": "ann" }),
    ] {
        let refused = broker.refusal(app, "admin.dlq.discard", &params);
        assert_eq!(refused, "invalid_arguments", "{params}");
    }
}
