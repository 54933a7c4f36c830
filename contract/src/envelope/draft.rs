//! An envelope as a publisher sent it, checked but not yet stamped.
//!
//! Everything is optional here. `null` reads as absent; a duplicate key is refused; the payload is
//! never parsed; unknown members are kept.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::time::parse_rfc3339;
use crate::error::{Code, Error};
use crate::id::is_event_id;
use crate::limits::{BLOBS_MAX, EVENT_ID_BYTES_MAX, REFERENCE_BYTES_MAX, SESSION_ID_BYTES_MAX};
use crate::rpc::{Keys, Text};

/// Is an envelope as a publisher sent it.
///
/// ```
/// use trunkline_contract::envelope::{Draft, Stamp};
/// let draft = Draft::parse(r#"{"id":"a","session_id":"42","payload":{"n":1}}"#).unwrap();
/// assert_eq!(draft.payload, r#"{"n":1}"#);
/// let stamp = Stamp {
///     id: "a",
///     timestamp: "2026-01-02T03:04:05.006Z",
///     topic: "agent.done",
///     source: "client:app",
///     metadata: &[],
/// };
/// assert_eq!(
///     String::from_utf8(draft.envelope(&stamp)).unwrap(),
///     r#"{"id":"a","timestamp":"2026-01-02T03:04:05.006Z","topic":"agent.done","#.to_owned()
///         + r#""source":"client:app","session_id":"42","payload":{"n":1}}"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<'a> {
    /// The event's id, if the publisher gave one.
    pub id: Option<Cow<'a, str>>,
    /// When it happened, RFC 3339.
    pub timestamp: Option<Cow<'a, str>>,
    /// The topic that stands in the envelope; the one beside it decides.
    pub topic: Option<Cow<'a, str>>,
    /// Who claims to have published it.
    pub source: Option<Cow<'a, str>>,
    /// Its conversation.
    pub session_id: Option<Cow<'a, str>>,
    /// The event that this answers.
    pub correlation_id: Option<Cow<'a, str>>,
    /// The event whose handling produced this one.
    pub causation_id: Option<Cow<'a, str>>,
    /// W3C trace context.
    pub traceparent: Option<Cow<'a, str>>,
    /// When it loses its use, RFC 3339.
    pub expires_at: Option<Cow<'a, str>>,
    /// The payload's JSON text; `null` when absent.
    pub payload: &'a str,
    /// Blobs that it keeps alive.
    pub blobs: Vec<Cow<'a, str>>,
    /// Text of the metadata object.
    pub metadata: Option<&'a str>,
    /// Members that this version does not know, as text.
    pub unknown: Vec<(Cow<'a, str>, &'a str)>,
}

impl Default for Draft<'_> {
    fn default() -> Self {
        Self {
            id: None,
            timestamp: None,
            topic: None,
            source: None,
            session_id: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            expires_at: None,
            payload: "null",
            blobs: Vec::new(),
            metadata: None,
            unknown: Vec::new(),
        }
    }
}

impl<'a> Draft<'a> {
    /// Reads and checks an envelope.
    ///
    /// # Errors
    /// [`Code::InvalidFrame`] for what is no envelope; the message says which member and why.
    pub fn parse(raw: &'a str) -> Result<Draft<'a>, Error> {
        let draft: Draft<'a> = serde_json::from_str(raw).map_err(|error| {
            Error::new(
                Code::InvalidFrame,
                format!("expected an event envelope, found: {error}"),
            )
        })?;
        draft.check()?;
        Ok(draft)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(id) = &self.id
            && !is_event_id(id)
        {
            return Err(wrong(format!(
                "expected 1 to {EVENT_ID_BYTES_MAX} bytes without control characters as `id`, \
                 found {} bytes",
                id.len()
            )));
        }
        let sized = [
            ("session_id", &self.session_id, SESSION_ID_BYTES_MAX),
            ("source", &self.source, REFERENCE_BYTES_MAX),
            ("correlation_id", &self.correlation_id, REFERENCE_BYTES_MAX),
            ("causation_id", &self.causation_id, REFERENCE_BYTES_MAX),
            ("traceparent", &self.traceparent, REFERENCE_BYTES_MAX),
        ];
        for (name, text, bytes_max) in sized {
            if let Some(text) = text
                && text.len() > bytes_max
            {
                let found = text.len();
                return Err(wrong(format!(
                    "expected at most {bytes_max} bytes as `{name}`, found {found}"
                )));
            }
        }
        for (name, text) in [
            ("timestamp", &self.timestamp),
            ("expires_at", &self.expires_at),
        ] {
            if let Some(text) = text
                && parse_rfc3339(text).is_none()
            {
                return Err(wrong(format!(
                    "expected an RFC 3339 date and time as `{name}`, found {text:?}"
                )));
            }
        }
        self.check_blobs()
    }

    fn check_blobs(&self) -> Result<(), Error> {
        if self.blobs.len() > BLOBS_MAX {
            return Err(wrong(format!(
                "expected at most {BLOBS_MAX} `blobs`, found {}",
                self.blobs.len()
            )));
        }
        for (index, blob) in self.blobs.iter().enumerate() {
            let digits = blob.strip_prefix("sha256:").unwrap_or_default();
            let is_digest = digits.len() == 64
                && digits
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if !is_digest {
                return Err(wrong(format!(
                    "expected `sha256:` and 64 lower case hex digits in `blobs`, found {blob:?}"
                ))
                .at(index));
            }
        }
        Ok(())
    }

    /// Gives what "the same body" means for deduplication: SHA-256 over topic, session and payload,
    /// each with its length before it.
    ///
    /// ```
    /// use trunkline_contract::envelope::Draft;
    /// let one = Draft::parse(r#"{"id":"a","payload":1}"#).unwrap();
    /// let other = Draft::parse(r#"{"id":"b","payload":1,"source":"x"}"#).unwrap();
    /// assert_eq!(one.body("agent.x"), other.body("agent.x"));
    /// assert_ne!(one.body("agent.x"), one.body("agent.y"));
    /// ```
    pub fn body(&self, topic: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((topic.len() as u64).to_be_bytes());
        hash.update(topic);
        match &self.session_id {
            Some(session) => {
                hash.update((session.len() as u64).to_be_bytes());
                hash.update(session.as_bytes());
            }
            None => hash.update(u64::MAX.to_be_bytes()),
        }
        hash.update((self.payload.len() as u64).to_be_bytes());
        hash.update(self.payload);
        hash.finalize().into()
    }

    /// Gives the instant after which it is not to be delivered, in ms since the epoch.
    ///
    /// # Errors
    /// [`Code::InvalidFrame`] if a hand-made draft holds no RFC 3339 text.
    pub fn expires_at_ms(&self) -> Result<Option<i64>, Error> {
        let Some(text) = &self.expires_at else {
            return Ok(None);
        };
        parse_rfc3339(text).map(Some).ok_or_else(|| {
            wrong(format!(
                "expected an RFC 3339 date and time as `expires_at`, found {text:?}"
            ))
        })
    }
}

fn wrong(message: String) -> Error {
    Error::new(Code::InvalidFrame, message)
}

/// Names the members that are known, for the check against duplicates.
#[derive(Default)]
struct Seen(u16);

impl Seen {
    fn is_first(&mut self, member: u16) -> bool {
        let bit = 1 << member;
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        is_first
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Draft<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DraftVisitor;
        impl<'de> Visitor<'de> for DraftVisitor {
            type Value = Draft<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                read_members(map)
            }
        }
        deserializer.deserialize_map(DraftVisitor)
    }
}

fn read_members<'de, A: MapAccess<'de>>(mut map: A) -> Result<Draft<'de>, A::Error> {
    use serde::de::Error as _;

    let mut draft = Draft::default();
    let mut seen = Seen::default();
    let mut unknown = Keys::default();
    while let Some(Text(key)) = map.next_key()? {
        let (member, slot) = match &*key {
            "id" => (0, Some(&mut draft.id)),
            "timestamp" => (1, Some(&mut draft.timestamp)),
            "topic" => (2, Some(&mut draft.topic)),
            "source" => (3, Some(&mut draft.source)),
            "session_id" => (4, Some(&mut draft.session_id)),
            "correlation_id" => (5, Some(&mut draft.correlation_id)),
            "causation_id" => (6, Some(&mut draft.causation_id)),
            "traceparent" => (7, Some(&mut draft.traceparent)),
            "expires_at" => (8, Some(&mut draft.expires_at)),
            "payload" => (9, None),
            "blobs" => (10, None),
            "metadata" => (11, None),
            _ => {
                let raw = map.next_value::<&RawValue>()?.get();
                if !unknown.insert(key.clone()) {
                    return Err(A::Error::custom(format_args!("the key {key:?} twice")));
                }
                draft.unknown.push((key, raw));
                continue;
            }
        };
        if !seen.is_first(member) {
            return Err(A::Error::custom(format_args!("the key {key:?} twice")));
        }
        if let Some(slot) = slot {
            *slot = map
                .next_value::<Option<Text<'de>>>()
                .map_err(|error| A::Error::custom(format_args!("{error} in `{key}`")))?
                .map(|text| text.0);
            continue;
        }
        match member {
            9 => draft.payload = map.next_value::<&RawValue>()?.get(),
            10 => {
                let blobs = map
                    .next_value::<Option<Vec<Text<'de>>>>()?
                    .unwrap_or_default();
                draft.blobs = blobs.into_iter().map(|text| text.0).collect();
            }
            _ => draft.metadata = object(map.next_value::<&RawValue>()?.get())?,
        }
    }
    Ok(draft)
}

fn object<E: serde::de::Error>(raw: &str) -> Result<Option<&str>, E> {
    if raw == "null" {
        return Ok(None);
    }
    if raw.starts_with('{') {
        return Ok(Some(raw));
    }
    Err(E::custom("another value than an object as `metadata`"))
}
