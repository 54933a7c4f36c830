//! Checks topics, decoder and scanner against slow oracles over thousands of random cases.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::frame::{Decoder, FaultKind, Frame, scan};
use trunkline_contract::rpc::parse;
use trunkline_contract::topic::{Filter, check_topic};

/// Says the same as `Filter::matches`, by recursion over the segments.
fn slow_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", filter @ ..], [_, topic @ ..]) => slow_match(filter, topic),
        ([first, filter @ ..], [segment, topic @ ..]) => {
            first == segment && slow_match(filter, topic)
        }
        _ => false,
    }
}

fn segments(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

/// Lists every topic of up to `length` segments over `a`, `b` and one segment no filter names.
fn topics_up_to(length: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut last: Vec<String> = vec![String::new()];
    for _ in 0..length {
        last = last
            .iter()
            .flat_map(|head| {
                ["a", "b", "other"].map(|segment| {
                    if head.is_empty() {
                        segment.to_owned()
                    } else {
                        format!("{head}.{segment}")
                    }
                })
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

fn any_topic() -> impl Strategy<Value = String> {
    prop::collection::vec("[abAB]|[ab]{2}", 1..6).prop_map(|parts| parts.join("."))
}

fn any_filter() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(prop_oneof!["[ab]", Just("*".to_owned())], 0..5),
        any::<bool>(),
    )
        .prop_map(|(mut parts, open)| {
            if open || parts.is_empty() {
                parts.push(">".to_owned());
            }
            parts.join(".")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_matches_what_the_slow_oracle_matches(filter in any_filter(), topic in any_topic()) {
        let parsed = Filter::parse(&filter).unwrap();
        prop_assert!(check_topic(&topic).is_ok());
        prop_assert_eq!(parsed.matches(&topic), slow_match(&segments(&filter), &segments(&topic)));
    }

    #[test]
    fn no_text_makes_topic_functions_panic(text in "\\PC{0,40}|[a*>.]{0,20}", topic in "[ab.*>]{0,12}") {
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(filter.as_str(), &text);
            filter.matches(&topic);
        }
        if check_topic(&text).is_ok() {
            prop_assert!(Filter::parse(&text).unwrap().matches(&text));
        }
        trunkline_contract::topic::classify(&text);
        trunkline_contract::topic::session_key(&text, Some(&topic));
    }

    #[test]
    fn the_scanner_and_the_parser_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if scan(&bytes).is_err() {
            prop_assert_eq!(parse(&bytes).unwrap_err().code, -32700);
        }
    }

    #[test]
    fn the_decoder_gives_the_same_frames_however_the_stream_is_chunked(
        stream in prop::collection::vec(
            prop_oneof![4 => Just(b'x'), 1 => Just(b'\r'), 2 => Just(b'\n')], 0..400),
        chunks in prop::collection::vec(1_usize..60, 1..20),
        limit in 0_usize..30,
    ) {
        let mut decoder = Decoder::new(limit);
        let mut found = Vec::new();
        let mut rest = &stream[..];
        for bytes in chunks.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let bytes = (*bytes).min(rest.len());
            decoder.spare(bytes)[..bytes].copy_from_slice(&rest[..bytes]);
            decoder.filled(bytes);
            rest = &rest[bytes..];
            while let Some(frame) = decoder.next_frame() {
                found.push(owned(&frame));
            }
            prop_assert!(decoder.buffered() <= limit + 1);
        }
        found.extend(decoder.finish().map(|frame| owned(&frame)));
        prop_assert_eq!(found, slow_frames(&stream, limit));
    }
}

#[derive(Debug, PartialEq)]
enum Owned {
    Complete(Vec<u8>),
    TooLarge(u64),
}

fn owned(frame: &Frame<'_>) -> Owned {
    match frame {
        Frame::Complete(bytes) => Owned::Complete(bytes.to_vec()),
        Frame::TooLarge { bytes, .. } => Owned::TooLarge(*bytes),
    }
}

/// Says what the decoder gives, with the whole stream in hand.
fn slow_frames(stream: &[u8], limit: usize) -> Vec<Owned> {
    stream
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let frame = line.strip_suffix(b"\r").unwrap_or(line);
            if frame.len() > limit {
                return Some(Owned::TooLarge(line.len() as u64));
            }
            (!frame.is_empty()).then(|| Owned::Complete(frame.to_vec()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_covers_another_exactly_if_it_matches_all_its_topics(
        filter in any_filter(),
        other in any_filter(),
    ) {
        let (ours, theirs) = (Filter::parse(&filter).unwrap(), Filter::parse(&other).unwrap());
        let covers = topics_up_to(6)
            .iter()
            .filter(|topic| theirs.matches(topic))
            .all(|topic| ours.matches(topic));
        prop_assert_eq!(ours.covers(&theirs), covers, "{} covers {}", filter, other);
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "\"([a-z中é😀 /{}\\[\\],:]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\u[dD][89abAB][0-9a-f]{2}(\\\\u[dD][c-fC-F][0-9a-f]{2})?){0,12}\"",
    ];
    leaf.prop_recursive(80, 200, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(("[a-z]{0,3}", inner.clone()), 0..4).prop_map(|all| {
                let all: Vec<String> = all
                    .iter()
                    .map(|(key, value)| format!("\"{key}\": {value}"))
                    .collect();
                format!("{{{}}}", all.join(", "))
            }),
            (inner, 1_usize..70).prop_map(|(value, depth)| {
                format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth))
            }),
        ]
    })
}

/// Counts nesting, with strings left out.
fn slow_depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '[' | '{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ']' | '}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The scanner accepts exactly the JSON that a full parse can hold: no lone surrogates, no
    /// number beyond f64, at most 64 levels.
    #[test]
    fn the_scanner_agrees_with_a_full_parse(text in any_json()) {
        prop_assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "the generator writes JSON");
        let depth = slow_depth(&text);
        let verdict = scan(text.as_bytes());
        if depth > 64 {
            let kind = verdict.unwrap_err().kind;
            prop_assert!(kind != FaultKind::NotJson && kind != FaultKind::NotUtf8);
        } else {
            let parsed = serde_json::from_str::<Value>(&text);
            prop_assert_eq!(verdict.is_ok(), parsed.is_ok(), "{:?} {:?} {}", verdict, parsed, text);
        }
    }

    #[test]
    fn damaged_json_never_panics_and_never_passes_as_a_message(
        text in any_json(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":[{text}]}}").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let is_json = std::str::from_utf8(&bytes)
            .is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        if !is_json {
            prop_assert_eq!(parse(&bytes).unwrap_err().code, -32700);
        }
    }
}
