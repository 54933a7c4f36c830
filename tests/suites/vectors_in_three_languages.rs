//! "`contract/vectors` run in all three": what a handler sees of an envelope is what the vectors say, whatever the
//! language. The parts of the contract that only the core reads (frames, streams, matching) are proved on the core
//! itself, which is the same in all three.

use std::path::PathBuf;

use serde_json::{Value, json};
use trunkline_tests::golden::{Subject, folder, play_steps};
use trunkline_tests::sdk::Language;

fn vectors(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../contract/vectors")
        .join(name);
    std::fs::read_to_string(path).expect("the vectors are there")
}

/// Hands these envelopes over; gives what the handler saw of each, the same in every language.
fn seen(envelopes: &[String]) -> Vec<Value> {
    let handshake = std::fs::read_to_string(folder().join("handshake")).expect("it is there");
    let mut steps: Vec<String> = handshake.lines().map(str::to_owned).collect();
    let answer = json!({ "answer": { "events": [{ "seq": 1, "duplicate": false, "matched": 0 }], "kv": [], "stale": [] } });
    for envelope in envelopes {
        steps.push(json!({ "envelope": envelope }).to_string());
        steps.push(json!({ "peer": null }).to_string());
        steps.push(answer.to_string());
    }
    let said = Language::ALL.map(|language| play_steps(&steps, "vectors", &Subject::Sdk(language)));
    for (at, step) in said[0].iter().enumerate() {
        for (language, said) in Language::ALL.iter().zip(&said) {
            assert_eq!(&said[at], step, "{} differs", language.name());
        }
    }
    let frames = said[0].iter().skip(handshake.lines().count());
    frames
        .filter_map(|step| {
            serde_json::from_str::<Value>(step)
                .expect("JSON")
                .get_mut("peer")
                .map(Value::take)
        })
        .map(|frame| {
            let events = &frame["params"]["events"];
            assert!(events[0].is_object(), "the handler failed: {frame}");
            events[0]["event"]["payload"].clone()
        })
        .collect()
}

/// What stands in the envelope for `payload`, byte for byte.
fn payload_of(envelope: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Payload {
        payload: Box<serde_json::value::RawValue>,
    }
    let read: Payload = serde_json::from_str(envelope).expect("an envelope");
    read.payload.get().to_owned()
}

/// Proves W14: `correlation_id`, `session_id`, `id`, `timestamp` and `metadata` are visible to handlers in all three
/// languages under the same names, for every envelope of the vectors; W2: with the bytes of the payload as they came.
#[test]
fn a_handler_sees_what_the_envelope_says_in_three_languages() {
    let entries: Vec<Value> = vectors("envelopes.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a vector"))
        .filter(|entry: &Value| entry["envelope"].is_string())
        .collect();
    let envelopes: Vec<String> = entries
        .iter()
        .map(|entry| entry["envelope"].as_str().expect("a text").to_owned())
        .collect();
    let seen = seen(&envelopes);
    assert_eq!(seen.len(), entries.len());
    for (seen, envelope) in seen.iter().zip(&envelopes) {
        let said: Value = serde_json::from_str(envelope).expect("an envelope");
        for name in [
            "id",
            "timestamp",
            "topic",
            "source",
            "session_id",
            "correlation_id",
            "causation_id",
            "traceparent",
            "expires_at",
        ] {
            assert_eq!(seen[name], said[name], "{name} of {envelope}");
        }
        let or = |name: &str, empty: Value| said.get(name).cloned().unwrap_or(empty);
        assert_eq!(seen["metadata"], or("metadata", json!({})), "{envelope}");
        assert_eq!(seen["blobs"], or("blobs", json!([])), "{envelope}");
        assert_eq!(seen["raw"], payload_of(envelope), "{envelope}");
    }
}

/// Proves the session keys of the vectors (W14) in three languages: the ordering key that a handler sees is the one
/// that the broker orders by.
#[test]
fn a_handler_sees_the_session_key_in_three_languages() {
    let entries: Vec<Value> = serde_json::from_str(&vectors("session_keys.json")).expect("vectors");
    let envelopes: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            json!({
                "id": format!("k-{number}"), "timestamp": "2026-01-02T03:04:05.006Z", "topic": entry["topic"],
                "source": "client:app", "session_id": entry["session_id"], "payload": null,
            })
            .to_string()
        })
        .collect();
    let seen = seen(&envelopes);
    assert_eq!(seen.len(), entries.len());
    for (seen, entry) in seen.iter().zip(&entries) {
        assert_eq!(seen["session_key"], entry["session_key"], "{entry}");
    }
}

/// Proves the times of the vectors in three languages: a handler sees the text that was published, whichever of the
/// valid forms it has.
#[test]
fn a_handler_sees_a_time_as_it_was_written_in_three_languages() {
    let times: Value = serde_json::from_str(&vectors("times.json")).expect("vectors");
    let texts: Vec<&Value> = times["valid"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|time| &time["text"])
        .collect();
    let envelopes: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            json!({
                "id": format!("t-{number}"), "timestamp": text, "topic": "agent.x", "source": "client:app",
                "payload": null, "expires_at": text,
            })
            .to_string()
        })
        .collect();
    for (seen, text) in seen(&envelopes).iter().zip(texts) {
        assert_eq!((&seen["timestamp"], &seen["expires_at"]), (text, text));
    }
}
