use serde_json::{Value, json};

use super::{Side, derived};

fn input(schema: &Value) -> Value {
    derived(Side::Input, schema)
        .expect("it is a schema")
        .schema
        .expect("it says something")
}

/// Gives the form of a property.
fn member(schema: &Value) -> Value {
    let whole = json!({ "type": "object", "properties": { "m": schema } });
    input(&whole)["properties"]["m"].clone()
}

#[test]
fn habits_of_generators_are_forgotten() {
    for (found, expected) in [
        (
            json!({ "type": "integer", "format": "int64" }),
            json!({ "type": "integer" }),
        ),
        (
            json!({ "type": "integer", "format": "uint32", "minimum": 0.0 }),
            json!({ "type": "integer", "minimum": 0 }),
        ),
        (
            json!({ "type": "integer", "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64 }),
            json!({ "type": "integer" }),
        ),
        (
            json!({ "type": "number", "format": "double", "title": "M" }),
            json!({ "type": "number" }),
        ),
        (
            json!({ "type": "string", "format": "email" }),
            json!({ "type": "string", "format": "email" }),
        ),
        (json!(true), json!({})),
        (
            json!({ "type": "array", "items": true }),
            json!({ "type": "array" }),
        ),
        (
            json!({ "type": "object", "propertyNames": { "type": "string" }, "additionalProperties": true }),
            json!({ "type": "object" }),
        ),
        (
            json!({ "type": "string", "default": null }),
            json!({ "type": "string" }),
        ),
        (
            json!({ "type": "array", "prefixItems": [{ "type": "string" }], "items": false, "minItems": 1 }),
            json!({ "type": "array", "prefixItems": [{ "type": "string" }], "minItems": 1, "maxItems": 1 }),
        ),
        (
            json!({ "type": "string", "description": "  One\n line.\n\n\n Two.\n" }),
            json!({ "type": "string", "description": "One line.\n\nTwo." }),
        ),
    ] {
        assert_eq!(member(&found), expected, "{found}");
    }
}

#[test]
fn alternatives_have_one_form() {
    let text_or_null = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    let words = json!({ "type": "string", "enum": ["a", "b"] });
    let maybe = json!({ "anyOf": [words, { "type": "null" }] });
    let told = |one: &str| json!({ "type": "object", "properties": { "kind": { "type": "string", "const": one } }, "required": ["kind"] });
    let union = json!({ "anyOf": [told("a"), told("b")] });
    for (found, expected) in [
        (json!({ "type": ["string", "null"] }), &text_or_null),
        (
            json!({ "type": ["null", "string"], "default": null }),
            &text_or_null,
        ),
        (
            json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }),
            &text_or_null,
        ),
        (
            json!({ "anyOf": [{ "anyOf": [{ "type": "string" }] }, { "type": "null" }] }),
            &text_or_null,
        ),
        (json!({ "enum": ["a", "b"] }), &words),
        (
            json!({ "anyOf": [{ "const": "a" }, { "type": "string", "const": "b" }] }),
            &words,
        ),
        (
            json!({ "oneOf": [{ "const": "a" }, { "const": "b" }] }),
            &words,
        ),
        (
            json!({ "type": ["string", "null"], "enum": ["a", "b", null] }),
            &maybe,
        ),
        (
            json!({ "oneOf": [told("a"), told("b")], "discriminator": {} }),
            &union,
        ),
    ] {
        assert_eq!(member(&found), *expected, "{found}");
    }
}

#[test]
fn one_of_what_overlaps_stays_one_of() {
    let overlapping =
        json!({ "oneOf": [{ "type": "integer" }, { "type": "number", "minimum": 1 }] });
    assert_eq!(member(&overlapping), overlapping);
}

#[test]
fn bounds_stay_with_the_type_that_they_are_about() {
    let found = json!({ "type": ["string", "null"], "maxLength": 3, "description": "Short." });
    let expected = json!({
        "description": "Short.",
        "anyOf": [{ "type": "string", "maxLength": 3 }, { "type": "null" }],
    });
    assert_eq!(member(&found), expected);
}

#[test]
fn what_is_named_is_put_where_it_is_used() {
    let found = input(&json!({
        "type": "object",
        "properties": {
            "to": { "$ref": "#/$defs/Place", "description": "Where to." },
            "from": { "$ref": "#/$defs/Place" },
            "at": { "allOf": [{ "$ref": "#/$defs/Place" }] },
        },
        "required": ["at", "to"],
        "$defs": { "Place": { "type": "string", "description": "A place.", "title": "Place" } },
    }));
    let place = json!({ "type": "string", "description": "A place." });
    let expected = json!({
        "type": "object",
        "properties": {
            "to": { "type": "string", "description": "Where to." }, "from": place, "at": place,
        },
        "required": ["to", "at"],
    });
    assert_eq!(found.to_string(), expected.to_string());
}

#[test]
fn a_property_may_have_the_name_of_a_keyword() {
    let schema = json!({
        "type": "object",
        "properties": { "title": { "type": "string" }, "$ref": { "type": "string" } },
        "required": ["title"],
    });
    assert_eq!(input(&schema), schema);
}

#[test]
fn what_contains_itself_is_named_alike() {
    let expected = json!({
        "type": "object",
        "properties": { "v": { "type": "string" }, "next": { "$ref": "#" } },
    });
    let node = |reference: &str| json!({ "type": "object", "properties": { "v": { "type": "string" }, "next": { "$ref": reference } } });
    assert_eq!(input(&node("#")), expected);
    let named = json!({ "$ref": "#/$defs/Node", "$defs": { "Node": node("#/$defs/Node") } });
    assert_eq!(input(&named), expected);

    let tree = json!({
        "type": "object",
        "properties": { "tree": { "$ref": "#/$defs/Tree" }, "other": { "$ref": "#/$defs/Tree" } },
        "$defs": { "Tree": node("#/$defs/Tree") },
    });
    let expected = json!({
        "type": "object",
        "properties": { "tree": { "$ref": "#/$defs/s1" }, "other": { "$ref": "#/$defs/s1" } },
        "$defs": { "s1": node("#/$defs/s1") },
    });
    assert_eq!(input(&tree), expected);
}

#[test]
fn the_form_of_a_form_is_itself() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": { "type": ["integer", "null"], "maximum": 3 },
            "tree": { "$ref": "#/$defs/T" },
            "w": { "enum": ["x", 1, null] },
        },
        "$defs": { "T": { "type": "object", "properties": { "t": { "$ref": "#/$defs/T" } } } },
    });
    let once = input(&schema);
    assert_eq!(input(&once).to_string(), once.to_string());
}

#[test]
fn an_output_is_open() {
    let schema = json!({
        "type": "object",
        "properties": { "a": { "type": "string", "default": "x" } },
        "required": ["a"],
        "additionalProperties": false,
    });
    let found = derived(Side::Output, &schema).expect("it is a schema");
    let expected =
        json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] });
    assert_eq!(found.schema, Some(expected));
    assert_eq!(input(&schema), schema);
}

#[test]
fn what_cannot_be_told_is_refused() {
    let refused = |schema: &Value| derived(Side::Input, schema).expect_err("refused").message;
    assert!(refused(&json!({ "type": "string" })).contains("the schema of an object"));
    assert!(refused(&json!({ "$ref": "#/$defs/none" })).contains("inside of the schema"));
    let elsewhere =
        json!({ "type": "object", "properties": { "a": { "$ref": "https://example.com/s" } } });
    assert!(refused(&elsewhere).contains("https://example.com/s"));
    let itself = json!({ "$ref": "#/$defs/A", "$defs": { "A": { "$ref": "#/$defs/A" } } });
    assert!(refused(&itself).contains("means itself"));

    // Each names the next one twice.
    let mut defs = serde_json::Map::new();
    for level in 0..20 {
        let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
        let part = json!({ "type": "object", "properties": { "a": next, "b": next } });
        defs.insert(format!("d{level}"), part);
    }
    defs.insert("d20".to_owned(), json!({ "type": "string" }));
    assert!(refused(&json!({ "$ref": "#/$defs/d0", "$defs": defs })).contains("at most"));
}

#[test]
fn what_says_nothing_is_no_schema() {
    for schema in [json!(true), json!({}), json!({ "title": "Any" })] {
        assert_eq!(
            derived(Side::Output, &schema)
                .expect("it is a schema")
                .schema,
            None
        );
    }
}
