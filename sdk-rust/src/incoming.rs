//! One event as it arrived: its text, kept whole, and where in it the envelope's fields stand.
//!
//! One allocation holds the text; fields are ranges of it, unless they contain escapes. The payload
//! is not looked at until a handler's type asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use crate::event::Event;
use crate::payload::{Bytes, misfit};

/// A JSON string that borrows when it can, also inside an `Option`.
#[derive(Debug)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;
        impl<'de> Visitor<'de> for AsText {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AsText)
    }
}

#[derive(serde::Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    timestamp: Option<Text<'a>>,
    #[serde(borrow, default)]
    source: Option<Text<'a>>,
    #[serde(borrow, default)]
    session_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    correlation_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    causation_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    traceparent: Option<Text<'a>>,
    #[serde(borrow, default)]
    expires_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    blobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// A part of the event's text, or a string of its own where the text holds escapes.
#[derive(Debug, Default)]
enum Part {
    #[default]
    Absent,
    Range(u32, u32),
    Owned(Box<str>),
}

impl Part {
    fn of(text: &str, part: Option<Text<'_>>) -> Self {
        match part {
            None => Self::Absent,
            Some(Text(Cow::Owned(part))) => Self::Owned(part.into()),
            Some(Text(Cow::Borrowed(part))) => Self::within(text, part),
        }
    }

    fn raw(text: &str, part: Option<&RawValue>) -> Self {
        part.map_or(Self::Absent, |part| Self::within(text, part.get()))
    }

    /// `part` is a piece of `text`, found in it by its address.
    fn within(text: &str, part: &str) -> Self {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        Self::Range(start as u32, (start + part.len()) as u32)
    }

    fn get<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Absent => None,
            Self::Range(start, end) => Some(&text[*start as usize..*end as usize]),
            Self::Owned(part) => Some(part),
        }
    }
}

/// What the broker says about one handing-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// Names this handing-over; opaque, and new at every attempt.
    pub id: String,
    /// The number of this attempt, from one; after a crash of the broker a lower bound.
    pub attempt: u32,
    /// Says that it may have been handed over before.
    pub redelivered: bool,
    /// How long the broker waits for a sign of life, in milliseconds.
    pub lease_ms: u64,
    /// Says that the next failure that counts makes it a dead letter.
    pub is_last: bool,
    /// The full name of the subscription.
    pub subscription: String,
}

/// An event that arrived on a link.
#[derive(Debug)]
pub(crate) struct Incoming {
    text: Box<str>,
    topic: Box<str>,
    id: Part,
    timestamp: Part,
    source: Part,
    session_id: Part,
    correlation_id: Part,
    causation_id: Part,
    traceparent: Part,
    expires_at: Part,
    payload: Part,
    blobs: Part,
    metadata: Part,
    delivery: Option<DeliveryInfo>,
    is_wide: bool,
}

impl Incoming {
    /// Reads the envelope's fields; `text` is the event object of a frame that was checked whole.
    pub(crate) fn parse(
        topic: &str,
        text: &str,
        delivery: Option<DeliveryInfo>,
    ) -> Result<Self, Error> {
        let text: Box<str> = text.into();
        let head: Head<'_> = serde_json::from_str(&text).map_err(|error| {
            Error::new(
                Code::InvalidFrame,
                format!("expected an event envelope: {error}"),
            )
        })?;
        let t = &*text;
        Ok(Self {
            id: Part::of(t, head.id),
            timestamp: Part::of(t, head.timestamp),
            source: Part::of(t, head.source),
            session_id: Part::of(t, head.session_id),
            correlation_id: Part::of(t, head.correlation_id),
            causation_id: Part::of(t, head.causation_id),
            traceparent: Part::of(t, head.traceparent),
            expires_at: Part::of(t, head.expires_at),
            payload: Part::raw(t, head.payload),
            blobs: Part::raw(t, head.blobs),
            metadata: Part::raw(t, head.metadata),
            topic: topic.into(),
            delivery,
            is_wide: false,
            text,
        })
    }

    /// The same event, handed over once more.
    pub(crate) fn again(&self) -> Self {
        let delivery = self.delivery.clone().map(|delivery| DeliveryInfo {
            attempt: delivery.attempt + 1,
            redelivered: true,
            ..delivery
        });
        let mut again = Self::parse(&self.topic, &self.text, delivery).expect("it was read before");
        again.is_wide = self.is_wide;
        again
    }

    /// The same handing-over of the same event.
    pub(crate) fn same(&self) -> Self {
        let mut same = Self::parse(&self.topic, &self.text, self.delivery.clone())
            .expect("it was read before");
        same.is_wide = self.is_wide;
        same
    }

    /// The same handing-over with another payload.
    pub(crate) fn with_payload(&self, payload: &Bytes) -> Result<Self, Error> {
        let Some(mut envelope) = crate::payload::Members::of(&self.text) else {
            return Err(Error::new(Code::InvalidFrame, "expected an envelope"));
        };
        envelope.set("payload", payload.clone());
        let text = Bytes::encode(&envelope)?;
        let mut other = Self::parse(&self.topic, text.as_str(), self.delivery.clone())?;
        other.is_wide = is_wide(payload.as_str());
        Ok(other)
    }

    /// Notes that its frame holds an integer of 16 digits or more.
    pub(crate) fn set_wide(&mut self, is_wide: bool) {
        self.is_wide = is_wide;
    }

    /// Says whether some number in it may be more than a double holds.
    #[cfg(feature = "host")]
    pub(crate) fn is_wide(&self) -> bool {
        self.is_wide
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn id(&self) -> &str {
        self.id.get(&self.text).unwrap_or_default()
    }

    pub(crate) fn source(&self) -> &str {
        self.source.get(&self.text).unwrap_or_default()
    }

    pub(crate) fn session_id(&self) -> Option<&str> {
        self.session_id.get(&self.text)
    }

    pub(crate) fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.get(&self.text)
    }

    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.get(&self.text)
    }

    pub(crate) fn session_key(&self) -> Option<String> {
        trunkline_contract::topic::session_key(&self.topic, self.session_id())
    }

    pub(crate) fn delivery(&self) -> Option<&DeliveryInfo> {
        self.delivery.as_ref()
    }

    /// When it was published, in Unix milliseconds.
    pub(crate) fn timestamp_ms(&self) -> Result<u64, Error> {
        let text = self.timestamp.get(&self.text).unwrap_or_default();
        let read = text.parse::<jiff::Timestamp>().map_err(|error| {
            let text = format!("expected an event with its timestamp: {error}");
            Error::new(Code::InvalidFrame, text)
        })?;
        Ok(read.as_millisecond().max(0) as u64)
    }

    /// One member of the metadata, where it is there and fits.
    pub(crate) fn metadata_member<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = self.metadata.get(&self.text)?;
        let mut members: BTreeMap<&str, &RawValue> = serde_json::from_str(text).ok()?;
        serde_json::from_str(members.remove(name)?.get()).ok()
    }

    /// The whole envelope as it came.
    pub(crate) fn raw(&self) -> &str {
        &self.text
    }

    pub(crate) fn payload(&self) -> &str {
        self.payload.get(&self.text).unwrap_or("null")
    }

    pub(crate) fn payload_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = self.payload();
        serde_json::from_str(text).map_err(|error| misfit(text, &error))
    }

    pub(crate) fn payload_bytes(&self) -> Result<Bytes, Error> {
        let raw: &RawValue = serde_json::from_str(self.payload())
            .map_err(|error| Error::new(Code::InvalidPayload, error.to_string()))?;
        Ok(Bytes::copy(raw))
    }

    /// The envelope with its payload undecoded.
    pub(crate) fn event(&self) -> Result<Event, Error> {
        let owned = |part: &Part| part.get(&self.text).map(str::to_owned);
        let mut event = Event::bare(self.topic.to_string(), self.payload_bytes()?);
        self.id().clone_into(&mut event.id);
        event.timestamp = owned(&self.timestamp).unwrap_or_default();
        self.source().clone_into(&mut event.source);
        event.session_id = owned(&self.session_id);
        event.correlation_id = owned(&self.correlation_id);
        event.causation_id = owned(&self.causation_id);
        event.traceparent = owned(&self.traceparent);
        event.expires_at = owned(&self.expires_at);
        event.blobs = self.member(&self.blobs)?.unwrap_or_default();
        event.metadata = self
            .member::<BTreeMap<_, _>>(&self.metadata)?
            .unwrap_or_default();
        Ok(event)
    }

    fn member<T: DeserializeOwned>(&self, part: &Part) -> Result<Option<T>, Error> {
        part.get(&self.text).map_or(Ok(None), |text| {
            serde_json::from_str(text)
                .map_err(|error| Error::new(Code::InvalidFrame, error.to_string()))
        })
    }
}

/// Says whether a JSON text holds a run of 16 digits or more: no double may hold it.
pub(crate) fn is_wide(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if byte.is_ascii_digit() { run + 1 } else { 0 };
        run >= 16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves W14, Rust part: every envelope field is there under its wire name.
    #[test]
    fn every_field_of_the_envelope_reaches_the_event() {
        let text = r#"{"id":"e\n1","timestamp":"2026-01-02T03:04:05Z","topic":"agent.x","source":"a/b",
            "session_id":"s","payload":{"n":[1,{}]},"correlation_id":"c","causation_id":"a/b|p",
            "traceparent":"00-1","expires_at":"2027-01-01T00:00:00Z","blobs":["sha256:1"],
            "metadata":{"k":1},"unknown":[]}"#;
        let incoming = Incoming::parse("agent.x", text, None).expect("valid");
        assert_eq!((incoming.id(), incoming.source()), ("e\n1", "a/b"));
        let event = incoming.event().expect("valid");
        assert_eq!(event.id, "e\n1");
        assert_eq!(event.timestamp, "2026-01-02T03:04:05Z");
        assert_eq!(event.session_id.as_deref(), Some("s"));
        assert_eq!(event.payload.as_str(), r#"{"n":[1,{}]}"#);
        assert_eq!(event.correlation_id.as_deref(), Some("c"));
        assert_eq!(event.causation_id.as_deref(), Some("a/b|p"));
        assert_eq!(event.traceparent.as_deref(), Some("00-1"));
        assert_eq!(event.expires_at.as_deref(), Some("2027-01-01T00:00:00Z"));
        assert_eq!(event.blobs, ["sha256:1"]);
        assert_eq!(event.metadata["k"], 1);
        assert!(incoming.raw().contains("unknown"));
    }

    #[test]
    fn absent_and_null_members_read_alike() {
        let incoming = Incoming::parse("t", r#"{"id":"1","session_id":null}"#, None).expect("ok");
        assert_eq!((incoming.session_id(), incoming.payload()), (None, "null"));
    }
}
