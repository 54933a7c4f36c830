//! Tests of what a manifest may declare of its config.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::manifest::Manifest;

const BEGIN: &str = "[plugin]\nid = \"a\"\nversion = \"1.0.0\"\ncommand = [\"./a\"]\n";

fn refused(config: &str, expected: Expect) {
    let found = Manifest::parse(&format!("{BEGIN}{config}")).unwrap_err();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

/// Proves LN54: text, number, boolean, select, list, map, file, secret, nested, conditional and
/// bounds can be declared.
#[test]
fn every_type_and_rule_is_read() {
    let text = r#"
[config.mode]
type = "string"
options = ["poll", "webhook"]
default = "poll"
label = "Mode"
description = "How messages come in"
[config.url]
type = "string"
required = true
when = { mode = "webhook" }
pattern = "^https://"
max_length = 200
[config.chats]
type = "array"
items = { type = "integer", min = 1 }
max_items = 3
[config.headers]
type = "object"
values = { type = "string", secret = true }
[config.logo]
type = "file"
max_size = 1024
[config.poll]
type = "duration"
min = "1s"
[config.proxy]
type = "object"
default = {}
[config.proxy.fields.host]
type = "string"
default = "localhost"
[config.proxy.fields.password]
type = "string"
secret = true
unique = true
"#;
    let config = Manifest::parse(&format!("{BEGIN}{text}"))
        .unwrap()
        .value
        .config;
    let mode = &config.keys["mode"];
    assert_eq!(mode.options, [json!("poll"), json!("webhook")]);
    assert_eq!(mode.description.as_deref(), Some("How messages come in"));
    let url = &config.keys["url"];
    assert_eq!(url.when["mode"], [json!("webhook")]);
    assert_eq!(url.rules.pattern.as_deref(), Some("^https://"));
    let chats = &config.keys["chats"];
    assert_eq!(chats.items.as_ref().unwrap().rules.min, Some(json!(1)));
    assert_eq!(chats.rules.max_items, Some(3));
    assert!(config.keys["headers"].holds_secret() && !chats.holds_secret());
    assert_eq!(config.keys["logo"].kind, ConfigType::File);
    let password = config.keys["proxy"].below("password").unwrap();
    assert!(password.secret && password.unique);
}

/// Proves T6: what a manifest says of a key is enforced or refused, and refused all at once.
#[test]
fn what_has_no_meaning_for_a_key_is_refused() {
    refused(
        r#"
[config.a]
type = "boolean"
min = 1
options = [true]
[config.b]
type = "integer"
min = 5
max = 1
pattern = "x"
default = 7
[config.c]
type = "string"
pattern = "("
min_length = 3
max_length = 2
options = [1]
[config.d]
type = "array"
items = { type = "string", default = "x", hot = true }
max_size = 5
[config.e]
type = "object"
min_items = 1
[config.e.fields.instance_env]
type = "string"
[config.e.fields.instance]
type = "list"
[config.f]
type = "string"
when = { g = 1, a = "yes", d = 1 }
[config.h]
type = "string"
when = { i = "x" }
[config.i]
type = "string"
when = { h = "x" }
colour = "red"
"#,
        expect![[r#"
            plugin.toml:8:1: config.a.min is for the type integer or number or duration, found boolean
            plugin.toml:8:7: config.a.min has to be boolean, found integer
            plugin.toml:9:1: config.a.options is for the type string or integer or number, found boolean
            plugin.toml:13:7: config.b.max has to be at least min
            plugin.toml:14:1: config.b.pattern is for the type string, found integer
            plugin.toml:15:1: config.b.default has to be at most 1, found 7
            plugin.toml:18:11: config.c.pattern is no regular expression: error: unclosed group
            plugin.toml:20:14: config.c.max_length has to be at least min_length
            plugin.toml:21:11: config.c.options has to be string, found integer
            plugin.toml:24:28: config.d.items.default has no meaning for one of many
            hint: say it of the key that holds all of them
            plugin.toml:24:43: config.d.items.hot has no meaning for one of many
            hint: say it of the key that holds all of them
            plugin.toml:25:1: config.d.max_size is for the type file, found array
            plugin.toml:28:1: config.e.min_items is for the type array or object, found object with fields
            plugin.toml:29:18: config key "instance_env" cannot be declared
            hint: the suffix _env names an environment variable in the operator's file; drop it
            plugin.toml:32:8: config.e.fields.instance.type has to be another word than "list"
            hint: write type = "array" and items = { type = "string" }
            plugin.toml:35:8: config.f.when: a is never "yes"
            plugin.toml:35:8: config.f.when has to name a plain value, found d
            plugin.toml:35:8: config.f.when names no key beside it: g
            hint: did you mean "a"?
            plugin.toml:38:8: config.h.when goes in a circle by i
            plugin.toml:41:8: config.i.when goes in a circle by h
            plugin.toml:42:1: unknown key "colour" in [config.i]
            hint: known keys: type, required, default, secret, unique, hot, label, description, options, items, values, fields, when, min, max, min_length, max_length, pattern, min_items, max_items, max_size"#]],
    );
}

#[test]
fn a_default_that_breaks_the_rules_of_its_key_is_refused() {
    refused(
        r#"
[config.a]
type = "string"
options = ["x", "y"]
default = "z"
[config.b]
type = "object"
default = { port = 0, what = 1 }
fields = { port = { type = "integer", min = 1 } }
"#,
        expect![[r#"
            plugin.toml:9:1: config.a.default has to be one of "x", "y", found another
            hint: did you mean "x"?
            plugin.toml:12:1: config.b.default.port has to be at least 1, found 0
            plugin.toml:12:1: unknown config key "config.b.default.what"
            hint: the plugin's manifest declares port"#]],
    );
}
