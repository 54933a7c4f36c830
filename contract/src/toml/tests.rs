//! Tests of the tree, the reader and the suggestions.
#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

use expect_test::{Expect, expect};

use super::*;

fn render(diagnostics: Vec<Diagnostic>) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn check(text: &str, read: impl Fn(&TableReader<'_>), expected: Expect) {
    let table = parse(text, "x.toml").unwrap();
    let sink = Sink::default();
    let root = TableReader::root(&table, Place::start_of("x.toml"), &sink, Severity::Error);
    read(&root);
    root.finish();
    expected.assert_eq(&render(sink.into_sorted()));
}

#[test]
fn places_count_lines_and_characters_from_one() {
    let text = "# häder\n[a]\n  \"ключ\" = [1,\n   'ü', { x = 2 }]\n[[b]]\nc.d = 3\n";
    let table = parse(text, "x.toml").unwrap();
    let a = table.get("a").unwrap().as_table().unwrap();
    assert_eq!(a.entries[0].place.to_string(), "x.toml:3:3");
    assert_eq!(a.entries[0].node.place.to_string(), "x.toml:3:12");
    let Kind::Array(items) = &a.entries[0].node.kind else {
        panic!()
    };
    assert_eq!(items[1].place.to_string(), "x.toml:4:4");
    let inner = items[2].as_table().unwrap();
    assert_eq!(inner.entries[0].place.to_string(), "x.toml:4:11");
    assert_eq!(table.get("a").unwrap().place.to_string(), "x.toml:2:1");
    let Kind::Array(tables) = &table.get("b").unwrap().kind else {
        panic!()
    };
    assert_eq!(tables[0].place.to_string(), "x.toml:5:1");
    let c = tables[0]
        .as_table()
        .unwrap()
        .get("c")
        .unwrap()
        .as_table()
        .unwrap();
    assert_eq!(c.entry("d").unwrap().place.to_string(), "x.toml:6:3");
}

#[test]
fn what_is_no_toml_is_one_diagnostic_with_its_place() {
    for (text, start) in [
        ("[a]\nb = \n", "x.toml:2:"),
        ("a = 1\na = 2\n", "x.toml:2:1: not TOML: duplicate key"),
        ("x", "x.toml:1:"),
        ("a = \"\u{fffd}", "x.toml:1:"),
    ] {
        let message = parse(text, "x.toml").unwrap_err().to_string();
        assert!(message.starts_with(start), "{text:?}: {message}");
    }
}

#[test]
fn a_reader_reports_every_wrong_type_and_every_unknown_key() {
    check(
        "t = 1\nn = -1\nb = 'yes'\nd = 30\nd2 = '30'\ns = ['a', 2]\nw = 'fats'\nsub = 3\ntables = [1]\nbollean = 1\nzzz = 2\n",
        |root| {
            assert_eq!(root.text("t"), None);
            assert_eq!(root.integer("n", 0..=9), None);
            assert_eq!(root.boolean("b"), None);
            assert_eq!(root.duration("d"), None);
            assert_eq!(root.duration("d2"), None);
            assert_eq!(root.strings("s").unwrap().len(), 1);
            assert_eq!(root.choice("w", &[("fast", 1), ("slow", 2)]), None);
            assert!(root.table("sub").is_none());
            assert!(root.tables("tables").is_empty());
            assert_eq!(root.boolean("boolean"), None);
        },
        expect![[r#"
            x.toml:1:5: t has to be a string, found an integer
            x.toml:2:5: n has to be between 0 and 9, found -1
            x.toml:3:5: b has to be true or false, found a string
            x.toml:4:5: d has to be a duration with a unit, found 30
            hint: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms"
            x.toml:5:6: d2: expected a duration with a unit, found the bare number "30"
            hint: write "250ms", "30s", "5m", "2h" or "7d"
            x.toml:6:11: s has to be an array of strings, found an integer
            x.toml:7:5: w has to be one of "fast", "slow", found "fats"
            hint: did you mean "fast"?
            x.toml:8:7: sub has to be a table, found an integer
            x.toml:9:11: tables has to be an array of tables, found an integer
            hint: write it as [[tables]]
            x.toml:10:1: unknown key "bollean"
            hint: did you mean "boolean"?
            x.toml:11:1: unknown key "zzz"
            hint: known keys: t, n, b, d, d2, s, w, sub, tables, boolean"#]],
    );
}

#[test]
fn tables_merge_key_by_key_and_lists_are_replaced() {
    let mut below = parse("a = { x = 1, y = [1, 2] }\nb = 1\n", "low").unwrap();
    below.merge(parse("c = 3\n[a]\ny = [3]\nz = true\n", "high").unwrap());
    assert_eq!(
        serde_json::Value::Object(below.to_json()),
        serde_json::json!({"a": {"x": 1, "y": [3], "z": true}, "b": 1, "c": 3})
    );
    let a = below.get("a").unwrap().as_table().unwrap();
    assert_eq!(a.get("x").unwrap().place.to_string(), "low:1:11");
    assert_eq!(a.get("y").unwrap().place.to_string(), "high:3:5");
}

#[test]
fn a_value_from_outside_is_put_under_its_path() {
    let mut table = parse("[broker]\nlog_level = 'info'\n", "x").unwrap();
    let place = Place::outside("TRUNKLINE_LIMITS__FRAME_BYTES_MAX");
    let node = parse_value("[1, { a = 2 }]", &place).unwrap();
    table
        .put(&["limits", "deep", "value"], node.clone())
        .unwrap();
    assert_eq!(
        table.put(&["broker", "log_level", "x"], node),
        Err("log_level".to_owned())
    );
    let limits = table.get("limits").unwrap().to_json();
    assert_eq!(
        limits,
        serde_json::json!({"deep": {"value": [1, {"a": 2}]}})
    );
    assert!(parse_value("not toml", &place).is_none());
    assert!(parse_value("1\nb = 2", &place).is_none());
}

#[test]
fn what_there_is_begins_with_what_was_meant() {
    assert_eq!(one_of("helo", &[]), "there is none");
    assert_eq!(one_of("mail", &["hello"]), "there is hello");
    assert_eq!(
        one_of("helo", &["hello", "mail"]),
        "did you mean hello? there are hello, mail"
    );
    let many: Vec<String> = (0..12).map(|n| format!("{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(one_of("hello", &many).ends_with("8, 9 and 2 more"));
}

#[test]
fn the_nearest_word_is_near() {
    let known = ["version", "id", "command", "start_timeout"];
    assert_eq!(nearest("verison", &known), Some("version"));
    assert_eq!(nearest("Id", &known), Some("id"));
    assert_eq!(nearest("start-timeout", &known), Some("start_timeout"));
    assert_eq!(nearest("zebra", &known), None);
    assert_eq!(nearest("", &[]), None);
}

mod properties {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_the_tree_panic(text in "[\\[\\]a-c=.\"'{}, \n\r1éx#\\\\-]{0,60}") {
            if let Err(diagnostic) = super::parse(&text, "x") {
                prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
            }
        }
    }
}
