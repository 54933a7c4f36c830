//! Tests that nothing of a manifest is read and ignored.

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
[config.proxy]
type = "object"
[config.proxy.fields.port]
type = "integer"
hot = true
"#;

/// Proves T6: every field of a manifest is enforced or refused: none can be of another type, none
/// can be left out without a trace, and none can be made up.
#[test]
fn no_field_of_a_manifest_is_ignored() {
    let text = format!("{FULL}{CONFIG}");
    let whole = Manifest::parse(&text).unwrap().value;
    let lines: Vec<&str> = text.lines().collect();
    let mut seen = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        seen += 1;
        let with = |other: Option<String>| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            lines.splice(at..=at, other);
            Manifest::parse(&lines.join("\n"))
        };
        let other_type = with(Some(format!("{key} = {{ zzz = [[1]] }}")));
        assert!(other_type.is_err(), "{line} may be of any type");
        let made_up = with(Some(format!("{line}\nzzz = 1")));
        assert!(made_up.is_err(), "a key beside {line} is ignored");
        // What is said here is what holds anyway.
        let is_default = ["isolation = \"process\""].contains(line);
        let changes = with(None).map_or(true, |parsed| parsed.value != whole);
        assert!(changes || is_default, "{line} changes nothing");
    }
    assert!(seen > 45, "{seen} fields");
}
