//! An event as a handler reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{Code, Error};
use crate::rpc::{null, or_default};
use crate::topic::session_key;

/// Is an event as the broker delivers it. The payload stays text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Unique per source.
    pub id: String,
    /// When it happened, RFC 3339.
    pub timestamp: String,
    /// Where it was published.
    pub topic: String,
    /// Who published it: `<plugin>/<instance>`, `client:<name>` or `hook:<kind>/<instance>`.
    pub source: String,
    /// Its conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// What happened: any JSON.
    #[serde(default = "null")]
    #[schemars(with = "Value")]
    pub payload: Box<RawValue>,
    /// Id of the event that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The event whose handling produced this one, `<source>|<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it loses its use, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Blobs that it keeps alive.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub blobs: Vec<String>,
    /// What else is known about it.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub metadata: Map<String, Value>,
}

impl Event {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`Code::InvalidFrame`], saying what was found.
    ///
    /// ```
    /// use trunkline_contract::Event;
    /// let event = Event::from_slice(
    ///     br#"{"id":"a","timestamp":"2026-01-02T03:04:05Z","topic":"plugin.inbound.sms.main",
    ///         "source":"twilio/main","session_id":"42","payload":{"n":12345678901234567890123}}"#,
    /// ).unwrap();
    /// assert_eq!(event.session_key().as_deref(), Some("sms.main/42"));
    /// assert_eq!(event.payload.get(), r#"{"n":12345678901234567890123}"#);
    /// ```
    pub fn from_slice(envelope: &[u8]) -> Result<Event, Error> {
        serde_json::from_slice(envelope).map_err(|error| {
            Error::new(
                Code::InvalidFrame,
                format!("expected an event envelope, found: {error}"),
            )
        })
    }

    /// Gives the ordering key; see [`crate::topic::session_key`].
    pub fn session_key(&self) -> Option<String> {
        session_key(&self.topic, self.session_id.as_deref())
    }
}
