//! Makes a JSON Schema of a plugin's config, for editors and forms.
//!
//! It describes the keys as they stand in the operator's file, after merging. It says all that the
//! check does but what no JSON Schema can: bounds of durations, files, values that are referred to,
//! and what is unique.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rules::same;
use super::types::{ConfigKey, ConfigSchema, ConfigType};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

impl ConfigSchema {
    /// Writes the JSON Schema of the keys that are the plugin's.
    pub fn json_schema(&self, title: &str) -> Value {
        let mut schema = table(&self.keys, self.is_open);
        schema.insert("$schema".to_owned(), json!(DIALECT));
        schema.insert("title".to_owned(), json!(title));
        Value::Object(schema)
    }
}

/// Describes a table with fields.
fn table(fields: &BTreeMap<String, ConfigKey>, is_open: bool) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut either = Map::new();
    let mut all = Vec::new();
    for (name, key) in fields {
        properties.insert(name.clone(), written(key));
        let suffixed = (key.kind != ConfigType::Object).then(|| format!("{name}_env"));
        if let Some(suffixed) = &suffixed {
            let variable = json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" });
            properties.insert(suffixed.clone(), variable);
            either.insert(suffixed.clone(), json!({ "properties": { name: false } }));
        }
        let names: Vec<&str> = std::iter::once(name.as_str())
            .chain(suffixed.as_deref())
            .collect();
        let is_there = match names.as_slice() {
            [one] => json!({ "required": [one] }),
            names => {
                let each: Vec<Value> = names.iter().map(|n| json!({ "required": [n] })).collect();
                json!({ "anyOf": each })
            }
        };
        if key.when.is_empty() {
            if key.required {
                all.push(is_there);
            }
            continue;
        }
        let none: Map<String, Value> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!(false)))
            .collect();
        let mut rule = json!({ "if": condition(fields, key), "else": { "properties": none } });
        if key.required {
            rule["then"] = is_there;
        }
        all.push(rule);
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(is_open));
    if !either.is_empty() {
        schema.insert("dependentSchemas".to_owned(), Value::Object(either));
    }
    if !all.is_empty() {
        schema.insert("allOf".to_owned(), Value::Array(all));
    }
    schema
}

/// Says when a key counts.
fn condition(fields: &BTreeMap<String, ConfigKey>, key: &ConfigKey) -> Value {
    let mut all = Vec::new();
    for (name, allowed) in &key.when {
        let Some(beside) = fields.get(name) else {
            continue;
        };
        let mut one = json!({ "properties": { name: { "enum": allowed } } });
        let by_default = beside.default.as_ref();
        if !by_default.is_some_and(|default| allowed.iter().any(|value| same(value, default))) {
            one["required"] = json!([name]);
        }
        all.push(one);
        if !beside.when.is_empty() {
            all.push(condition(fields, beside));
        }
    }
    json!({ "allOf": all })
}

/// Describes what stands under a key: the value, or a reference to it.
fn written(key: &ConfigKey) -> Value {
    let reference = json!({
        "type": "object",
        "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    let mut schema = match key.kind {
        _ if key.secret => {
            let mut schema = reference;
            schema["writeOnly"] = json!(true);
            schema
        }
        ConfigType::Object => literal(key),
        _ => json!({ "anyOf": [literal(key), reference] }),
    };
    for (name, text) in [("title", &key.label), ("description", &key.description)] {
        if let Some(text) = text {
            schema[name] = json!(text);
        }
    }
    if let Some(default) = &key.default {
        schema["default"] = default.clone();
    }
    schema
}

fn literal(key: &ConfigKey) -> Value {
    let mut schema = Map::new();
    let rules = &key.rules;
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(name.to_owned(), value);
        }
    };
    let count = |number: Option<u64>| number.map(Value::from);
    match key.kind {
        ConfigType::String => {
            put("type", Some(json!("string")));
            put("minLength", count(rules.min_length));
            put("maxLength", count(rules.max_length));
            put("pattern", rules.pattern.clone().map(Value::String));
        }
        ConfigType::File => put("type", Some(json!("string"))),
        ConfigType::Duration => {
            put("type", Some(json!("string")));
            put("pattern", Some(json!("^[0-9]+(ms|s|m|h|d)$")));
        }
        ConfigType::Integer | ConfigType::Number => {
            put("type", Some(json!(key.kind.as_str())));
            put("minimum", rules.min.clone());
            put("maximum", rules.max.clone());
        }
        ConfigType::Boolean => put("type", Some(json!("boolean"))),
        ConfigType::Array => {
            put("type", Some(json!("array")));
            put("items", key.items.as_deref().map(written));
            put("minItems", count(rules.min_items));
            put("maxItems", count(rules.max_items));
        }
        ConfigType::Object => {
            if let Some(fields) = &key.fields {
                return Value::Object(table(fields, false));
            }
            put("type", Some(json!("object")));
            put("additionalProperties", key.values.as_deref().map(written));
            put("minProperties", count(rules.min_items));
            put("maxProperties", count(rules.max_items));
        }
    }
    if !key.options.is_empty() {
        put("enum", Some(Value::Array(key.options.clone())));
    }
    Value::Object(schema)
}
