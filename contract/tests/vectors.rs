//! Runs every vector of `vectors/` against this crate.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; a vector that does not read is a failure"
)]

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use trunkline_contract::Error;
use trunkline_contract::envelope::{Draft, Stamp, parse_rfc3339, rfc3339};
use trunkline_contract::frame::{Decoder, FaultKind, Frame, scan};
use trunkline_contract::id;
use trunkline_contract::rpc::{Message, parse};
use trunkline_contract::topic::{Class, Filter, check_topic, classify, session_key};

fn text_of(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document(file: &str) -> Value {
    serde_json::from_str(&text_of(file)).unwrap()
}

fn lines(file: &str) -> Vec<Value> {
    text_of(file)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is a list"))
}

fn str_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is a text in {value}"))
}

fn bytes_of(value: &Value, name: &str) -> Vec<u8> {
    match value[name].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => from_hex(str_of(value, &format!("{name}_hex"))),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn fault_name(kind: FaultKind) -> Option<&'static str> {
    match kind {
        FaultKind::NotUtf8 => Some("not_utf8"),
        FaultKind::TooDeep => Some("too_deep"),
        FaultKind::LoneSurrogate => Some("lone_surrogate"),
        FaultKind::NumberTooLarge => Some("number_too_large"),
        _ => None,
    }
}

/// Proves W7: malformed JSON, `5`, `[1]` and invalid UTF-8 are refused with -32700 or -32600.
/// Proves W5, broker side: NaN and Infinity are refused on the wire.
#[test]
fn every_frame_vector_gets_its_verdict() {
    for vector in lines("frames.jsonl") {
        let name = str_of(&vector, "name");
        let frame = bytes_of(&vector, "frame");
        let scanned = scan(&frame);
        if let Some(marked) = vector["big_integer"].as_bool() {
            assert_eq!(scanned.unwrap().has_big_integer, marked, "{name}");
        }
        let expected = str_of(&vector, "verdict");
        match parse(&frame) {
            Err(fault) => {
                assert_eq!(expected, "fault", "{name}: {}", fault.error);
                assert_eq!(vector["code"], fault.code, "{name}: {}", fault.error);
                // Which of scanner and parser notices broken grammar first is not part of the contract.
                let found = scanned.err().and_then(|fault| fault_name(fault.kind));
                assert_eq!(vector["fault"].as_str(), found, "{name}");
            }
            Ok(message) => {
                assert!(scanned.is_ok(), "{name}");
                check_message(&vector, message, expected, name);
            }
        }
    }
}

fn check_message(vector: &Value, message: Message<'_>, expected: &str, name: &str) {
    let raw = |member: &str| vector[member].as_str().map(str::to_owned);
    match message {
        Message::Request { id, method, params } => {
            assert_eq!(expected, "request", "{name}");
            assert_eq!(raw("id").as_deref(), Some(id.get()), "{name}");
            assert_eq!(raw("method").as_deref(), Some(&*method), "{name}");
            assert_eq!(
                raw("params").as_deref(),
                params.map(|raw| raw.get()),
                "{name}"
            );
        }
        Message::Notification { method, params } => {
            assert_eq!(expected, "notification", "{name}");
            assert_eq!(raw("method").as_deref(), Some(&*method), "{name}");
            assert_eq!(
                raw("params").as_deref(),
                params.map(|raw| raw.get()),
                "{name}"
            );
        }
        Message::Response { id, result } => {
            assert_eq!(expected, "response", "{name}");
            assert_eq!(raw("id").as_deref(), Some(id.get()), "{name}");
            match result {
                Ok(result) => assert_eq!(raw("result").as_deref(), Some(result.get()), "{name}"),
                Err(error) => {
                    let code = Error::from_rpc(&error).code;
                    assert_eq!(raw("error").as_deref(), Some(code.as_str()), "{name}");
                }
            }
        }
    }
}

/// Proves W6, decoder part: a frame over the limit is reported with its size; the next one works.
/// Proves W7, decoder part: empty lines and CRLF are harmless.
#[test]
fn every_stream_vector_gives_its_frames_however_it_is_chunked() {
    for vector in lines("streams.jsonl") {
        let name = str_of(&vector, "name");
        let input = bytes_of(&vector, "input");
        let limit = usize::try_from(vector["frame_bytes_max"].as_u64().unwrap()).unwrap();
        for chunk_bytes in [1, 2, 3, 7, 64, 100_000] {
            let mut decoder = Decoder::new(limit);
            let mut found = Vec::new();
            for chunk in input.chunks(chunk_bytes) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let spare = decoder.spare(rest.len());
                    let bytes = rest.len().min(spare.len());
                    spare[..bytes].copy_from_slice(&rest[..bytes]);
                    decoder.filled(bytes);
                    rest = &rest[bytes..];
                    while let Some(frame) = decoder.next_frame() {
                        found.push(described(&frame));
                    }
                }
            }
            found.extend(decoder.finish().map(|frame| described(&frame)));
            let expected: Vec<Value> = list(&vector, "frames").to_vec();
            assert_eq!(found, expected, "{name}, chunks of {chunk_bytes}");
        }
    }
}

fn described(frame: &Frame<'_>) -> Value {
    match frame {
        Frame::TooLarge { bytes, limit } => {
            serde_json::json!({ "too_large": { "bytes": bytes, "limit": limit } })
        }
        Frame::Complete(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::json!({ "complete": text }),
            Err(_) => {
                serde_json::json!({ "complete_hex": to_hex(bytes) })
            }
        },
    }
}

/// Proves W4, contract part: big integers, `{}` against `[]`, null, text and arrays reach the
/// final envelope byte for byte.
#[test]
fn every_envelope_vector_gets_its_final_form_or_its_error() {
    for vector in lines("envelopes.jsonl") {
        let name = str_of(&vector, "name");
        let event = str_of(&vector, "event");
        let draft = match Draft::parse(event) {
            Ok(draft) => draft,
            Err(error) => {
                assert_eq!(vector["code"], error.code.as_str(), "{name}: {error}");
                continue;
            }
        };
        assert_eq!(vector["code"], Value::Null, "{name} was accepted");
        let stamp = &vector["stamp"];
        let additions: Vec<(&str, &str)> = stamp["metadata"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, raw)| (key.as_str(), raw.as_str().unwrap()))
            .collect();
        let stamp = Stamp {
            id: str_of(stamp, "id"),
            timestamp: str_of(stamp, "timestamp"),
            topic: str_of(stamp, "topic"),
            source: str_of(stamp, "source"),
            metadata: &additions,
        };
        let envelope = draft.envelope(&stamp);
        assert_eq!(
            String::from_utf8(envelope).unwrap(),
            str_of(&vector, "envelope"),
            "{name}"
        );
        let body = to_hex(&draft.body(stamp.topic));
        assert_eq!(body, str_of(&vector, "body"), "{name}");
    }
}

#[test]
fn every_topic_vector_holds() {
    let vectors = document("topics.json");
    for vector in list(&vectors, "topics") {
        let text = str_of(vector, "text");
        assert_eq!(vector["valid"], check_topic(text).is_ok(), "topic {text:?}");
    }
    for vector in list(&vectors, "filters") {
        let text = str_of(vector, "text");
        assert_eq!(
            vector["valid"],
            Filter::parse(text).is_ok(),
            "filter {text:?}"
        );
    }
    for vector in list(&vectors, "matches") {
        let filter = Filter::parse(str_of(vector, "filter")).unwrap();
        for (member, expected) in [("yes", true), ("no", false)] {
            for topic in list(vector, member) {
                let topic = topic.as_str().unwrap();
                assert_eq!(filter.matches(topic), expected, "{filter} on {topic}");
            }
        }
    }
    for vector in list(&vectors, "covers") {
        let filter = Filter::parse(str_of(vector, "filter")).unwrap();
        let other = Filter::parse(str_of(vector, "other")).unwrap();
        assert_eq!(
            vector["covers"],
            filter.covers(&other),
            "{filter} covers {other}"
        );
    }
    for vector in list(&vectors, "classes") {
        let found = class(classify(str_of(vector, "topic")));
        for (member, value) in found.as_object().unwrap() {
            assert_eq!(&vector[member], value, "{member} in {vector}");
        }
    }
}

fn class(class: Class<'_>) -> Value {
    let kinded = |class: &str, kind: &str, instance: Option<&str>| serde_json::json!({ "class": class, "kind": kind, "instance": instance });
    match class {
        Class::Inbound { kind, instance } => kinded("inbound", kind, instance),
        Class::Outbound { kind, instance } => kinded("outbound", kind, instance),
        Class::Delivery { kind, instance } => kinded("delivery", kind, instance),
        Class::Hook { kind, instance } => kinded("hook", kind, instance),
        Class::Tool {
            plugin,
            tool,
            reply,
        } => {
            serde_json::json!({ "class": "tool", "plugin": plugin, "tool": tool, "reply": reply })
        }
        Class::Lifecycle { plugin, instance } => {
            serde_json::json!({ "class": "lifecycle", "plugin": plugin, "instance": instance })
        }
        Class::Dead { subscription } => {
            serde_json::json!({ "class": "dead", "subscription": subscription })
        }
        Class::Timer { plugin, instance } => {
            serde_json::json!({ "class": "timer", "plugin": plugin, "instance": instance })
        }
        Class::Part { .. } => serde_json::json!({ "class": "part" }),
        Class::Other => serde_json::json!({ "class": "other" }),
    }
}

#[test]
fn every_session_key_vector_holds() {
    for vector in document("session_keys.json").as_array().unwrap() {
        let found = session_key(str_of(vector, "topic"), vector["session_id"].as_str());
        assert_eq!(vector["session_key"].as_str(), found.as_deref(), "{vector}");
    }
}

type Check = fn(&str) -> bool;

#[test]
fn every_id_vector_holds() {
    let vectors = document("ids.json");
    let checks: [(&str, Check); 5] = [
        ("plugin_ids", id::is_plugin_id),
        ("tool_names", id::is_tool_name),
        ("instance_names", id::is_instance_name),
        ("client_names", id::is_client_name),
        ("event_ids", id::is_event_id),
    ];
    for (member, is_valid) in checks {
        for vector in list(&vectors, member) {
            let text = str_of(vector, "text");
            assert_eq!(vector["valid"], is_valid(text), "{text:?} in {member}");
        }
    }
    for vector in list(&vectors, "derived") {
        let count = u32::try_from(vector["count"].as_u64().unwrap()).unwrap();
        let content = str_of(vector, "content").as_bytes();
        let found = id::derived(str_of(vector, "parent_id"), content, count);
        assert_eq!(vector["id"], found, "{vector}");
    }
    for vector in list(&vectors, "legacy_uuids") {
        assert_eq!(
            vector["uuid"],
            id::legacy_uuid(str_of(vector, "text")),
            "{vector}"
        );
    }
}

#[test]
fn every_time_vector_holds() {
    let vectors = document("times.json");
    for vector in list(&vectors, "valid") {
        let ms = parse_rfc3339(str_of(vector, "text"));
        assert_eq!(vector["ms"].as_i64(), ms, "{vector}");
        assert_eq!(vector["canonical"], rfc3339(ms.unwrap()), "{vector}");
    }
    for text in list(&vectors, "invalid") {
        assert_eq!(parse_rfc3339(text.as_str().unwrap()), None, "{text}");
    }
}
