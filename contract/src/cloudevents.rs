//! CloudEvents 1.0, in and out: structured, batched and binary.
//!
//! | CloudEvents | event |
//! |---|---|
//! | `id`, `time`, `subject` | `id`, `timestamp`, `session_id` |
//! | `type` | the topic without its instance; in: any topic |
//! | `source` | `/plugin/<plugin>/<instance>`, `/client/<name>`, `/hook/<kind>/<instance>`; in: a claim |
//! | `trunklinetopic` | the whole topic; in: preferred to `type` |
//! | `sequence` | the number in the store, 20 digits, so that it sorts as text |
//! | `correlationid`, `causationid`, `traceparent`, `expirytime` | the members of these names |
//! | `data` | `payload` |
//! | `data_base64` | `payload` as base64 text, with `metadata.data_base64: true` |
//! | `datacontenttype`, `dataschema` | `metadata`, unless it is JSON |
//! | every other extension | `metadata.cloudevents` |
//!
//! Not here: HTTP, and what may be published.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::envelope::Event;
use crate::error::{Code, Error};
use crate::frame::scan;
use crate::rpc::{OnConflict, PublishParams};
use crate::topic::{Class, check_topic, classify};
use crate::whole;

/// Media type of one event as JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of several events as JSON.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What the header of each attribute begins with in binary mode.
pub const HEADER_PREFIX: &str = "ce-";

const SPECVERSION: &str = "1.0";
const JSON: &str = "application/json";
/// Longest name of an attribute.
const NAME_BYTES_MAX: usize = 64;

/// A value of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// A text; also times, addresses and bytes in base64.
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Boolean(value) => json!(value),
            Self::Integer(value) => json!(value),
            Self::Text(value) => json!(value),
        }
    }
}

/// What an event carries.
#[derive(Clone, Debug)]
pub enum Data {
    /// Nothing.
    None,
    /// Any JSON, as it was written.
    Json(Box<RawValue>),
    /// Bytes of another kind.
    Bytes(Vec<u8>),
}

/// Is one CloudEvent.
#[derive(Clone, Debug)]
pub struct CloudEvent {
    /// Context attributes but `specversion`, `data` and `data_base64`, by name.
    attributes: BTreeMap<String, Scalar>,
    data: Data,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidFrame, message)
}

impl CloudEvent {
    /// Reads an event in structured mode.
    ///
    /// # Errors
    /// [`Code::InvalidFrame`], saying which attribute is wrong.
    pub fn from_structured(body: &[u8]) -> Result<Self, Error> {
        scan(body).map_err(|fault| fault.to_error())?;
        let members: Members = serde_json::from_slice(body)
            .map_err(|error| invalid(format!("a CloudEvent: {error}")))?;
        Self::from_members(members)
    }

    /// Reads events in batch mode.
    ///
    /// # Errors
    /// [`Code::InvalidFrame`] with the index of the event that is wrong.
    pub fn from_batch(body: &[u8]) -> Result<Vec<Self>, Error> {
        scan(body).map_err(|fault| fault.to_error())?;
        let all: Vec<Members> = serde_json::from_slice(body)
            .map_err(|error| invalid(format!("a batch of CloudEvents: {error}")))?;
        all.into_iter()
            .enumerate()
            .map(|(index, members)| Self::from_members(members).map_err(|error| error.at(index)))
            .collect()
    }

    /// Reads an event in binary mode: attributes from headers, the body as it is.
    ///
    /// # Arguments
    /// * `headers` - names and values; those that do not begin with `ce-` are left out.
    /// * `media_type` - the header `Content-Type`, if there is one.
    ///
    /// # Errors
    /// [`Code::InvalidFrame`], saying which header is wrong.
    pub fn from_binary<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        media_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Error> {
        let mut attributes = BTreeMap::new();
        for (name, value) in headers {
            let Some(name) = strip_prefix(name) else {
                continue;
            };
            check_name(&name)?;
            let value = decode_header(value)
                .ok_or_else(|| invalid(format!("ce-{name}: expected percent-encoded UTF-8")))?;
            check_text(&name, &value)?;
            if name == "datacontenttype" {
                let message = "expected Content-Type, found ce-datacontenttype";
                return Err(invalid(message));
            }
            if attributes
                .insert(name.clone(), Scalar::Text(value))
                .is_some()
            {
                return Err(invalid(format!("ce-{name} is there twice")));
            }
        }
        if let Some(media_type) = media_type {
            attributes.insert(
                "datacontenttype".to_owned(),
                Scalar::Text(media_type.to_owned()),
            );
        }
        let data = if body.is_empty() {
            Data::None
        } else if is_json(media_type.unwrap_or(JSON)) {
            scan(body).map_err(|fault| fault.to_error())?;
            let raw = serde_json::from_slice(body);
            Data::Json(raw.map_err(|error| invalid(format!("the body: {error}")))?)
        } else {
            Data::Bytes(body.to_vec())
        };
        Self::checked(attributes, data)
    }

    fn from_members(members: Members) -> Result<Self, Error> {
        let mut attributes = BTreeMap::new();
        let (mut data, mut bytes) = (None, None);
        for (name, raw) in members.0 {
            match name.as_str() {
                "data" => data = Some(raw),
                "data_base64" if raw.get() == "null" => {}
                "data_base64" => {
                    let decoded = serde_json::from_str::<String>(raw.get())
                        .ok()
                        .and_then(|text| STANDARD.decode(text).ok());
                    bytes = Some(
                        decoded.ok_or_else(|| invalid("data_base64: expected text in base64"))?,
                    );
                }
                name => {
                    check_name(name)?;
                    if let Some(value) = scalar(name, &raw)? {
                        attributes.insert(name.to_owned(), value);
                    }
                }
            }
        }
        let data = match (data, bytes) {
            (Some(_), Some(_)) => {
                return Err(invalid("expected data or data_base64, found both"));
            }
            (Some(raw), None) => Data::Json(raw),
            (None, Some(bytes)) => Data::Bytes(bytes),
            (None, None) => Data::None,
        };
        Self::checked(attributes, data)
    }

    fn checked(mut attributes: BTreeMap<String, Scalar>, data: Data) -> Result<Self, Error> {
        match attributes.remove("specversion") {
            Some(Scalar::Text(version)) if version == SPECVERSION => {}
            found => {
                let found = found.map_or("none".to_owned(), |found| found.text());
                return Err(invalid(format!("expected specversion 1.0, found {found}")));
            }
        }
        for name in ["id", "source", "type"] {
            match attributes.get(name) {
                Some(Scalar::Text(text)) if !text.is_empty() => {}
                _ => return Err(invalid(format!("expected {name} to be a text, found none"))),
            }
        }
        for name in ["subject", "datacontenttype", "dataschema", "time"] {
            match attributes.get(name) {
                None => {}
                Some(Scalar::Text(text)) if !text.is_empty() => {}
                Some(_) => {
                    return Err(invalid(format!(
                        "expected {name} to be a text that says something"
                    )));
                }
            }
        }
        Ok(Self { attributes, data })
    }

    /// Gives an attribute as text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.get(name).map(Scalar::text)
    }

    /// Gives what it carries.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Makes it ready to be published.
    ///
    /// # Errors
    /// [`Code::InvalidTopic`] when its `type` (or `trunklinetopic`) is no topic.
    pub fn to_publish(&self) -> Result<PublishParams, Error> {
        let mut attributes = self.attributes.clone();
        let mut take = |name: &str| attributes.remove(name).map(|value| value.text());
        let kind = take("type").unwrap_or_default();
        let topic = take("trunklinetopic").unwrap_or(kind);
        check_topic(&topic).map_err(|error| {
            let message = format!("the type of a CloudEvent is a topic: {}", error.message);
            Error::new(Code::InvalidTopic, message)
        })?;
        let mut event = Map::new();
        for (name, member) in [
            ("id", "id"),
            ("source", "source"),
            ("time", "timestamp"),
            ("subject", "session_id"),
            ("correlationid", "correlation_id"),
            ("causationid", "causation_id"),
            ("traceparent", "traceparent"),
            ("expirytime", "expires_at"),
        ] {
            if let Some(value) = take(name) {
                event.insert(member.to_owned(), value.into());
            }
        }
        // The number is the store's to give.
        take("sequence");
        let mut metadata = Map::new();
        let media_type =
            take("datacontenttype").filter(|media_type| !media_type.eq_ignore_ascii_case(JSON));
        let kept = [
            ("datacontenttype", media_type),
            ("dataschema", take("dataschema")),
        ];
        for (name, value) in kept {
            if let Some(value) = value {
                metadata.insert(name.to_owned(), value.into());
            }
        }
        let payload = match &self.data {
            Data::None => RawValue::NULL.to_owned(),
            Data::Json(raw) => raw.clone(),
            Data::Bytes(bytes) => {
                metadata.insert("data_base64".to_owned(), true.into());
                to_raw(&STANDARD.encode(bytes))
            }
        };
        if !attributes.is_empty() {
            let extensions: Map<String, Value> = attributes
                .iter()
                .map(|(name, value)| (name.clone(), value.json()))
                .collect();
            metadata.insert("cloudevents".to_owned(), extensions.into());
        }
        if !metadata.is_empty() {
            event.insert("metadata".to_owned(), metadata.into());
        }
        let event = Published { event, payload };
        Ok(PublishParams {
            topic,
            event: to_raw(&event),
            on_conflict: OnConflict::default(),
            ephemeral: false,
        })
    }

    /// Makes a CloudEvent of an event; `seq` is its number in the store.
    pub fn of(event: &Event, seq: Option<u64>) -> Self {
        let mut attributes = BTreeMap::new();
        let mut put = |name: &str, text: &str| {
            if !text.is_empty() && !text.contains(is_forbidden) {
                attributes.insert(name.to_owned(), Scalar::Text(text.to_owned()));
            }
        };
        put("id", &event.id);
        put("source", &source(&event.source));
        put("type", &without_instance(&event.topic));
        put("time", &event.timestamp);
        put("trunklinetopic", &event.topic);
        for (name, member) in [
            ("subject", &event.session_id),
            ("correlationid", &event.correlation_id),
            ("causationid", &event.causation_id),
            ("traceparent", &event.traceparent),
            ("expirytime", &event.expires_at),
        ] {
            put(name, member.as_deref().unwrap_or_default());
        }
        if let Some(seq) = seq {
            put("sequence", &format!("{seq:020}"));
        }
        let known = |name: &str| event.metadata.get(name).and_then(Value::as_str);
        let bytes = match event.metadata.get("data_base64") {
            Some(Value::Bool(true)) => serde_json::from_str::<String>(event.payload.get())
                .ok()
                .and_then(|text| STANDARD.decode(text).ok()),
            _ => None,
        };
        let media_type = known("datacontenttype").unwrap_or(JSON);
        put("datacontenttype", media_type);
        put("dataschema", known("dataschema").unwrap_or_default());
        if let Some(Value::Object(extensions)) = event.metadata.get("cloudevents") {
            for (name, value) in extensions {
                let value = match value {
                    Value::Bool(value) => Scalar::Boolean(*value),
                    Value::Number(number) => {
                        match number.as_i64().and_then(|n| i32::try_from(n).ok()) {
                            Some(number) => Scalar::Integer(number),
                            None => Scalar::Text(number.to_string()),
                        }
                    }
                    Value::String(text) if !text.contains(is_forbidden) => {
                        Scalar::Text(text.clone())
                    }
                    _ => continue,
                };
                if check_name(name).is_ok() {
                    attributes.entry(name.clone()).or_insert(value);
                }
            }
        }
        let data = match bytes {
            Some(bytes) => Data::Bytes(bytes),
            None => Data::Json(event.payload.clone()),
        };
        Self { attributes, data }
    }

    /// Writes it in structured mode.
    pub fn to_structured(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("attributes and raw JSON have a JSON form")
    }

    /// Writes it in binary mode: headers, media type and body.
    pub fn to_binary(&self) -> (Vec<(String, String)>, String, Vec<u8>) {
        let mut headers = vec![("ce-specversion".to_owned(), SPECVERSION.to_owned())];
        let mut media_type = JSON.to_owned();
        for (name, value) in &self.attributes {
            if name == "datacontenttype" {
                media_type = value.text();
            } else {
                headers.push((
                    format!("{HEADER_PREFIX}{name}"),
                    encode_header(&value.text()),
                ));
            }
        }
        let body = match &self.data {
            Data::None => Vec::new(),
            Data::Json(raw) if is_json(&media_type) => raw.get().as_bytes().to_vec(),
            // A text of another kind is itself, without the quotes of JSON.
            Data::Json(raw) => serde_json::from_str(raw.get())
                .unwrap_or_else(|_| raw.get().to_owned())
                .into_bytes(),
            Data::Bytes(bytes) => bytes.clone(),
        };
        (headers, media_type, body)
    }
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPECVERSION)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, &value.json())?;
        }
        match &self.data {
            Data::None => {}
            Data::Json(raw) => map.serialize_entry("data", raw)?,
            Data::Bytes(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

/// An envelope with its payload as it came.
struct Published {
    event: Map<String, Value>,
    payload: Box<RawValue>,
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.event.len() + 1))?;
        for (name, value) in &self.event {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("payload", &self.payload)?;
        map.end()
    }
}

fn to_raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("texts and raw JSON have a JSON form")
}

/// Members of an object in their order; one that comes twice is refused.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.contains_key(&name) {
                        let message = format!("member {name:?} is there twice");
                        return Err(serde::de::Error::custom(message));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members.into_iter().collect()))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Reads the value of an attribute; `null` is absent.
fn scalar(name: &str, raw: &RawValue) -> Result<Option<Scalar>, Error> {
    let value: Value =
        serde_json::from_str(raw.get()).map_err(|error| invalid(format!("{name}: {error}")))?;
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => Scalar::Boolean(value),
        Value::String(text) => {
            check_text(name, &text)?;
            Scalar::Text(text)
        }
        Value::Number(number) => {
            let message = || {
                invalid(format!(
                    "{name}: expected a whole number of 32 bits, found {number}"
                ))
            };
            Scalar::Integer(whole::of_i32(&number).ok_or_else(message)?)
        }
        Value::Array(_) | Value::Object(_) => {
            let message =
                format!("{name}: expected a text, number or boolean, found something nested");
            return Err(invalid(message));
        }
    }))
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(invalid(format!(
        "expected an attribute of a-z and 0-9, at most {NAME_BYTES_MAX}, found {name:?}"
    )))
}

fn is_forbidden(c: char) -> bool {
    c.is_control()
}

fn check_text(name: &str, text: &str) -> Result<(), Error> {
    if text.contains(is_forbidden) {
        let message = format!("{name}: expected a text without control characters, found one");
        return Err(invalid(message));
    }
    Ok(())
}

/// Says whether a media type is JSON.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == JSON || essence == "text/json" || essence.ends_with("+json")
}

fn strip_prefix(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(HEADER_PREFIX).map(str::to_owned)
}

/// Writes a text into a header: blank, `"`, `%` and everything that is no printable ASCII is escaped.
fn encode_header(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Reads a text out of a header; none when it is no UTF-8.
fn decode_header(value: &[u8]) -> Option<String> {
    let value = unquoted(value);
    let mut bytes = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let escaped = (*byte == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Takes the quotes off a quoted string.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let [b'"', inner @ .., b'"'] = value else {
        return value.to_vec();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for byte in inner {
        if *byte == b'\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            bytes.push(*byte);
        }
    }
    bytes
}

fn source(source: &str) -> String {
    let (family, name) = match source.split_once(':') {
        Some((family, name)) => (family, name),
        None if source.contains('/') => ("plugin", source),
        None => ("broker", source),
    };
    format!("/{family}/{name}").trim_end_matches('/').to_owned()
}

fn without_instance(topic: &str) -> String {
    match classify(topic) {
        Class::Inbound {
            instance: Some(instance),
            ..
        }
        | Class::Outbound {
            instance: Some(instance),
            ..
        }
        | Class::Delivery {
            instance: Some(instance),
            ..
        }
        | Class::Hook {
            instance: Some(instance),
            ..
        } => topic
            .strip_suffix(instance)
            .and_then(|topic| topic.strip_suffix('.'))
            .unwrap_or(topic)
            .to_owned(),
        _ => topic.to_owned(),
    }
}

#[cfg(test)]
mod tests;
