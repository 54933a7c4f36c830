//! The form of one schema, once everything inside has it.

use serde_json::{Map, Value, json};

use super::normal::Side;
use super::refs::merged;

/// What a type's name says, and nobody checks.
const NAMES: &[&str] = &[
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "title",
    "discriminator",
];

/// The order of keywords; others follow by name, and `$defs` at last.
const ORDER: &[&str] = &[
    "$ref",
    "type",
    "description",
    "const",
    "enum",
    "anyOf",
    "oneOf",
    "allOf",
    "properties",
    "required",
    "additionalProperties",
    "prefixItems",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "default",
];

/// Largest number that JavaScript counts exactly: there it bounds what is called an integer.
const SAFE_MAX: i64 = (1 << 53) - 1;

/// Gives the form of a schema.
pub(super) fn formed(schema: Map<String, Value>, side: Side) -> Map<String, Value> {
    let mut schema = schema;
    for name in NAMES {
        schema.remove(*name);
    }
    numbers(&mut schema);
    texts(&mut schema);
    object(&mut schema, side);
    array(&mut schema);
    let is_unsaid = |default: &Value| default.is_null() || side == Side::Output;
    if schema.get("default").is_some_and(is_unsaid) {
        schema.remove("default");
    }
    words(&mut schema);
    several_types(&mut schema);
    let schema = conjunction(schema);
    ordered(alternatives(schema))
}

fn is_type(schema: &Map<String, Value>, name: &str) -> bool {
    schema.get("type").is_some_and(|kind| kind == name)
}

fn numbers(schema: &mut Map<String, Value>) {
    for bound in [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ] {
        let Some(found) = schema.get(bound).and_then(Value::as_f64) else {
            continue;
        };
        let is_whole = found.fract() == 0.0 && found.abs() <= SAFE_MAX as f64;
        if is_whole && !schema[bound].is_i64() {
            schema.insert(bound.to_owned(), json!(found as i64));
        }
    }
    let types = schema.get("type").map(Value::to_string).unwrap_or_default();
    if types.contains("integer") || types.contains("number") {
        let is_width = |format: &str| {
            let rest = format.trim_start_matches('u').strip_prefix("int");
            rest.is_some_and(|bits| bits.parse::<u8>().is_ok() || bits.is_empty())
                || matches!(format, "float" | "double")
        };
        if schema
            .get("format")
            .and_then(Value::as_str)
            .is_some_and(is_width)
        {
            schema.remove("format");
        }
    }
    if types.contains("integer") {
        for (bound, at) in [("minimum", -SAFE_MAX), ("maximum", SAFE_MAX)] {
            if schema.get(bound).is_some_and(|found| *found == json!(at)) {
                schema.remove(bound);
            }
        }
    }
}

fn texts(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get("description") {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let paragraphs = lines.split(|line| line.is_empty());
        let paragraphs = paragraphs.map(|lines| lines.join(" "));
        let paragraphs: Vec<String> = paragraphs.filter(|text| !text.is_empty()).collect();
        if paragraphs.is_empty() {
            schema.remove("description");
        } else {
            schema.insert("description".to_owned(), json!(paragraphs.join("\n\n")));
        }
    }
    for (keyword, nothing) in [
        ("minLength", json!(0)),
        ("minItems", json!(0)),
        ("minProperties", json!(0)),
        ("uniqueItems", json!(false)),
        ("examples", json!([])),
    ] {
        if schema.get(keyword) == Some(&nothing) {
            schema.remove(keyword);
        }
    }
}

fn object(schema: &mut Map<String, Value>, side: Side) {
    let says_nothing = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    if schema.get("properties").is_some_and(says_nothing) {
        schema.remove("properties");
    }
    let others = schema.get("additionalProperties");
    let is_open = others.is_some_and(says_nothing);
    if is_open || (side == Side::Output && others == Some(&Value::Bool(false))) {
        schema.remove("additionalProperties");
    }
    if schema.get("propertyNames") == Some(&json!({ "type": "string" })) {
        schema.remove("propertyNames");
    }
    let Some(Value::Array(mut required)) = schema.remove("required") else {
        return;
    };
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let place = |name: &Value| {
            let name = name.as_str().unwrap_or_default();
            properties
                .keys()
                .position(|each| each == name)
                .unwrap_or(usize::MAX)
        };
        required.sort_by_key(place);
    }
    required.dedup();
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::Array(required));
    }
}

fn array(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(first)) = schema.get("prefixItems") {
        let most = first.len();
        if schema.get("items") == Some(&Value::Bool(false)) {
            schema.remove("items");
            schema.entry("maxItems").or_insert_with(|| json!(most));
        }
    }
    if schema.get("items").is_some_and(|items| *items == json!({})) {
        schema.remove("items");
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// One word is `const`, several are `enum`; both with their type, where they have one.
fn words(schema: &mut Map<String, Value>) {
    let mut found = match (schema.remove("enum"), schema.remove("const")) {
        (_, Some(word)) => vec![word],
        (Some(Value::Array(found)), None) => found,
        _ => return,
    };
    let mut seen: Vec<Value> = Vec::with_capacity(found.len());
    found.retain(|word| {
        let is_new = !seen.contains(word);
        seen.push(word.clone());
        is_new
    });
    schema.remove("type");
    let has_null = found.len() > 1 && found.contains(&Value::Null);
    if has_null {
        found.retain(|word| !word.is_null());
        let some = said(found);
        schema.insert("anyOf".to_owned(), json!([some, { "type": "null" }]));
    } else {
        schema.extend(said(found));
    }
}

fn said(mut words: Vec<Value>) -> Map<String, Value> {
    let mut said = Map::new();
    let kind = words.first().map(type_of);
    if let Some(kind) = kind
        && words.iter().all(|word| type_of(word) == kind)
    {
        said.insert("type".to_owned(), json!(kind));
    }
    match words.len() {
        1 if words[0].is_null() => {}
        1 => {
            said.insert("const".to_owned(), words.remove(0));
        }
        _ => {
            said.insert("enum".to_owned(), Value::Array(words));
        }
    }
    said
}

/// What a keyword is about; any type where it is not said here.
fn about(keyword: &str) -> &'static [&'static str] {
    match keyword {
        "minLength" | "maxLength" | "pattern" | "format" | "contentEncoding" => &["string"],
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
            &["integer", "number"]
        }
        "items" | "prefixItems" | "minItems" | "maxItems" | "uniqueItems" | "contains" => {
            &["array"]
        }
        "properties"
        | "required"
        | "additionalProperties"
        | "patternProperties"
        | "propertyNames"
        | "minProperties"
        | "maxProperties" => &["object"],
        _ => &[],
    }
}

/// Makes alternatives of a list of types.
fn several_types(schema: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = schema.get("type") else {
        return;
    };
    let types: Vec<Value> = types.clone();
    if let [one] = types.as_slice() {
        schema.insert("type".to_owned(), one.clone());
        return;
    }
    if ["anyOf", "oneOf", "allOf", "$ref"]
        .iter()
        .any(|other| schema.contains_key(*other))
    {
        return;
    }
    let mut alternatives: Vec<Map<String, Value>> = types
        .iter()
        .map(|kind| Map::from_iter([("type".to_owned(), kind.clone())]))
        .collect();
    let keywords: Vec<String> = schema.keys().cloned().collect();
    for keyword in keywords {
        let of = about(&keyword);
        if of.is_empty() {
            continue;
        }
        let value = schema.remove(&keyword).expect("it is one of its keywords");
        for alternative in &mut alternatives {
            if of.iter().any(|kind| is_type(alternative, kind)) {
                alternative.insert(keyword.clone(), value.clone());
            }
        }
    }
    schema.remove("type");
    schema.insert("anyOf".to_owned(), json!(alternatives));
}

/// A conjunction of one is what it holds.
fn conjunction(mut schema: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(all)) = schema.get_mut("allOf") else {
        return schema;
    };
    if let [Value::Object(only)] = all.as_mut_slice() {
        let only = std::mem::take(only);
        schema.remove("allOf");
        return match merged(only, schema) {
            Ok(both) => both,
            Err((only, mut schema)) => {
                schema.insert("allOf".to_owned(), json!([only]));
                schema
            }
        };
    }
    schema
}

fn alternatives(mut schema: Map<String, Value>) -> Map<String, Value> {
    if !schema.contains_key("anyOf")
        && let Some(Value::Array(one)) = schema.get("oneOf")
        && are_told_apart(one)
    {
        let one = schema.remove("oneOf").expect("it was just seen");
        schema.insert("anyOf".to_owned(), one);
    }
    let Some(Value::Array(any)) = schema.remove("anyOf") else {
        return schema;
    };
    let mut flat: Vec<Value> = Vec::with_capacity(any.len());
    for each in any {
        let inner = match &each {
            Value::Object(only) if only.len() == 1 => only.get("anyOf").and_then(Value::as_array),
            _ => None,
        };
        for found in inner.cloned().unwrap_or_else(|| vec![each]) {
            if !flat.contains(&found) {
                flat.push(found);
            }
        }
    }
    let null = json!({ "type": "null" });
    let has_null = flat.contains(&null);
    flat.retain(|each| *each != null);
    let mut flat = together(flat);
    if has_null {
        flat.push(null);
    }
    if let [Value::Object(only)] = flat.as_slice()
        && let Ok(both) = merged(only.clone(), schema.clone())
    {
        return both;
    }
    schema.insert("anyOf".to_owned(), Value::Array(flat));
    schema
}

/// Makes one `enum` of alternatives that are nothing but words.
fn together(alternatives: Vec<Value>) -> Vec<Value> {
    let words_of = |each: &Value| -> Option<Vec<Value>> {
        let each = each.as_object()?;
        let is_word = |keyword: &String| matches!(keyword.as_str(), "type" | "const" | "enum");
        if !each.keys().all(is_word) {
            return None;
        }
        let one = each.get("const").map(|word| vec![word.clone()]);
        one.or_else(|| each.get("enum")?.as_array().cloned())
    };
    let found: Option<Vec<Vec<Value>>> = alternatives.iter().map(words_of).collect();
    match found {
        Some(words) if words.len() > 1 => {
            let mut schema = Map::from_iter([("enum".to_owned(), json!(words.concat()))]);
            self::words(&mut schema);
            vec![Value::Object(ordered(schema))]
        }
        _ => alternatives,
    }
}

/// Says whether no value fits two of them, so that one of them is any of them.
fn are_told_apart(alternatives: &[Value]) -> bool {
    let objects: Option<Vec<&Map<String, Value>>> =
        alternatives.iter().map(Value::as_object).collect();
    let Some(objects) = objects else {
        return false;
    };
    let differ = |of: &dyn Fn(&Map<String, Value>) -> Option<Value>| {
        let mut seen: Vec<Value> = Vec::new();
        objects.iter().all(|each| match of(each) {
            Some(word) if !seen.contains(&word) => {
                seen.push(word);
                true
            }
            _ => false,
        })
    };
    if differ(&|each| each.get("const").cloned()) {
        return true;
    }
    let kind = |each: &Map<String, Value>| match each.get("type")?.as_str()? {
        // A whole number is both.
        "integer" => Some(json!("number")),
        kind => Some(json!(kind)),
    };
    if differ(&kind) {
        return true;
    }
    let names = objects
        .first()
        .and_then(|each| each.get("properties")?.as_object());
    names.is_some_and(|names| {
        names.keys().any(|name| {
            differ(&|each| {
                let is_required = each.get("required")?.as_array()?.contains(&json!(name));
                let word = each.get("properties")?.get(name)?.get("const")?;
                is_required.then(|| word.clone())
            })
        })
    })
}

/// Puts keywords in their order.
pub(super) fn ordered(schema: Map<String, Value>) -> Map<String, Value> {
    let place = |keyword: &String| match keyword.as_str() {
        "$defs" => usize::MAX,
        keyword => ORDER
            .iter()
            .position(|each| *each == keyword)
            .unwrap_or(ORDER.len()),
    };
    let mut found: Vec<(String, Value)> = schema.into_iter().collect();
    found.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
    found.into_iter().collect()
}
