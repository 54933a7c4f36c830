//! Small schemas that say something very large.

use serde_json::{Value, json};

use super::super::{Language, client};
use super::tool;
use crate::rpc::ToolEntry;

/// Too deep, too many, and schemas that grow when they are joined: an end, and any value.
#[test]
fn what_a_schema_may_cost_is_bounded() {
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let mut definitions = serde_json::Map::new();
    for n in 0..40 {
        let next = format!("#/$defs/d{}", n + 1);
        let both = json!({"allOf": [{"$ref": next}, {"$ref": next}], "anyOf": [{"$ref": next}, {"$ref": next}]});
        definitions.insert(format!("d{n}"), both);
    }
    definitions.insert(
        "d40".to_owned(),
        json!({"type": "object", "properties": {"a": deep}}),
    );
    let wide: serde_json::Map<String, Value> = (0..6_000)
        .map(|n| {
            (
                format!("m{n}"),
                json!({"type": "object", "required": ["a"]}),
            )
        })
        .collect();
    for schema in [
        deep,
        tuples(),
        joined(),
        json!({"allOf": nested_choices(8)}),
        reversed_chain(),
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}),
        json!({"type": "object", "properties": wide}),
        json!({"type": "object", "properties": {"a": {"anyOf": vec![json!({"type": "object", "required": ["a"]}); 3_000]}}}),
    ] {
        for language in [Language::Python, Language::Node, Language::Rust] {
            let text = client(&[tool("a.b", schema.clone())], language).unwrap();
            assert!(
                text.len() < CLIENT_BYTES_MAX,
                "{} bytes of {schema}",
                text.len()
            );
        }
    }
    // What is left for all tools of a file is not more for many of them.
    let many: Vec<ToolEntry> = (0..20)
        .map(|n| tool(&format!("a.t{n}"), tuples()))
        .collect();
    let text = client(&many, Language::Node).unwrap();
    assert!(text.len() < 4 * CLIENT_BYTES_MAX, "{} bytes", text.len());
}

/// More than any of the schemas below may become in a client.
const CLIENT_BYTES_MAX: usize = 8 << 20;

/// Ten definitions, each a tuple of ten of the next one.
fn tuples() -> Value {
    let mut definitions = serde_json::Map::new();
    for n in 0..10 {
        let next = json!({"$ref": format!("#/$defs/t{}", n + 1)});
        let tuple =
            json!({"type": "array", "prefixItems": vec![next; 10], "minItems": 10, "maxItems": 10});
        definitions.insert(format!("t{n}"), tuple);
    }
    definitions.insert("t10".to_owned(), json!({"type": "string"}));
    json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/t0"}}, "$defs": definitions})
}

/// Definitions that hold the next one twice, joined with something, so that it has to be copied.
fn joined() -> Value {
    let mut definitions = serde_json::Map::new();
    for n in 0..30 {
        let next = json!({"allOf": [
            {"$ref": format!("#/$defs/j{}", n + 1)},
            {"type": "object", "properties": {format!("x{n}"): {"type": "string"}}},
        ]});
        let both = json!({"type": "object", "properties": {"a": next, "b": next}});
        definitions.insert(format!("j{n}"), both);
    }
    definitions.insert(
        "j30".to_owned(),
        json!({"type": "object", "properties": {"a": {"type": "string"}}}),
    );
    json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/j0"}}, "$defs": definitions})
}

/// A choice of many objects, each with a member that is such a choice again.
fn nested_choices(depth: usize) -> Value {
    let choices: Vec<Value> = (0..64)
        .map(|n| json!({"type": "object", "properties": {format!("c{n}"): {"type": "string"}}}))
        .collect();
    let inner = match depth {
        0 => json!({"type": "string"}),
        _ => json!({"allOf": nested_choices(depth - 1)}),
    };
    json!([{"anyOf": choices}, {"type": "object", "properties": {"a": inner}}])
}

/// References that are read one by one, and make their types one inside another.
fn reversed_chain() -> Value {
    let last = 5_000;
    let name = |n: usize| format!("r{n:05}");
    let mut definitions = serde_json::Map::new();
    definitions.insert(name(0), json!({"type": "string"}));
    let mut all = serde_json::Map::new();
    for n in 0..last {
        let item = json!({"$ref": format!("#/$defs/{}", name(n))});
        definitions.insert(name(n + 1), json!({"type": "array", "items": item}));
        all.insert(name(n), item);
    }
    json!({
        "type": "object",
        // What nothing fits is any value, but is read.
        "properties": {
            "a": {"allOf": [{"type": "string"}, {"type": "object", "properties": all}]},
            "b": {"$ref": format!("#/$defs/{}", name(last))},
        },
        "$defs": definitions,
    })
}
