//! The event as handlers see it and authors write it: the envelope around a payload of any type.
//!
//! The same type is the envelope of what came in (all fields filled) and a draft of what goes out
//! (the broker fills what is empty). It is not the wire form: see [`crate::incoming`] for what is
//! read, and [`crate::publish`] for what is written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunkline_contract::error::{Code, Error};

use crate::duration::{IntoDuration, in_ms};
use crate::payload::{Bytes, Json};

/// Is an event: a fact, and who said it, when, in which conversation.
///
/// As a handler's first parameter it gives the whole envelope; its payload is any type that a
/// payload may be read as.
///
/// ```
/// use trunkline::Event;
/// use serde_json::json;
///
/// let event = Event::inbound(json!({ "text": "hi" })).session("42").id("update-917");
/// assert_eq!(event.session_id.as_deref(), Some("42"));
/// ```
#[derive(Clone, Debug)]
pub struct Event<T = Bytes> {
    /// Names the event, unique per source. Empty in a draft: made when it is published.
    pub id: String,
    /// When it happened, RFC 3339. Empty in a draft: the broker's clock.
    pub timestamp: String,
    /// Where it was published. Empty in a draft: see [`Event::inbound`].
    pub topic: String,
    /// Who published it, as the broker stamped it.
    pub source: String,
    /// The conversation it belongs to.
    pub session_id: Option<String>,
    /// What it says.
    pub payload: T,
    /// The id of the event that this one answers.
    pub correlation_id: Option<String>,
    /// The event whose handling produced this one, as `source|id`.
    pub causation_id: Option<String>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// When it is of no use any more, RFC 3339.
    pub expires_at: Option<String>,
    /// The blobs that it keeps alive, as `sha256:…`.
    pub blobs: Vec<String>,
    /// What else the publisher or the broker added.
    pub metadata: BTreeMap<String, Json>,
    pub(crate) draft: Draft,
}

/// What only matters until the event is published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) target: Target,
    pub(crate) is_ephemeral: bool,
    pub(crate) fault: Option<Box<Error>>,
}

/// Where a draft without a topic goes.
#[derive(Clone, Debug, Default)]
pub(crate) enum Target {
    #[default]
    Topic,
    /// `plugin.inbound.<kind>.<this instance>`.
    Inbound { kind: Option<String> },
    /// `plugin.delivery.<kind>.<this instance>`.
    Delivery { kind: Option<String> },
}

impl<T> Event<T> {
    pub(crate) fn bare(topic: String, payload: T) -> Self {
        Self {
            id: String::new(),
            timestamp: String::new(),
            topic,
            source: String::new(),
            session_id: None,
            payload,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            expires_at: None,
            blobs: Vec::new(),
            metadata: BTreeMap::new(),
            draft: Draft::default(),
        }
    }

    /// Gives the ordering key: the session within its kind and instance on the channels' topics.
    pub fn session_key(&self) -> Option<String> {
        trunkline_contract::topic::session_key(&self.topic, self.session_id.as_deref())
    }

    /// Gives the same envelope around another payload.
    pub fn map<U>(self, read: impl FnOnce(T) -> U) -> Event<U> {
        Event {
            id: self.id,
            timestamp: self.timestamp,
            topic: self.topic,
            source: self.source,
            session_id: self.session_id,
            payload: read(self.payload),
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent,
            expires_at: self.expires_at,
            blobs: self.blobs,
            metadata: self.metadata,
            draft: self.draft,
        }
    }
}

impl Event {
    /// Drafts an event for a topic. The broker stamps the source; a different one that is claimed
    /// here stays visible in its metadata.
    pub fn new(
        topic: impl Into<String>,
        source: impl Into<String>,
        payload: impl Serialize,
    ) -> Self {
        let mut event = Self::bare(topic.into(), Bytes::null());
        event.source = source.into();
        event.fill(payload)
    }

    /// Drafts what came in from outside: `plugin.inbound.<kind>.<this instance>`.
    ///
    /// Unless given, the kind is that of the event being handled, else the plugin's only channel,
    /// and the session is the payload's `conversation.id`.
    pub fn inbound(payload: impl Serialize) -> Self {
        let mut event = Self::bare(String::new(), Bytes::null());
        event.draft.target = Target::Inbound { kind: None };
        let mut event = event.fill(payload);
        event.session_id = conversation_of(event.payload.as_str());
        event
    }

    pub(crate) fn to(topic: impl Into<String>, payload: impl Serialize) -> Self {
        Self::bare(topic.into(), Bytes::null()).fill(payload)
    }

    pub(crate) fn fill(mut self, payload: impl Serialize) -> Self {
        match Bytes::encode(&payload) {
            Ok(bytes) => self.payload = bytes,
            Err(error) => self.draft.fault = Some(Box::new(error)),
        }
        self
    }

    /// Names the event; publishing the same id again is answered as a duplicate.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Says which conversation it belongs to.
    pub fn session(mut self, session_id: impl Into<String>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }

    /// Says through which kind of channel it came in.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        match &mut self.draft.target {
            Target::Inbound { kind: slot } | Target::Delivery { kind: slot } => {
                *slot = Some(kind.into());
            }
            Target::Topic => {
                self.draft.fault = Some(Box::new(Error::new(
                    Code::InvalidArguments,
                    "a kind belongs to `Event::inbound` or a receipt, this event has a topic",
                )));
            }
        }
        self
    }

    /// Says which event it answers.
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Says after how long it is of no use any more.
    pub fn expires(mut self, after: impl IntoDuration) -> Self {
        match after.into_duration() {
            Ok(after) => {
                let at = crate::clock::now_ms().saturating_add(in_ms(after));
                self.expires_at = Some(trunkline_contract::envelope::rfc3339(at as i64));
            }
            Err(error) => self.draft.fault = Some(Box::new(error)),
        }
        self
    }

    /// Makes it ephemeral: only who listens now gets it, and it is never stored.
    pub fn ephemeral(mut self) -> Self {
        self.draft.is_ephemeral = true;
        self
    }

    /// Names a blob, so that it is kept with the event and whoever receives the event may read it. Those in
    /// the parts of a standard message are named by themselves.
    pub fn blob(mut self, blob: &crate::blob::BlobRef) -> Self {
        self.blobs.push(blob.id.clone());
        self
    }

    /// Adds a member to the metadata.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Json>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

/// The session of a standard message: its conversation's id.
fn conversation_of(payload: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        conversation: Conversation,
    }
    #[derive(Deserialize)]
    struct Conversation {
        id: String,
    }
    payload.contains("\"conversation\"").then_some(())?;
    serde_json::from_str::<Message>(payload)
        .ok()
        .map(|message| message.conversation.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_session_of_a_message_is_its_conversation() {
        let event = Event::inbound(json!({ "text": "hi", "conversation": { "id": "c1" } }));
        assert_eq!(event.session_id.as_deref(), Some("c1"));
        assert_eq!(Event::inbound(json!("conversation")).session_id, None);
    }

    #[test]
    fn a_payload_that_has_no_json_form_is_remembered_as_the_drafts_fault() {
        let event = Event::inbound(f64::NAN);
        assert_eq!(
            event.draft.fault.expect("refused").code,
            Code::InvalidPayload
        );
    }
}
