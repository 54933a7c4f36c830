//! One line's way through the house, put together from what a subscriber sees.
//!
//! A line is published to a channel; the channel's plugin echoes it and sends a receipt; the agent answers
//! the echo; the plugin echoes the answer and sends a receipt for it. Each event names the one before it in
//! `correlation_id`, so a trip needs no guess and no order of arrival.

use std::time::Duration;

use serde::Serialize;

/// A stage of the trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The line is durable, and its sender knows.
    Stored,
    /// The plugin has the line.
    Plugin,
    /// The plugin's commit (echo, receipt, ack) is durable, and the echo is delivered.
    Echoed,
    /// The receipt of the line is delivered.
    Receipt,
    /// The agent's answer is durable and delivered.
    Answer,
    /// The plugin has the answer.
    AnswerPlugin,
    /// The answer has come back through the plugin.
    Back,
    /// The receipt of the answer is delivered.
    AnswerReceipt,
}

/// One stage that was reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Hop {
    pub(crate) stage: Stage,
    /// Milliseconds since the line was sent.
    pub(crate) ms: f64,
    /// The event that shows it; the plugin stages are told by the echo.
    #[serde(flatten)]
    pub(crate) event: Option<EventRef>,
}

/// Names an event as the store does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EventRef {
    pub(crate) topic: String,
    pub(crate) source: String,
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
}

/// An event as it was delivered.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) event: EventRef,
    pub(crate) correlation_id: Option<String>,
    pub(crate) text: Option<String>,
    /// When the plugin had what it echoes, microseconds since the epoch.
    pub(crate) received_us: Option<i64>,
    /// When it was delivered here, microseconds since the epoch.
    pub(crate) at_us: i64,
}

/// A line under way.
#[derive(Debug)]
pub(crate) struct Trip {
    line_id: String,
    sent_us: i64,
    hops: Vec<Hop>,
    echo_id: Option<String>,
    answer_id: Option<String>,
    back: Option<String>,
}

impl Trip {
    /// Begins a trip with a line of this id.
    pub(crate) fn new(line_id: String, sent_us: i64) -> Self {
        Self {
            line_id,
            sent_us,
            hops: Vec::new(),
            echo_id: None,
            answer_id: None,
            back: None,
        }
    }

    /// Notes that the broker has acked the line.
    pub(crate) fn stored(&mut self, event: EventRef, at_us: i64) {
        self.reach(Stage::Stored, at_us, Some(event));
    }

    /// Notes an event, if it belongs to this trip.
    pub(crate) fn see(&mut self, seen: Seen) {
        let Some(cause) = seen.correlation_id.as_deref() else {
            return;
        };
        let mut topic = seen.event.topic.split('.');
        let stages = match (topic.next(), topic.next()) {
            (Some("plugin"), Some("inbound")) if cause == self.line_id => {
                self.echo_id = Some(seen.event.id.clone());
                [Some(Stage::Plugin), Some(Stage::Echoed)]
            }
            (Some("plugin"), Some("outbound")) if self.echo_id.as_deref() == Some(cause) => {
                self.answer_id = Some(seen.event.id.clone());
                [None, Some(Stage::Answer)]
            }
            (Some("plugin"), Some("inbound")) if self.answer_id.as_deref() == Some(cause) => {
                self.back = Some(seen.text.clone().unwrap_or_default());
                [Some(Stage::AnswerPlugin), Some(Stage::Back)]
            }
            (Some("plugin"), Some("delivery")) if cause == self.line_id => {
                [None, Some(Stage::Receipt)]
            }
            (Some("plugin"), Some("delivery")) if self.answer_id.as_deref() == Some(cause) => {
                [None, Some(Stage::AnswerReceipt)]
            }
            _ => return,
        };
        if let (Some(stage), Some(received_us)) = (stages[0], seen.received_us) {
            self.reach(stage, received_us, None);
        }
        if let Some(stage) = stages[1] {
            self.reach(stage, seen.at_us, Some(seen.event));
        }
    }

    fn reach(&mut self, stage: Stage, at_us: i64, event: Option<EventRef>) {
        // A repeat shows the same stage again; the first time counts.
        if self.hop(stage).is_none() {
            let ms = (at_us - self.sent_us).max(0) as f64 / 1000.0;
            self.hops.push(Hop { stage, ms, event });
        }
    }

    /// Gives a stage that was reached.
    pub(crate) fn hop(&self, stage: Stage) -> Option<&Hop> {
        self.hops.iter().find(|hop| hop.stage == stage)
    }

    /// Gives all stages in the order in which they were noted.
    pub(crate) fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Gives the text that came back.
    pub(crate) fn back(&self) -> Option<&str> {
        self.back.as_deref()
    }

    /// Says whether every event of the trip was seen.
    pub(crate) fn is_complete(&self) -> bool {
        [
            Stage::Stored,
            Stage::Back,
            Stage::Receipt,
            Stage::AnswerReceipt,
        ]
        .into_iter()
        .all(|stage| self.hop(stage).is_some())
    }

    /// Says what is still missing, for a person.
    pub(crate) fn waits_for(&self) -> &'static str {
        let missing = |stage| self.hop(stage).is_none();
        if missing(Stage::Stored) {
            "expected the broker to store the line"
        } else if missing(Stage::Echoed) {
            "expected the plugin to echo the line"
        } else if missing(Stage::Answer) {
            "expected the agent to answer"
        } else if missing(Stage::Back) {
            "expected the answer to come back through the plugin"
        } else {
            "expected the receipts"
        }
    }

    /// Says how long it took until the answer was back.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.hop(Stage::Back)
            .map(|hop| Duration::from_secs_f64(hop.ms / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{EventRef, Seen, Stage, Trip};

    fn seen(topic: &str, id: &str, cause: &str, at_us: i64) -> Seen {
        Seen {
            event: EventRef {
                topic: topic.to_owned(),
                source: "x/default".to_owned(),
                id: id.to_owned(),
                seq: None,
            },
            correlation_id: Some(cause.to_owned()),
            text: Some(format!("text of {id}")),
            received_us: Some(at_us - 500),
            at_us,
        }
    }

    #[test]
    fn a_trip_follows_its_own_events_whatever_else_is_under_way() {
        let mut trip = Trip::new("line".to_owned(), 1_000);
        trip.see(seen(
            "plugin.inbound.x.default",
            "other",
            "another-line",
            1_500,
        ));
        trip.see(seen("plugin.inbound.x.default", "echo", "line", 3_000));
        trip.see(seen("plugin.delivery.x.default", "r1", "line", 3_100));
        trip.see(seen("plugin.outbound.x.default", "answer", "echo", 4_000));
        assert_eq!(trip.waits_for(), "expected the broker to store the line");
        trip.stored(
            seen("plugin.outbound.x.default", "line", "", 0).event,
            2_000,
        );
        assert!(!trip.is_complete());
        trip.see(seen("plugin.inbound.x.default", "back", "answer", 6_000));
        trip.see(seen("plugin.delivery.x.default", "r2", "answer", 6_100));
        assert!(trip.is_complete());
        assert_eq!(trip.back(), Some("text of back"));
        let plugin = trip.hop(Stage::Plugin).expect("reached");
        assert!((plugin.ms - 1.5).abs() < 1e-9, "{plugin:?}");
        assert_eq!(trip.duration().map(|d| d.as_micros()), Some(5_000));
    }

    #[test]
    fn a_redelivery_changes_nothing() {
        let mut trip = Trip::new("line".to_owned(), 0);
        trip.see(seen("plugin.inbound.x.default", "echo", "line", 3_000));
        trip.see(seen("plugin.inbound.x.default", "echo", "line", 9_000));
        assert_eq!(trip.hops().len(), 2);
    }
}
