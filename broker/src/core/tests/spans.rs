//! What becomes of an event is told as spans of its trace, if that is sampled and somebody listens.

use serde_json::{Value, json};
use trunkline_contract::trace::Traceparent;

use super::driver::Broker;
use crate::core::{Span, SpanKind};
use crate::router::LinkId;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn publish(broker: &mut Broker, app: LinkId, id: &str, traceparent: &str) {
    let event = json!({ "id": id, "traceparent": traceparent, "payload": 1 });
    broker
        .publish(app, "plugin.outbound.mail.a", &event)
        .unwrap();
}

fn settle(broker: &mut Broker, link: LinkId, method: &str) {
    let events = broker.take(link, "broker.event");
    let deliveries: Vec<&Value> = events.iter().map(|e| &e["delivery"]["id"]).collect();
    let params = json!({ "deliveries": deliveries });
    broker.call(link, method, &params).unwrap();
}

fn attribute<'a>(span: &'a Span, name: &str) -> &'a str {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|(key, _)| *key == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// Proves O4 (spans): a sampled event is told of when it is stored and when each delivery of it ends, as spans of
/// its own trace; how it ended is in them.
#[test]
fn a_sampled_event_is_told_of_from_the_store_to_its_settlement() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    broker.core.follow_traces();
    publish(&mut broker, app, "one", SAMPLED);
    broker.advance(25);
    settle(&mut broker, plugin, "broker.nak");
    broker.advance(5_000);
    settle(&mut broker, plugin, "broker.ack");
    let spans = std::mem::take(&mut broker.spans);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "store plugin.outbound.mail.a",
            "deliver plugin.outbound.mail.a",
            "deliver plugin.outbound.mail.a"
        ]
    );
    let parent = Traceparent::parse(SAMPLED).unwrap();
    for span in &spans {
        assert_eq!(span.context.trace_id, parent.trace_id);
        assert_eq!(span.parent, parent.span_id);
        assert_ne!(span.context.span_id, parent.span_id);
        assert_eq!(attribute(span, "messaging.message.id"), "one");
    }
    assert_ne!(spans[1].context, spans[2].context);
    assert_eq!(spans[1].kind, SpanKind::Consumer);
    assert_eq!(spans[1].ended_at_ms - spans[1].began_at_ms, 25);
    assert_eq!(spans[1].error.as_deref(), Some("naked"));
    assert_eq!(spans[2].error, None);
    assert_eq!(attribute(&spans[2], "trunkline.outcome"), "acked");
    assert_eq!(attribute(&spans[2], "trunkline.attempt"), "2");
}

#[test]
fn what_is_not_sampled_or_nobody_listens_to_makes_no_span() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    publish(&mut broker, app, "nobody listens", SAMPLED);
    settle(&mut broker, plugin, "broker.ack");
    broker.core.follow_traces();
    publish(&mut broker, app, "not sampled", NOT_SAMPLED);
    settle(&mut broker, plugin, "broker.ack");
    assert!(broker.spans.is_empty(), "{:?}", broker.spans);
}

/// A settlement within a commit ends a span as well, and so does a lease that runs out.
#[test]
fn every_end_of_a_delivery_ends_its_span() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let plugin = broker.plugin("mail/a");
    broker.core.follow_traces();
    publish(&mut broker, app, "rejected", SAMPLED);
    let events = broker.take(plugin, "broker.event");
    let reject = json!({ "reject": [{ "delivery": events[0]["delivery"]["id"] }] });
    broker.call(plugin, "broker.commit", &reject).unwrap();
    publish(&mut broker, app, "forgotten", SAMPLED);
    broker.advance(31_000);
    let outcomes: Vec<&str> = broker
        .spans
        .iter()
        .map(|span| attribute(span, "trunkline.outcome"))
        .filter(|outcome| !outcome.is_empty())
        .collect();
    assert_eq!(outcomes, ["rejected", "lease_expired"]);
}
