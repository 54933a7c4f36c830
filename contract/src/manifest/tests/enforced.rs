//! Tests that nothing of a manifest is read and ignored.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const CONFIG: &str = r#"
[config.mode]
type = "string"
options = ["poll", "webhook"]
default = "poll"
description = "How messages come in"
[config.url]
type = "string"
required = true
when = { mode = "webhook" }
pattern = "^https://"
min_length = 9
max_length = 200
[config.chats]
type = "array"
items = { type = "integer", min = 1, max = 9 }
min_items = 1
max_items = 3
[config.headers]
type = "object"
values = { type = "string", secret = true }
[config.logo]
type = "file"
max_size = 1024
[config.count]
type = "integer"
min = 1
max = 9
[config.place]
type = "object"
fields = { host = { type = "string" } }
[config.proxy]
type = "object"
[config.proxy.fields.port]
type = "integer"
hot = true
"#;

/// What a manifest may hold beside that, in a plugin with code.
const REST: &str = r#"
[plugin]
id = "shop"
version = "1.0.0"
command = ["shop"]
isolation = "shared"
[[channels]]
kind = "shop"
[channels.features]
text_chars_max = 4096
edits = "full"
deletes = "partial"
reactions = "full"
threads = "partial"
typing = "full"
receipts = "full"
polls = "partial"
poll_options_max = 10
forwards = "full"
cards = "partial"
parts = ["image"]
[channels.features.files]
level = "partial"
bytes_max = 1024
media_types = ["image/png"]
[[tools]]
name = "refund"
description = "Give money back."
kind = "command"
input_schema = { type = "object" }
output_schema = { type = "boolean" }
timeout = "5s"
concurrency = 2
idempotent = true
streaming = true
[[tools]]
name = "filed"
input_schema_file = "in.json"
output_schema_file = "out.json"
[config.key]
type = "string"
secret = true
[[webhooks]]
kind = "shop"
name = "orders"
verify = "generic"
secret = "{config.key}"
id = "/id"
session = "/customer"
respond = "3s"
methods = ["PUT"]
body_bytes_max = 1000
content_types = ["application/json"]
tolerance = "5m"
[webhooks.signature]
algorithm = "hmac-sha512"
header = "X-Signature"
prefix = "v1="
separator = ","
encoding = "base64"
key = "base64"
template = "{timestamp}.{body}"
timestamp = "part:t="
[capabilities]
call = ["bank.*"]
[supervisor.limits]
memory_mb = 512
open_files = 1024
file_size_mb = 100
"#;

/// A server of its own, and a plugin without code.
const SERVED: &str = r#"
[plugin]
id = "shop"
version = "1.0.0"
command = ["shop"]
[capabilities]
http_server = true
[http]
socket = "tcp"
health = "/health"
health_interval = "5s"
health_timeout = "1s"
timeout = "30s"
"#;

/// What these texts do not hold: other spellings of what they do, what the tests of webhooks hold, and what is refused.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "webhooks",
        &["secrets", "verify_token", "origins", "part", "receipt"],
    ),
    ("supervisor", &["hang"]),
];

/// What is said here is what holds anyway.
const DEFAULTS: &[&str] = &["isolation = \"process\""];

type Keys = BTreeMap<String, BTreeSet<String>>;

/// Changes each line of a manifest; notes which keys it has, and which its reader knows beside each.
fn every_line_counts(text: &str, seen: &mut Keys, known: &mut Keys) {
    let whole = Manifest::parse(text).unwrap().value;
    let lines: Vec<&str> = text.lines().collect();
    let mut path = String::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            path = header.trim_matches(['[', ']']).to_owned();
            let (above, key) = path.rsplit_once('.').unwrap_or(("", path.as_str()));
            seen.entry(above.to_owned())
                .or_default()
                .insert(key.to_owned());
        }
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        seen.entry(path.clone()).or_default().insert(key.to_owned());
        let with = |other: Option<String>| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            lines.splice(at..=at, other);
            Manifest::parse(&lines.join("\n"))
        };
        let other_type = with(Some(format!("{key} = {{ zzz = [[1]] }}")));
        let is_schema = key.ends_with("_schema");
        assert!(
            other_type.is_err() || is_schema,
            "{line} may be of any type"
        );
        let made_up = with(Some(format!("{line}\nzzzzzz = 1"))).unwrap_err();
        let unknown = made_up.iter().find(|found| found.code == "unknown_key");
        let hint = unknown.and_then(|found| found.hint.as_ref());
        let list = hint
            .and_then(|hint| hint.split_once(": "))
            .map(|(_, list)| list);
        let list = list.unwrap_or_else(|| panic!("a key beside {line} is ignored"));
        let all = list.split(", ").map(str::to_owned);
        known.entry(path.clone()).or_default().extend(all);
        let changes = with(None).map_or(true, |parsed| parsed.value != whole);
        assert!(changes || DEFAULTS.contains(line), "{line} changes nothing");
    }
}

/// Proves T6: every field of a manifest is enforced or refused: none can be of another type, none
/// can be left out without a trace, and none can be made up. What its reader knows is all there.
#[test]
fn no_field_of_a_manifest_is_ignored() {
    let (mut seen, mut known) = (Keys::new(), Keys::new());
    for text in [&format!("{FULL}{CONFIG}"), REST, SERVED] {
        every_line_counts(text, &mut seen, &mut known);
    }
    // Settings are data: what one of them has, all may have.
    for keys in [&mut seen, &mut known] {
        let names: Vec<String> = keys
            .keys()
            .filter(|path| path.starts_with("config."))
            .cloned()
            .collect();
        for name in names {
            let found = keys.remove(&name).unwrap_or_default();
            keys.entry("config.*".to_owned()).or_default().extend(found);
        }
    }
    for (path, known) in &known {
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| other == path);
        let elsewhere = elsewhere.map_or(&[][..], |(_, keys)| keys);
        let seen = seen.get(path).cloned().unwrap_or_default();
        let missing: Vec<&String> = known
            .iter()
            .filter(|key| !seen.contains(*key) && !elsewhere.contains(&key.as_str()))
            .collect();
        assert!(missing.is_empty(), "[{path}] has {missing:?} too");
    }
}
