//! The topic form of tool calls.

use serde_json::{Value, json};

use super::driver::Broker;
use super::tools::{answer, calls, one_call, refund, with};
use crate::router::LinkId;

const TOPIC: &str = "plugin.tool.pay.refund";

/// A client that publishes calls and reads their answers.
fn asker(broker: &mut Broker) -> LinkId {
    let scopes = ["publish:plugin.tool.>", "read:plugin.tool.>"];
    let link = broker.client("asker", &scopes);
    let params = json!({ "name": "replies", "filters": ["plugin.tool.pay.*.reply"] });
    broker.call(link, "broker.subscribe", &params).unwrap();
    link
}

fn ask(broker: &mut Broker, link: LinkId, id: &str) {
    let event = json!({ "id": id, "session_id": "42", "payload": { "id": "ch_1" } });
    broker.publish(link, TOPIC, &event).unwrap();
}

fn replies(broker: &mut Broker, link: LinkId) -> Vec<Value> {
    let events = broker.take(link, "broker.event");
    for event in &events {
        let delivery = event["delivery"]["id"].clone();
        broker.notify(link, "broker.ack", &json!({ "deliveries": [delivery] }));
    }
    events
        .into_iter()
        .map(|mut params| params["event"].take())
        .collect()
}

fn pending(broker: &mut Broker) -> u64 {
    let statuses = broker.core.instance_statuses();
    statuses[0].pending
}

/// Starts the same instance again after its link ended.
fn again(broker: &mut Broker) -> LinkId {
    broker.plugin("pay/a")
}

/// Proves P3d: an event on `plugin.tool.<plugin>.<tool>` is a call, and its result is on `.reply`.
#[test]
fn an_event_on_the_topic_of_a_declared_tool_is_a_call_and_its_result_an_event() {
    let (mut broker, plugin, _) = with(refund());
    let asker = asker(&mut broker);
    ask(&mut broker, asker, "e1");
    assert!(broker.take(plugin, "broker.event").is_empty(), "never both");
    let (request, call) = one_call(&mut broker, plugin);
    assert_eq!(call["context"]["caller"], "client:asker");
    assert_eq!(call["context"]["session_id"], "42");
    assert_eq!(call["arguments"], json!({ "id": "ch_1" }));
    assert_eq!(pending(&mut broker), 1);
    let done = json!({ "output": { "state": "done" } });
    answer(&mut broker, plugin, &request, &done);
    let replies = replies(&mut broker, asker);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0]["topic"], "plugin.tool.pay.refund.reply");
    assert_eq!(replies[0]["source"], "pay/a");
    assert_eq!(replies[0]["correlation_id"], "e1");
    assert_eq!(replies[0]["causation_id"], "client:asker|e1");
    assert_eq!(replies[0]["session_id"], "42");
    assert_eq!(replies[0]["payload"], done);
    assert_eq!(pending(&mut broker), 0, "settled");
}

#[test]
fn the_answer_and_the_settlement_are_one_commit() {
    let (mut broker, plugin, _) = with(refund());
    let asker = asker(&mut broker);
    ask(&mut broker, asker, "e1");
    let (request, _) = one_call(&mut broker, plugin);
    broker.hold_batches = true;
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    assert_eq!(pending(&mut broker), 1, "not durable yet");
    let (_, batch) = broker.held_batch.as_ref().unwrap();
    assert!(batch.commits.iter().any(|commit| commit.events.len() == 1));
    broker.release_batch();
    assert_eq!(pending(&mut broker), 0);
    assert_eq!(replies(&mut broker, asker).len(), 1);
}

#[test]
fn what_is_refused_or_fails_is_answered_too() {
    let (mut broker, plugin, _) = with(refund());
    let asker = asker(&mut broker);
    let event = json!({ "id": "e1", "payload": { "id": 5 } });
    broker.publish(asker, TOPIC, &event).unwrap();
    assert!(calls(&mut broker, plugin).is_empty());
    let reply = &replies(&mut broker, asker)[0];
    assert_eq!(reply["payload"]["error"]["code"], "invalid_arguments");
    assert_eq!(reply["payload"]["error"]["detail"]["pointer"], "/id");
    ask(&mut broker, asker, "e2");
    one_call(&mut broker, plugin);
    broker.advance(60_000);
    let reply = &replies(&mut broker, asker)[0];
    assert_eq!(reply["payload"]["error"]["code"], "timed_out");
    assert_eq!(broker.take(plugin, "tool.cancel").len(), 1);
    assert_eq!(pending(&mut broker), 0);
}

#[test]
fn a_lost_delivery_of_a_tool_that_is_not_idempotent_is_not_run_again() {
    let (mut broker, plugin, _) = with(refund());
    let asker = asker(&mut broker);
    ask(&mut broker, asker, "e1");
    one_call(&mut broker, plugin);
    broker.detach(plugin);
    let plugin = again(&mut broker);
    assert!(calls(&mut broker, plugin).is_empty());
    let reply = &replies(&mut broker, asker)[0];
    assert_eq!(reply["correlation_id"], "e1");
    assert_eq!(reply["payload"]["error"]["code"], "outcome_unknown");
    assert_eq!(pending(&mut broker), 0);
}

#[test]
fn a_lost_delivery_of_an_idempotent_tool_is_run_again() {
    let mut tool = refund();
    tool.idempotent = true;
    let (mut broker, plugin, _) = with(tool);
    let asker = asker(&mut broker);
    ask(&mut broker, asker, "e1");
    one_call(&mut broker, plugin);
    broker.detach(plugin);
    let plugin = again(&mut broker);
    let (request, _) = one_call(&mut broker, plugin);
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    let reply = &replies(&mut broker, asker)[0];
    assert_eq!(reply["payload"]["output"]["state"], "done");
}

#[test]
fn a_delivery_that_waited_for_its_turn_runs_after_all() {
    let mut tool = refund();
    tool.concurrency = Some(1);
    let (mut broker, plugin, _) = with(tool);
    let asker = asker(&mut broker);
    for id in ["e1", "e2"] {
        let event = json!({ "id": id, "payload": { "id": "ch_1" } });
        broker.publish(asker, TOPIC, &event).unwrap();
    }
    one_call(&mut broker, plugin);
    broker.detach(plugin);
    let plugin = again(&mut broker);
    let (request, _) = one_call(&mut broker, plugin);
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    let mut outcomes: Vec<(Value, bool)> = replies(&mut broker, asker)
        .iter()
        .map(|reply| {
            let is_unknown = reply["payload"]["error"]["code"] == "outcome_unknown";
            (reply["correlation_id"].clone(), is_unknown)
        })
        .collect();
    outcomes.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(outcomes, [(json!("e1"), true), (json!("e2"), false)]);
}

#[test]
fn a_restart_of_the_broker_does_not_run_it_again() {
    let (mut broker, plugin, _) = with(refund());
    let asker_link = asker(&mut broker);
    ask(&mut broker, asker_link, "e1");
    one_call(&mut broker, plugin);
    broker.restart();
    let plugin = again(&mut broker);
    assert!(calls(&mut broker, plugin).is_empty());
    let link = asker(&mut broker);
    let reply = &replies(&mut broker, link)[0];
    assert_eq!(reply["payload"]["error"]["code"], "outcome_unknown");
}

#[test]
fn a_plugin_that_declares_nothing_gets_events_as_before() {
    let mut broker = Broker::new();
    broker.granted = vec![trunkline_contract::topic::Filter::parse(TOPIC).unwrap()];
    let plugin = broker.plugin("pay/a");
    let asker = asker(&mut broker);
    ask(&mut broker, asker, "e1");
    assert_eq!(broker.take(plugin, "broker.event").len(), 1);
    assert!(calls(&mut broker, plugin).is_empty());
}

#[test]
fn a_tool_registered_at_run_time_has_its_topic_too() {
    let mut broker = Broker::new();
    let plugin = broker.plugin("pay/a");
    let asker = asker(&mut broker);
    let tools = json!({ "tools": [{ "name": "refund" }] });
    broker.call(plugin, "tool.register", &tools).unwrap();
    ask(&mut broker, asker, "e1");
    let (request, _) = one_call(&mut broker, plugin);
    answer(&mut broker, plugin, &request, &json!({ "output": 1 }));
    assert_eq!(replies(&mut broker, asker)[0]["payload"]["output"], 1);
}

#[test]
fn an_event_that_several_instances_would_run_is_unrouted() {
    let (mut broker, _, _) = with(refund());
    broker.plugin("pay/b");
    let asker = asker(&mut broker);
    let event = json!({ "payload": { "id": "x" } });
    let error = broker.publish(asker, TOPIC, &event).unwrap_err();
    assert_eq!(error["data"]["code"], "unrouted");
    assert_eq!(error["data"]["detail"]["candidates"], json!(["a", "b"]));
}

#[test]
fn a_pause_leaves_what_waited_for_later() {
    let mut tool = refund();
    tool.concurrency = Some(1);
    let (mut broker, plugin, _) = with(tool);
    let asker = asker(&mut broker);
    for id in ["e1", "e2"] {
        let event = json!({ "id": id, "payload": { "id": "ch_1" } });
        broker.publish(asker, TOPIC, &event).unwrap();
    }
    let (request, _) = one_call(&mut broker, plugin);
    let key = crate::instance::InstanceKey::parse("pay/a");
    broker.core.pause(&key, "by hand");
    broker.run();
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    assert!(calls(&mut broker, plugin).is_empty());
    broker.core.resume(&key);
    broker.advance(1_000);
    assert_eq!(calls(&mut broker, plugin).len(), 1);
}
