//! One trace from what comes in to the receipt of what went out.

use serde_json::json;
use trunkline::testing::TestBroker;
use trunkline::{Client, Event, InboundMessage, Json, On, Outbound, Plugin, Reply, Result, Start};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced(topic: &str, payload: serde_json::Value, traceparent: &str) -> Event {
    let mut event = Event::new(topic, "", payload);
    event.traceparent = Some(traceparent.to_owned());
    event
}

/// A channel that makes an inbound message of what comes on `agent.fake`, and an agent that answers it.
async fn rig() -> (TestBroker, Client) {
    async fn answer(message: InboundMessage) -> Result<Reply> {
        Ok(Reply::new(message.text.unwrap_or_default()))
    }
    async fn send(_: Json) -> Result<String> {
        Ok("P1".to_owned())
    }
    async fn came_in(payload: Json) -> Result<Event> {
        Ok(Event::inbound(payload).kind("chat"))
    }
    let plugin = Plugin::new("chat")
        .outbound(Outbound::new("chat", send))
        .on(On::new("agent.fake", came_in).name("fake"));
    let broker = TestBroker::start(plugin).await;
    let agent = Client::new("support").on(On::new("plugin.inbound.>", answer)
        .group("support")
        .start(Start::Earliest));
    let agent = broker.attach(agent).await;
    (broker, agent)
}

/// Proves O4 for the SDK: what is published while an event is handled, settled or not, belongs to the trace of
/// that event: another span each, the same sampling, up to the receipt.
#[tokio::test]
async fn a_trace_goes_on_from_what_comes_in_to_the_receipt() {
    let (broker, agent) = rig().await;
    let message = json!({ "text": "hi", "conversation": { "id": "c1" } });
    let first = format!("00-{TRACE}-00f067aa0ba902b7-01");
    broker
        .client()
        .commit(traced("agent.fake", message, &first))
        .await
        .expect("durable");
    let mut spans = vec![first];
    for topic in [
        "plugin.inbound.chat.>",
        "plugin.outbound.chat.>",
        "plugin.delivery.chat.>",
    ] {
        let event = broker.expect_published(topic, json!({}), "1s").await;
        let span = event.traceparent.expect("a trace");
        assert!(span.starts_with(&format!("00-{TRACE}-")) && span.ends_with("-01"));
        assert!(!spans.contains(&span), "{topic} is a span of its own");
        spans.push(span);
    }
    agent.close().await;
}

/// Proves O4: a trace context that is none is dropped, and the event is taken all the same.
#[tokio::test]
async fn what_is_no_trace_context_is_not_passed_on() {
    let (broker, agent) = rig().await;
    let message = json!({ "text": "hi", "conversation": { "id": "c1" } });
    broker
        .client()
        .commit(traced("agent.fake", message, "00-nonsense-01"))
        .await
        .expect("durable");
    for topic in ["agent.fake", "plugin.delivery.chat.>"] {
        let event = broker.expect_published(topic, json!({}), "1s").await;
        assert_eq!(event.traceparent, None, "{topic}");
    }
    agent.close().await;
}
