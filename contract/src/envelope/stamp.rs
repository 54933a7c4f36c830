//! The final envelope: a draft with what only the broker may say.
//!
//! | order | member | from |
//! |---|---|---|
//! | 1 | `id`, `timestamp`, `topic`, `source` | the stamp |
//! | 2 | `session_id`?, `payload` | the draft |
//! | 3 | `correlation_id`? … `expires_at`?, `blobs`? | the draft |
//! | 4 | `metadata`? | the draft, then the stamp's additions, which win |
//! | 5 | unknown members | the draft |

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::draft::Draft;
use crate::rpc::{Text, keep_one_line};

/// Name of the metadata member that keeps a source which was claimed in vain.
const CLAIMED_SOURCE: &str = "claimed_source";

/// Says what the broker writes into an envelope.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The event's id.
    pub id: &'a str,
    /// When it happened, RFC 3339.
    pub timestamp: &'a str,
    /// The complete topic.
    pub topic: &'a str,
    /// Who published it.
    pub source: &'a str,
    /// Additions to the metadata, such as `replay_of`: name and JSON text.
    pub metadata: &'a [(&'a str, &'a str)],
}

impl Draft<'_> {
    /// Gives the final envelope: one JSON object on one line, allocated once.
    ///
    /// A source that the draft claims and the stamp does not confirm goes to
    /// `metadata.claimed_source`.
    pub fn envelope(&self, stamp: &Stamp<'_>) -> Vec<u8> {
        let mut size = Counter(0);
        self.write(stamp, &mut size);
        let mut out = Vec::with_capacity(size.0);
        self.write(stamp, &mut out);
        keep_one_line(&mut out);
        debug_assert_eq!(out.len(), size.0, "both passes write the same");
        out
    }

    fn write(&self, stamp: &Stamp<'_>, out: &mut impl Sink) {
        out.put("{\"id\":");
        string(out, stamp.id);
        member(out, ",\"timestamp\":", Some(stamp.timestamp));
        member(out, ",\"topic\":", Some(stamp.topic));
        member(out, ",\"source\":", Some(stamp.source));
        member(out, ",\"session_id\":", self.session_id.as_deref());
        out.put(",\"payload\":");
        out.put(self.payload);
        member(out, ",\"correlation_id\":", self.correlation_id.as_deref());
        member(out, ",\"causation_id\":", self.causation_id.as_deref());
        member(out, ",\"traceparent\":", self.traceparent.as_deref());
        member(out, ",\"expires_at\":", self.expires_at.as_deref());
        for (index, blob) in self.blobs.iter().enumerate() {
            out.put(if index == 0 { ",\"blobs\":[" } else { "," });
            string(out, blob);
        }
        if !self.blobs.is_empty() {
            out.put("]");
        }
        self.write_metadata(stamp, out);
        for (key, raw) in &self.unknown {
            out.put(",");
            string(out, key);
            out.put(":");
            out.put(raw);
        }
        out.put("}");
    }

    fn write_metadata(&self, stamp: &Stamp<'_>, out: &mut impl Sink) {
        let claimed = self
            .source
            .as_deref()
            .filter(|source| *source != stamp.source);
        if claimed.is_none() && stamp.metadata.is_empty() {
            if let Some(raw) = self.metadata {
                out.put(",\"metadata\":");
                out.put(raw);
            }
            return;
        }
        let own = self.metadata.map(members).unwrap_or_default();
        let mut separator = ",\"metadata\":{";
        let is_added = |key: &str| {
            (claimed.is_some() && key == CLAIMED_SOURCE)
                || stamp.metadata.iter().any(|(name, _)| *name == key)
        };
        for (key, raw) in own.iter().filter(|(key, _)| !is_added(key)) {
            out.put(separator);
            string(out, key);
            out.put(":");
            out.put(raw);
            separator = ",";
        }
        for (key, raw) in stamp.metadata {
            out.put(separator);
            string(out, key);
            out.put(":");
            out.put(raw);
            separator = ",";
        }
        if let Some(source) = claimed {
            out.put(separator);
            string(out, CLAIMED_SOURCE);
            out.put(":");
            string(out, source);
        }
        out.put("}");
    }
}

/// Takes an object's text apart without reading its values. What is no object has no members.
fn members(raw: &str) -> Vec<(Cow<'_, str>, &str)> {
    serde_json::from_str::<MemberList<'_>>(raw)
        .map(|list| list.0)
        .unwrap_or_default()
}

struct MemberList<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for MemberList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = MemberList<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some((Text(key), raw)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    list.push((key, raw.get()));
                }
                Ok(MemberList(list))
            }
        }
        deserializer.deserialize_map(ListVisitor)
    }
}

/// Takes text: once to count it, once to keep it.
trait Sink {
    fn put(&mut self, text: &str);
}

struct Counter(usize);

impl Sink for Counter {
    #[inline]
    fn put(&mut self, text: &str) {
        self.0 += text.len();
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

#[inline]
fn member(out: &mut impl Sink, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.put(key);
        string(out, value);
    }
}

/// Writes a JSON string; what needs no escape is copied in one piece.
#[inline]
fn string(out: &mut impl Sink, text: &str) {
    out.put("\"");
    // Without an early end the compiler looks at many bytes at once.
    let escapes = text.bytes().fold(0, |found: u8, b| {
        found | u8::from(b < 0x20) | u8::from(b == b'"') | u8::from(b == b'\\')
    });
    if escapes != 0 {
        escaped(out, text);
    } else {
        out.put(text);
    }
    out.put("\"");
}

#[cold]
fn escaped(out: &mut impl Sink, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x00..=0x1f => "",
            _ => continue,
        };
        out.put(&text[from..at]);
        if short.is_empty() {
            out.put(&format!("\\u{byte:04x}"));
        } else {
            out.put(short);
        }
        from = at + 1;
    }
    out.put(&text[from..]);
}
