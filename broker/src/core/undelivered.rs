//! Receipts of outbound events that died without a word of the plugin.
//!
//! A plugin that rejects an event, or fails for the last time, says itself what became of it. Where its
//! process died of the event, or the event's time was over, the broker says so, that nobody waits in vain.

use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_contract::topic::{Class, classify};

use crate::store::{Commit, NewEvent, OnConflict, StoredEvent};

use super::batch::Ticket;
use super::state::Core;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    session_id: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Serialize)]
struct Receipt<'a> {
    id: &'a str,
    timestamp: &'a str,
    topic: &'a str,
    source: &'a str,
    session_id: Option<&'a str>,
    correlation_id: &'a str,
    causation_id: &'a str,
    payload: &'a serde_json::Value,
}

impl Core {
    /// Tells the sender of an outbound event what became of it.
    ///
    /// # Arguments
    /// * `reason` - that of its dead letter.
    pub(crate) fn say_undelivered(&mut self, event: &StoredEvent, reason: &str) {
        let Class::Outbound {
            kind,
            instance: Some(instance),
        } = classify(&event.topic)
        else {
            return;
        };
        let Ok(head) = serde_json::from_slice::<Head<'_>>(&event.envelope) else {
            return;
        };
        // The process may have died before or after it was sent.
        let (state, code) = match reason {
            "crashed" => ("unknown", "delivery_unknown"),
            _ => ("failed", "delivery_failed"),
        };
        let error = json!({ "code": code, "class": reason, "retryable": false });
        let payload = json!({ "state": state, "error": error });
        let topic = self.topic(&format!("plugin.delivery.{kind}.{instance}"));
        let id = self.new_id();
        let timestamp = self.timestamp().to_owned();
        let receipt = Receipt {
            id: &id,
            timestamp: &timestamp,
            topic: &topic,
            source: "broker",
            session_id: head.session_id.as_deref(),
            correlation_id: &head.id,
            causation_id: &format!("{}|{}", head.source, head.id),
            payload: &payload,
        };
        let envelope = serde_json::to_vec(&receipt).expect("our own payloads are plain data");
        let new = NewEvent {
            topic: topic.clone(),
            source: "broker".into(),
            id: id.as_str().into(),
            body: [0; 16],
            session: event.session.clone(),
            expires_at_ms: None,
            on_conflict: OnConflict::KeepFirst,
            envelope: envelope.into(),
        };
        let pending = self.pending(&new);
        let commit = Commit {
            events: vec![new],
            ..Commit::default()
        };
        let prepared = crate::router::Prepared::default();
        self.stage_events(commit, vec![pending], prepared, Ticket::Nothing);
    }
}
