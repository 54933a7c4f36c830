//! `[config.<key>]`: what an instance's config may hold.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::config_schema::{
    ConfigKey, ConfigSchema, ConfigType, RESERVED_KEYS, Rules, check_default, compare, is_pattern,
    same,
};
use crate::toml::{Diagnostic, Entry, Kind, Node, Severity, Sink, TableReader, nearest};

use ConfigType::{Array, Duration, File, Integer, Number, Object, String as Text};

/// Where a key is declared: what it may say about itself depends on it.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    /// `[config.<key>]`.
    Top,
    /// A field of a table.
    Field,
    /// A field of a table that is one of many.
    FieldOfMany,
    /// `items` and `values`: one of many, without a name.
    One,
}

impl Level {
    fn is_named(self) -> bool {
        self != Self::One
    }

    fn of_fields(self) -> Self {
        match self {
            Self::Top | Self::Field => Self::Field,
            Self::FieldOfMany | Self::One => Self::FieldOfMany,
        }
    }
}

/// Words that other systems have for what is said in another way here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("text", "write type = \"string\""),
    (
        "select",
        "write type = \"string\" and options = [\"a\", \"b\"]",
    ),
    (
        "list",
        "write type = \"array\" and items = { type = \"string\" }",
    ),
    (
        "map",
        "write type = \"object\" and values = { type = \"string\" }",
    ),
    ("table", "write type = \"object\" and a table of fields"),
    ("nested", "write type = \"object\" and a table of fields"),
    ("secret", "write type = \"string\" and secret = true"),
];

pub(super) fn read(root: &TableReader<'_>) -> ConfigSchema {
    let keys = root.table("config");
    ConfigSchema {
        keys: keys
            .map(|keys| read_fields(&keys, Level::Top))
            .unwrap_or_default(),
        is_open: false,
    }
}

/// Reads a table whose keys are names that the plugin gives.
fn read_fields(fields: &TableReader<'_>, level: Level) -> BTreeMap<String, ConfigKey> {
    let mut keys = BTreeMap::new();
    for entry in fields.entries() {
        let path = fields.path_of(&entry.key);
        let Some(table) = entry.node.as_table() else {
            fields.sink().error_hint(
                "wrong_type",
                &entry.node.place,
                format!("{path} has to be a table, found {}", entry.node.type_name()),
                format!("write [{path}] and type = \"string\""),
            );
            continue;
        };
        check_name(fields.sink(), entry, level);
        let key = fields.under(path, table, &entry.node.place);
        if let Some(read) = read_key(key, level) {
            keys.insert(entry.key.clone(), read);
        }
    }
    check_conditions(fields, &keys);
    keys
}

fn check_name(sink: &Sink, entry: &Entry, level: Level) {
    let name = entry.key.as_str();
    let mut bytes = name.bytes();
    let is_name = name.len() <= 64
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let problem = if !is_name {
        Some("1 to 64 of a-z, 0-9 and _, a letter first")
    } else if level == Level::Top && RESERVED_KEYS.contains(&name) {
        Some("the broker reads this key of an instance itself; choose another name")
    } else if name.ends_with("_env") {
        Some("the suffix _env names an environment variable in the operator's file; drop it")
    } else {
        None
    };
    if let Some(hint) = problem {
        let message = format!("config key {name:?} cannot be declared");
        sink.error_hint("invalid_value", &entry.place, message, hint);
    }
}

fn read_key(key: TableReader<'_>, level: Level) -> Option<ConfigKey> {
    let kind = read_kind(&key);
    let one = |name| {
        key.table(name)
            .and_then(|table| read_key(table, Level::One))
    };
    let read = ConfigKey {
        kind: kind.unwrap_or_default(),
        required: key.boolean("required").unwrap_or(false),
        default: key.entry("default").map(|entry| entry.node.to_json()),
        secret: key.boolean("secret").unwrap_or(false),
        unique: key.boolean("unique").unwrap_or(false),
        hot: key.boolean("hot").unwrap_or(false),
        label: key.text("label").map(str::to_owned),
        description: key.text("description").map(str::to_owned),
        options: read_list(&key, "options"),
        items: one("items").map(Box::new),
        values: one("values").map(Box::new),
        fields: key
            .table("fields")
            .map(|fields| read_fields(&fields, level.of_fields())),
        when: read_when(&key),
        rules: Rules {
            min: key.get("min").map(Node::to_json),
            max: key.get("max").map(Node::to_json),
            min_length: key.integer("min_length", 0..=1 << 32),
            max_length: key.integer("max_length", 0..=1 << 32),
            pattern: read_pattern(&key),
            min_items: key.integer("min_items", 0..=1 << 32),
            max_items: key.integer("max_items", 0..=1 << 32),
            max_size: key.integer("max_size", 1..=1 << 40),
        },
    };
    if let Some(kind) = kind {
        check_fit(&key, kind, level);
        check_rules(&key, kind, &read);
        check_key(&key, kind, &read);
    }
    key.finish();
    kind.map(|_| read)
}

fn read_kind(key: &TableReader<'_>) -> Option<ConfigType> {
    if key.entry("type").is_none() {
        key.missing("type", r#"add type = "string""#);
    }
    let (text, place) = key.text_at("type")?;
    if let Some((_, hint)) = OTHER_WORDS.iter().find(|(word, _)| *word == text) {
        let path = key.path_of("type");
        let message = format!("{path} has to be another word than {text:?}");
        key.sink()
            .error_hint("invalid_value", place, message, *hint);
        return None;
    }
    key.choice("type", ConfigType::WORDS)
}

/// Reads a list of texts and numbers.
fn read_list(key: &TableReader<'_>, name: &'static str) -> Vec<Value> {
    let Some(node) = key.get(name) else {
        return Vec::new();
    };
    match &node.kind {
        Kind::Array(items) if !items.is_empty() => items.iter().map(Node::to_json).collect(),
        _ => {
            key.wrong_type(name, "an array that is not empty", node);
            Vec::new()
        }
    }
}

fn read_when(key: &TableReader<'_>) -> BTreeMap<String, Vec<Value>> {
    let Some(when) = key.table("when") else {
        return BTreeMap::new();
    };
    let values = |node: &Node| match &node.kind {
        Kind::Array(items) => items.iter().map(Node::to_json).collect(),
        _ => vec![node.to_json()],
    };
    let entries = when.entries().iter();
    entries
        .map(|entry| (entry.key.clone(), values(&entry.node)))
        .collect()
}

fn read_pattern(key: &TableReader<'_>) -> Option<String> {
    let (text, place) = key.text_at("pattern")?;
    if let Err(problem) = is_pattern(text) {
        let message = format!(
            "{} is no regular expression: {problem}",
            key.path_of("pattern")
        );
        key.sink().error("invalid_value", place, message);
        return None;
    }
    Some(text.to_owned())
}

/// Refuses what has no meaning for a key of this type, or at this level.
fn check_fit(key: &TableReader<'_>, kind: ConfigType, level: Level) {
    const FIT: &[(&str, &[ConfigType])] = &[
        ("options", &[Text, Integer, Number]),
        ("items", &[Array]),
        ("values", &[Object]),
        ("fields", &[Object]),
        ("min", &[Integer, Number, Duration]),
        ("max", &[Integer, Number, Duration]),
        ("min_length", &[Text]),
        ("max_length", &[Text]),
        ("pattern", &[Text]),
        ("min_items", &[Array, Object]),
        ("max_items", &[Array, Object]),
        ("max_size", &[File]),
    ];
    let has_fields = key.entry("fields").is_some();
    for (name, kinds) in FIT {
        let Some(entry) = key.entry(name) else {
            continue;
        };
        let is_count = *name == "min_items" || *name == "max_items" || *name == "values";
        if kinds.contains(&kind) && !(has_fields && is_count) {
            continue;
        }
        let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let message = format!(
            "{} is for the type {}, found {kind}{}",
            key.path_of(name),
            words.join(" or "),
            if has_fields { " with fields" } else { "" }
        );
        key.sink().error("invalid_value", &entry.place, message);
    }
    let nameless = ["required", "default", "when", "label"].iter();
    let refused = nameless.filter(|_| !level.is_named());
    let cold = matches!(level, Level::One | Level::FieldOfMany);
    let hot = ["hot"].iter().filter(|_| cold);
    for name in refused.chain(hot) {
        if let Some(entry) = key.entry(name) {
            let message = format!("{} has no meaning for one of many", key.path_of(name));
            let hint = "say it of the key that holds all of them";
            key.sink()
                .error_hint("invalid_value", &entry.place, message, hint);
        }
    }
}

fn check_rules(key: &TableReader<'_>, kind: ConfigType, read: &ConfigKey) {
    let (sink, rules) = (key.sink(), &read.rules);
    for (name, bound) in [("min", &rules.min), ("max", &rules.max)] {
        if let (Some(bound), Some(entry)) = (bound, key.entry(name))
            && let Err(problem) = kind.check(bound)
        {
            let message = format!("{} {problem}", key.path_of(name));
            sink.error("wrong_type", &entry.node.place, message);
        }
    }
    let is_number = |pair: (&Option<Value>, &Option<Value>)| match pair {
        (Some(min), Some(max)) => compare(min, max) == Some(Ordering::Greater),
        _ => false,
    };
    let is_count = |min: Option<u64>, max: Option<u64>| min.zip(max).is_some_and(|(a, b)| a > b);
    for (name, is_empty) in [
        ("max", is_number((&rules.min, &rules.max))),
        ("max_length", is_count(rules.min_length, rules.max_length)),
        ("max_items", is_count(rules.min_items, rules.max_items)),
    ] {
        if let Some(entry) = key.entry(name).filter(|_| is_empty) {
            let least = name.replace("max", "min");
            let message = format!("{} has to be at least {least}", key.path_of(name));
            sink.error("invalid_value", &entry.node.place, message);
        }
    }
    if let Some(entry) = key.entry("options") {
        let problems = read
            .options
            .iter()
            .filter_map(|option| kind.check(option).err());
        for problem in problems {
            let message = format!("{} {problem}", key.path_of("options"));
            sink.error("wrong_type", &entry.node.place, message);
        }
    }
}

fn check_key(key: &TableReader<'_>, kind: ConfigType, read: &ConfigKey) {
    let (sink, path) = (key.sink(), key.path());
    let place_of = |name| key.entry(name).map_or(key.place(), |entry| &entry.place);
    if let Some(default) = &read.default {
        let place = place_of("default");
        let refuse = |message: String, hint: &str| {
            sink.error_hint("invalid_value", place, message, hint);
        };
        if read.secret {
            let message = format!("{path} is secret and cannot have a default");
            refuse(message, "every reader of this file knows it");
        } else if read.required {
            let message = format!("{path} is required and has a default");
            refuse(message, "drop required, or the default");
        } else if read.unique {
            let message = format!("{path} is unique and has a default");
            refuse(message, "two instances would share it");
        } else {
            for problem in check_default(read, &key.path_of("default"), default) {
                let found = Diagnostic::new(Severity::Error, problem.code, place, problem.message);
                sink.push(problem.hint.into_iter().fold(found, Diagnostic::hint));
            }
        }
    }
    if read.secret && kind != Text {
        let message = format!("{path} is secret and has to be a string, found {kind}");
        sink.error("invalid_value", place_of("secret"), message);
    }
    if read.unique && matches!(kind, Array | Object) {
        let message = format!("{path} is unique and has to be a single value, found {kind}");
        sink.error("invalid_value", place_of("unique"), message);
    }
}

/// Checks what keys say of the keys beside them.
fn check_conditions(table: &TableReader<'_>, keys: &BTreeMap<String, ConfigKey>) {
    for entry in table.entries() {
        let Some((read, when)) = keys.get(&entry.key).zip(when_of(entry)) else {
            continue;
        };
        let path = format!("{}.when", table.path_of(&entry.key));
        for (name, values) in &read.when {
            let refuse = |message: String, hint: Option<String>| {
                let found = Diagnostic::new(Severity::Error, "invalid_value", &when.place, message);
                table
                    .sink()
                    .push(hint.into_iter().fold(found, Diagnostic::hint));
            };
            let Some(beside) = keys.get(name) else {
                let known: Vec<&str> = keys.keys().map(String::as_str).collect();
                let near = nearest(name, &known).map(|near| format!("did you mean {near:?}?"));
                refuse(format!("{path} names no key beside it: {name}"), near);
                continue;
            };
            if beside.secret || matches!(beside.kind, Array | Object | File) {
                refuse(
                    format!("{path} has to name a plain value, found {name}"),
                    None,
                );
                continue;
            }
            if depends_on(keys, name, &entry.key) {
                refuse(format!("{path} goes in a circle by {name}"), None);
            }
            for value in values {
                let fits = beside.kind.check(value).is_ok();
                let is_option = beside.options.is_empty()
                    || beside.options.iter().any(|option| same(option, value));
                if !fits || !is_option {
                    refuse(format!("{path}: {name} is never {value}"), None);
                }
            }
            if values.is_empty() {
                refuse(
                    format!("{path}.{name} has to name a value, found none"),
                    None,
                );
            }
        }
    }
}

fn when_of(entry: &Entry) -> Option<&Node> {
    entry.node.as_table()?.get("when")
}

/// Tells whether a key counts or not by another one, over any number of keys between.
fn depends_on(keys: &BTreeMap<String, ConfigKey>, from: &str, on: &str) -> bool {
    let mut seen = vec![from];
    let mut at = 0;
    while let Some(name) = seen.get(at) {
        if *name == on {
            return true;
        }
        for next in keys.get(*name).iter().flat_map(|key| key.when.keys()) {
            if !seen.contains(&next.as_str()) {
                seen.push(next);
            }
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests;
