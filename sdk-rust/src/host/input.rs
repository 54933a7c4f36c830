//! What the host language writes, read: payloads, durations, drafts of events, changes of state.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::frame::scan;
use trunkline_contract::limits::JSON_DEPTH_MAX;
use trunkline_contract::rpc::IfLock;

use super::timer::TimerChangeIn;
use crate::batch::Batch;
use crate::duration::IntoDuration;
use crate::event::{Event, Target};
use crate::payload::{Bytes, Json};
use crate::receipt::Receipt;

/// Levels of nesting that a frame adds around a payload.
const FRAME_LEVELS: usize = 8;

/// Makes the error that a payload without a JSON form is refused with.
pub fn payload_error(what: &str) -> Error {
    Error::new(
        Code::InvalidPayload,
        format!("a payload must be valid JSON: {what}"),
    )
}

/// Reads the arguments of a call.
pub(super) fn args<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(Code::InvalidArguments, error.to_string()))
}

/// Takes a payload over, if every peer can read it.
pub(super) fn payload(raw: &RawValue) -> Result<Bytes, Error> {
    check(raw.get())?;
    Ok(Bytes::copy(raw))
}

/// Does the same with a text that may be no JSON.
pub(super) fn checked(text: String) -> Result<Bytes, Error> {
    check(&text)?;
    Bytes::from_json(text)
}

fn check(text: &str) -> Result<(), Error> {
    let facts = scan(text.as_bytes()).map_err(|fault| payload_error(&fault.to_error().message))?;
    let most = JSON_DEPTH_MAX - FRAME_LEVELS;
    if facts.depth > most {
        let text = format!("expected at most {most} levels, found {}", facts.depth);
        return Err(payload_error(&text));
    }
    Ok(())
}

/// Reads a member that may be `null` and is there all the same.
pub(super) fn some<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A duration as the host wrote it: `"30s"`, or `{"ms": 1500}` for a value of its own type.
#[derive(Clone, Debug)]
pub(super) enum DurationIn {
    Text(String),
    Ms(u64),
}

impl<'de> Deserialize<'de> for DurationIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsDuration;
        impl<'de> Visitor<'de> for AsDuration {
            type Value = DurationIn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\" or \"5m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(DurationIn::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let found = map.next_entry::<Cow<'_, str>, u64>()?;
                match found {
                    Some((key, ms)) if key == "ms" => Ok(DurationIn::Ms(ms)),
                    _ => Err(de::Error::custom(
                        "expected a duration such as {\"ms\": 1500}",
                    )),
                }
            }
        }
        deserializer.deserialize_any(AsDuration)
    }
}

impl IntoDuration for DurationIn {
    fn into_duration(self) -> Result<Duration, Error> {
        match self {
            Self::Text(text) => text.into_duration(),
            Self::Ms(ms) => Ok(Duration::from_millis(ms)),
        }
    }
}

/// A draft of an event.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DraftIn<'a> {
    topic: Option<String>,
    #[serde(default)]
    inbound: bool,
    receipt: Option<Receipt>,
    kind: Option<String>,
    #[serde(borrow, default, deserialize_with = "some")]
    payload: Option<&'a RawValue>,
    id: Option<String>,
    session: Option<String>,
    correlation: Option<String>,
    expires: Option<DurationIn>,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    metadata: BTreeMap<String, Json>,
    #[serde(default)]
    blobs: Vec<String>,
    source: Option<String>,
}

impl DraftIn<'_> {
    pub(super) fn event(self) -> Result<Event, Error> {
        let payload = self.payload.map(payload).transpose()?.unwrap_or_default();
        let mut event = match (self.topic, self.receipt) {
            (Some(topic), None) if !self.inbound => Event::bare(topic, payload),
            (None, None) if self.inbound => Event::inbound(payload),
            (None, Some(receipt)) if !self.inbound => {
                let mut event = Event::to(String::new(), &receipt);
                event.draft.target = Target::Delivery { kind: None };
                event
            }
            _ => {
                let text = "expected an event with a topic, or one made by `Event.inbound`";
                return Err(Error::new(Code::InvalidArguments, text));
            }
        };
        if let Some(kind) = self.kind {
            event = event.kind(kind);
        }
        if let Some(id) = self.id {
            event = event.id(id);
        }
        if let Some(session) = self.session {
            event = event.session(session);
        }
        if let Some(id) = self.correlation {
            event = event.correlation(id);
        }
        if let Some(after) = self.expires {
            event = event.expires(after);
        }
        if self.ephemeral {
            event = event.ephemeral();
        }
        event.metadata = self.metadata;
        event.blobs = self.blobs;
        event.source = self.source.unwrap_or_default();
        Ok(event)
    }
}

/// Several events and changes of state.
#[derive(serde::Deserialize)]
pub(super) struct BatchIn<'a> {
    #[serde(borrow, default)]
    pub(super) events: Vec<DraftIn<'a>>,
    #[serde(borrow, default)]
    pub(super) kv: Vec<ChangeIn<'a>>,
    #[serde(default)]
    timers: Vec<TimerChangeIn>,
    #[serde(default)]
    pub(super) if_lock: Option<IfLock>,
    #[serde(borrow, default)]
    parts: Vec<crate::assemble::Part<&'a RawValue>>,
    #[serde(borrow, default, deserialize_with = "some")]
    cursor: Option<&'a RawValue>,
    #[serde(default)]
    again: Option<DurationIn>,
    #[serde(borrow, default, deserialize_with = "some")]
    ack: Option<&'a RawValue>,
}

/// A change of state.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeIn<'a> {
    op: ChangeOp,
    key: String,
    #[serde(borrow, default, deserialize_with = "some")]
    value: Option<&'a RawValue>,
    ttl: Option<DurationIn>,
    if_revision: Option<u64>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChangeOp {
    Put,
    Delete,
}

impl BatchIn<'_> {
    pub(super) fn batch(self) -> Result<Batch, Error> {
        let events = self.events.into_iter().enumerate();
        let events = events.map(|(index, draft)| draft.event().map_err(|error| error.at(index)));
        let mut batch = Batch::new(events.collect::<Result<Vec<_>, _>>()?);
        for change in self.kv {
            batch = match change.op {
                ChangeOp::Put => {
                    let value = change.value.map(payload).transpose()?.unwrap_or_default();
                    batch.put(change.key, value)
                }
                ChangeOp::Delete => batch.delete(change.key),
            };
            if let Some(ttl) = change.ttl {
                batch = batch.ttl(ttl);
            }
            if let Some(revision) = change.if_revision {
                batch = batch.if_revision(revision);
            }
        }
        for change in self.timers {
            batch = change.change(batch)?;
        }
        batch.if_lock = self.if_lock;
        for part in self.parts {
            batch = batch.part(part.with(payload)?);
        }
        if let Some(cursor) = self.cursor {
            batch = batch.cursor(payload(cursor)?);
        }
        if let Some(again) = self.again {
            batch = batch.again(again);
        }
        if let Some(ack) = self.ack {
            batch = batch.ack(payload(ack)?);
        }
        Ok(batch)
    }
}

/// An error of the catalogue, as the host gives it back.
#[derive(serde::Deserialize)]
pub(super) struct ErrorIn {
    code: Code,
    message: String,
    retry_after_ms: Option<u64>,
    detail: Option<Json>,
    pub(super) location: Option<String>,
    pub(super) traceback: Option<String>,
}

impl From<ErrorIn> for Error {
    fn from(error: ErrorIn) -> Self {
        let mut made = Self::new(error.code, error.message);
        made.retry_after_ms = error.retry_after_ms;
        made.detail = error.detail;
        made
    }
}
