//! What an event went through, as spans of its trace: made durable, handed over, settled.
//!
//! Only for events whose trace is sampled, and only when somebody takes the spans: otherwise nothing is
//! looked at. Spans leave as [`super::Output::Span`]; who exports them and how is not known here.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`OPEN_MAX`] deliveries that are not settled | further ones have no span, and are counted |

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use trunkline_contract::trace::Traceparent;

use crate::router::{DeliveryId, Prepared, SubId};
use crate::store::{Seq, StoredEvent};

use super::batch::PendingEvent;
use super::state::{Core, Output};

/// Deliveries that are followed until they are settled.
const OPEN_MAX: usize = 10_000;

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Something within the broker.
    Internal,
    /// The work of a consumer.
    Consumer,
    /// A call that is answered.
    Server,
}

/// One span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace and its own id.
    pub context: Traceparent,
    /// The span that it belongs to.
    pub parent: [u8; 8],
    /// What happened.
    pub name: String,
    /// What it is of.
    pub kind: SpanKind,
    /// Wall-clock ms.
    pub began_at_ms: i64,
    /// Wall-clock ms.
    pub ended_at_ms: i64,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Deliveries under way.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    is_on: bool,
    open: FxHashMap<(SubId, Seq), Span>,
}

/// What of an envelope tells its trace.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    traceparent: Option<Cow<'a, str>>,
}

impl Core {
    /// Somebody takes spans from here on.
    pub fn follow_traces(&mut self) {
        self.spans.is_on = true;
    }

    /// The exporter did not keep up.
    pub fn spans_lost(&mut self, count: u64) {
        self.counters.add("spans_dropped", count);
    }

    /// Says whether this trace is to be told of, and reads it.
    pub(crate) fn sampled(&self, traceparent: Option<&str>) -> Option<Traceparent> {
        let parent = traceparent.filter(|_| self.spans.is_on)?;
        Traceparent::parse(parent).filter(Traceparent::is_sampled)
    }

    /// Begins the span of something that happens to an event, if its trace is sampled.
    fn span_of(&self, event: &StoredEvent, name: &str, key: &str) -> Option<Span> {
        let head: Head<'_> = serde_json::from_slice(&event.envelope).ok()?;
        let parent = self.sampled(head.traceparent.as_deref())?;
        Some(Span {
            context: parent.child(format!("{name} {key}").as_bytes()),
            parent: parent.span_id,
            name: format!("{name} {}", event.topic),
            kind: SpanKind::Internal,
            began_at_ms: event.stored_at_ms,
            ended_at_ms: self.now.wall_ms,
            attributes: vec![
                ("messaging.system", "trunkline".to_owned()),
                ("messaging.destination.name", event.topic.to_string()),
                ("messaging.message.id", head.id.into_owned()),
            ],
            error: None,
        })
    }

    /// An event is durable: from its acceptance to now.
    pub(crate) fn span_stored(&mut self, pending: &PendingEvent) {
        if !self.spans.is_on {
            return;
        }
        let event = &pending.event;
        let Some(mut span) = self.span_of(event, "store", &event.seq.to_string()) else {
            return;
        };
        let attributes = [
            ("trunkline.seq", event.seq.to_string()),
            ("trunkline.source", event.source.to_string()),
            ("trunkline.matched", pending.matched.to_string()),
        ];
        span.attributes.extend(attributes);
        self.emit(span);
    }

    /// An event is handed over: its span ends when it is settled.
    pub(crate) fn span_delivered(
        &mut self,
        event: &StoredEvent,
        id: DeliveryId,
        attempt: u32,
        subscription: &str,
    ) {
        if !self.spans.is_on {
            return;
        }
        let Some(mut span) = self.span_of(event, "deliver", &id.to_string()) else {
            return;
        };
        span.kind = SpanKind::Consumer;
        span.began_at_ms = self.now.wall_ms;
        let attributes = [
            ("trunkline.subscription", subscription.to_owned()),
            ("trunkline.attempt", attempt.to_string()),
        ];
        span.attributes.extend(attributes);
        self.span_settled(id.sub, id.seq, "lost");
        if self.spans.open.len() >= OPEN_MAX {
            self.counters.add("spans_dropped", 1);
            return;
        }
        self.spans.open.insert((id.sub, id.seq), span);
    }

    /// A delivery has ended.
    pub(crate) fn span_settled(&mut self, sub: SubId, seq: Seq, outcome: &'static str) {
        if self.spans.open.is_empty() {
            return;
        }
        let Some(mut span) = self.spans.open.remove(&(sub, seq)) else {
            return;
        };
        span.ended_at_ms = self.now.wall_ms;
        let outcome = ("trunkline.outcome", outcome.to_owned());
        span.error = (outcome.1 != "acked").then(|| outcome.1.clone());
        span.attributes.push(outcome);
        self.emit(span);
    }

    /// A call of a tool has ended after so many ms.
    pub(crate) fn span_called(
        &mut self,
        tool: &str,
        traceparent: Option<&str>,
        took_ms: u64,
        error: Option<&'static str>,
    ) {
        let Some(parent) = self.sampled(traceparent) else {
            return;
        };
        // Calls of one parent differ in their order alone.
        let number = self.counters.get("spans");
        let ended_at_ms = self.now.wall_ms;
        self.emit(Span {
            context: parent.child(format!("call {tool} {number}").as_bytes()),
            parent: parent.span_id,
            name: format!("call {tool}"),
            kind: SpanKind::Server,
            began_at_ms: ended_at_ms.saturating_sub_unsigned(took_ms),
            ended_at_ms,
            attributes: vec![("rpc.method", tool.to_owned())],
            error: error.map(str::to_owned),
        });
    }

    /// The deliveries that a commit settles have ended.
    pub(crate) fn spans_settled(&mut self, prepared: &Prepared) {
        if self.spans.open.is_empty() {
            return;
        }
        for (sub, seq, outcome) in prepared.outcomes() {
            self.span_settled(sub, seq, outcome);
        }
    }

    /// Gives a span to whoever takes them.
    pub(crate) fn emit(&mut self, span: Span) {
        if self.spans.is_on {
            self.counters.add("spans", 1);
            self.outputs.push(Output::Span(Box::new(span)));
        }
    }
}
