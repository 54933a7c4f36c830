//! The printers, on schemas that are hard to print, and the invariant that no type is too narrow.

use std::collections::BTreeSet;

use expect_test::{ExpectFile, expect_file};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::collect::Collector;
use super::model::{Body, Type};
use super::*;
use crate::rpc::{ToolEntry, ToolListResult};

const TOOLS: &str = include_str!("../../vectors/typed/tools.json");

fn tools() -> Vec<ToolEntry> {
    let list: ToolListResult = serde_json::from_str(TOOLS).unwrap();
    list.tools
}

fn tool(name: &str, input: Value) -> ToolEntry {
    let mut tool = tools().swap_remove(0);
    name.clone_into(&mut tool.name);
    tool.input_schema = input;
    tool.output_schema = None;
    tool
}

fn check(language: Language, expected: &ExpectFile) {
    expected.assert_eq(&client(&tools(), language).unwrap());
}

/// Proves LN53: one list of tools is a client in Python.
#[test]
fn a_client_in_python_is_as_it_was_read() {
    check(
        Language::Python,
        &expect_file!["../../vectors/typed/client.py"],
    );
}

/// Proves LN53: the same list is a client in TypeScript.
#[test]
fn a_client_in_typescript_is_as_it_was_read() {
    check(
        Language::Node,
        &expect_file!["../../vectors/typed/client.mts"],
    );
}

/// Proves LN53: the same list is a client in Rust.
#[test]
fn a_client_in_rust_is_as_it_was_read() {
    check(
        Language::Rust,
        &expect_file!["../../vectors/typed/client.rs"],
    );
}

/// Proves X4: the types of the payloads in the Python and the Node package are those of the schemas.
#[test]
fn the_committed_types_of_the_payloads_are_the_generated_ones() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in payload_files() {
        let committed = std::fs::read_to_string(root.join(file.path)).unwrap_or_default();
        assert!(
            committed == file.text,
            "{} is stale: cargo schemas",
            file.path
        );
    }
}

/// Neither rustdoc nor doctest finds an example in what a plugin says of itself.
#[test]
fn a_description_is_never_an_example_that_runs() {
    let code = "runs()";
    let mut tool = tool("a.b", json!({"type": "object", "properties": {"c": {}}}));
    for before in ["    ", ">     ", "-      ", "1.\t\t", "> - >>> ", ">>> ", ">>>>>> ", "\u{a0}    "] {
        for fence in ["", "```\n", "~~~~rust\n"] {
            tool.description = format!("a\n\n{fence}{before}{code}\n{fence}");
            tool.input_schema["properties"]["c"]["description"] = tool.description.clone().into();
            let rust = client(&[tool.clone()], Language::Rust).unwrap();
            let docs = rust.lines().filter_map(|line| line.trim_start().strip_prefix("///"));
            for line in docs {
                assert!(!line.contains("  ") && !line.contains("```") && !line.contains("~~~"), "{line}");
            }
            let python = client(&[tool.clone()], Language::Python).unwrap();
            assert!(!python.contains(">>>"), "{python}");
        }
    }
}

/// Gives the text of a docstring as Python reads it, and what comes after it.
fn docstring(code: &str) -> Option<(String, &str)> {
    let (_, mut rest) = code.split_once("\"\"\"")?;
    let mut text = String::new();
    loop {
        if let Some(after) = rest.strip_prefix("\"\"\"") {
            return Some((text, after));
        }
        let mut chars = rest.chars();
        match (chars.next()?, chars.clone().next()) {
            ('\\', Some(escaped)) => {
                text.push(escaped);
                chars.next();
            }
            (c, _) => text.push(c),
        }
        rest = chars.as_str();
    }
}

/// Every description of up to five of these is a docstring that says just that.
#[test]
fn a_description_of_quotes_and_backslashes_ends_no_docstring() {
    let mut tool = tool("a.b", json!({"type": "object", "additionalProperties": false}));
    let mut all = vec![String::new()];
    for _ in 0..5 {
        let longer: Vec<String> = all
            .iter()
            .flat_map(|text| ["\"", "\\", "x"].map(|end| format!("{text}{end}")))
            .collect();
        all = longer.clone();
        for text in longer {
            tool.description.clone_from(&text);
            let code = client(&[tool.clone()], Language::Python).unwrap();
            let (_, method) = code.split_once("def b(self) -> ToolCall[Any]:\n").unwrap();
            let (found, after) = docstring(method).unwrap();
            assert_eq!(found, text, "{method}");
            assert!(after.starts_with("\n        return "), "{method}");
        }
    }
}

/// An alternative that any value is read as comes last, and there is one at most.
#[test]
fn an_alternative_in_rust_swallows_no_other() {
    let object = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let open = json!({"enum": ["auto", false]});
    let words = json!({"enum": ["on", "off"]});
    let large = json!({"type": "integer", "maximum": 1e19});
    for (alternatives, expected) in [
        (json!([open, object]), "{\n    V1(BC1),\n    Other(serde_json::Value),\n}"),
        (json!([words, object]), "{\n    V1(BC1),\n    V2(BC2),\n}"),
        (json!([object, {"anyOf": [open, large]}]), "pub struct BC(pub serde_json::Value);"),
    ] {
        let schema = json!({"type": "object", "properties": {"c": {"anyOf": alternatives}}});
        let text = client(&[tool("a.b", schema)], Language::Rust).unwrap();
        let found = text.replace("Variant", "V");
        assert!(found.contains(expected), "{expected} in {text}");
    }
}

/// What contains itself by another name has one name, and a tuple of itself has an end.
#[test]
fn a_name_of_what_contains_itself_is_there_when_it_is_read() {
    let maybe = json!({"type": "object", "properties": {"root": {"$ref": "#/$defs/Maybe"}}, "$defs": {
        "Maybe": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Maybe"}}},
    }});
    let list = json!({"type": "object", "properties": {"root": {"$ref": "#/$defs/L"}}, "$defs": {
        "L": {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [
            {"type": "string"}, {"anyOf": [{"$ref": "#/$defs/L"}, {"type": "null"}]},
        ]},
    }});
    for (schema, language, expected) in [
        (&maybe, Language::Python, "class BNode(TypedDict, total=False):\n    next: BNode | None\n"),
        (&maybe, Language::Node, "export interface BNode {\n  next?: BNode | null;\n}"),
        (&maybe, Language::Rust, "pub next: Option<Box<BNode>>,"),
        (&list, Language::Python, "BL: TypeAlias = list[\"str | BL | None\"]\n"),
        (&list, Language::Node, "export type BL = [string, BL | null];"),
        (&list, Language::Rust, "pub struct BL(pub (String, Option<Box<BL>>));"),
    ] {
        let text = client(&[tool("a.b", schema.clone())], language).unwrap();
        assert!(text.contains(expected), "{expected} in {text}");
        assert!(!text.contains("BMaybe"), "{text}");
    }
}

#[test]
fn a_class_in_python_has_a_body_whatever_its_description_is() {
    for (name, description) in [("a", "\u{feff}"), ("x-y", "\u{200e}"), ("x-y", "\u{202e}\n\u{feff}")] {
        let schema = json!({"type": "object", "properties": {
            "empty": {"type": "object", "additionalProperties": false, "description": description},
            "full": {"type": "object", "properties": {name: {}}, "description": description},
        }});
        let text = client(&[tool("a.b", schema)], Language::Python).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].starts_with("class ")) {
            assert!(pair[1].starts_with("    "), "{text}");
        }
    }
}

#[test]
fn a_plugin_of_one_letter_is_no_parameter_of_its_own_class() {
    let text = client(&[tool("c.b", json!({"type": "object"}))], Language::Rust).unwrap();
    assert!(text.contains("pub struct C2<C> {"), "{text}");
}

#[test]
fn a_listed_number_below_zero_is_no_unsigned_one() {
    let whole = json!({"type": "integer", "minimum": 0});
    for alternatives in [json!([{"const": -1}, whole]), json!([whole, {"const": -1}])] {
        let schema = json!({"type": "object", "properties": {"c": {"anyOf": alternatives}}});
        let text = client(&[tool("a.b", schema)], Language::Rust).unwrap();
        assert!(text.contains("pub c: Option<i64>,"), "{text}");
    }
}

/// Chunks that are texts come as one text, and as a list if there are none.
#[test]
fn a_stream_is_typed_as_it_comes() {
    let text = "streamed: string | string[]";
    let recursive = json!({"$ref": "#/$defs/T", "$defs": {
        "T": {"$ref": "#/$defs/U"},
        "U": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/T"}}]},
    }});
    for (schema, expected) in [
        (json!({"type": "string"}), text),
        (json!({"enum": ["x", "y"]}), "streamed: string | BChunk[]"),
        (json!({"type": ["string", "null"]}), "Json"),
        (json!({"enum": ["x", 1]}), "Json"),
        (json!({"enum": [1, 2]}), "(1 | 2)[]"),
        (recursive, "Json"),
        (json!({"type": "array", "items": {"type": "string"}}), "string[][]"),
    ] {
        let mut tool = tool("a.b", json!({"type": "object"}));
        tool.output_schema = Some(schema);
        tool.streaming = true;
        let code = client(&[tool], Language::Node).unwrap();
        let expected = match expected.split_once(": ") {
            Some((_, of)) => {
                assert!(code.contains(&format!("type BOutput = {of};")), "{of} in {code}");
                "BOutput"
            }
            None => expected,
        };
        assert!(code.contains(&format!("ToolCall<{expected}> ")), "{expected} in {code}");
    }
}

#[test]
fn a_member_that_python_cannot_name_is_not_left_out() {
    let object = json!({"type": "object", "properties": {"a": {}}, "required": ["", "a"]});
    let schema = json!({"type": "object", "properties": {"c": object}});
    for (schema, expected) in [
        (&object, "def b(self, /, **arguments: Any) -> "),
        (&schema, "BC: TypeAlias = dict[str, Any]\n"),
        (&schema, "def b(self, /, **arguments: Unpack[BArguments]) -> "),
    ] {
        let text = client(&[tool("a.b", schema.clone())], Language::Python).unwrap();
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn the_order_of_a_list_changes_nothing() {
    let mut other = tools();
    other.reverse();
    for language in [Language::Python, Language::Node, Language::Rust] {
        let (one, other) = (client(&tools(), language), client(&other, language));
        assert_eq!(one.unwrap(), other.unwrap());
    }
}

#[test]
fn types_of_several_plugins_are_kept_apart() {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    let both = [
        tool("mail.search", schema.clone()),
        tool("any.search", schema),
    ];
    let text = client(&both, Language::Node).unwrap();
    for part in [
        "class Mail ",
        "class Any2 ",
        "MailSearchArguments",
        "AnySearchArguments",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn what_is_no_tool_is_refused() {
    assert!(client(&[], Language::Python).is_err());
    let bad = [tool("no tool", json!({}))];
    let text = client(&bad, Language::Rust).unwrap_err().message;
    assert_eq!(text, "expected a tool <plugin>.<tool>, found \"no tool\"");
    let many = vec![tool("a.b", json!({})); TOOLS_OF_A_CLIENT_MAX + 1];
    assert!(client(&many, Language::Rust).is_err());
}

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
            assert!(text.len() < CLIENT_BYTES_MAX, "{} bytes of {schema}", text.len());
        }
    }
    // What is left for all tools of a file is not more for many of them.
    let many: Vec<ToolEntry> = (0..20).map(|n| tool(&format!("a.t{n}"), tuples())).collect();
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
        let tuple = json!({"type": "array", "prefixItems": vec![next; 10], "minItems": 10, "maxItems": 10});
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

/// Says whether a type admits a value, as the languages do.
fn admits(of: &Type, value: &Value, types: &super::model::Types) -> bool {
    match of {
        Type::Json => true,
        Type::Null => value.is_null(),
        Type::Boolean => value.is_boolean(),
        // With a fraction of nothing it is whole, too; Rust's integers are said to be narrower.
        Type::Integer(whole) => value
            .as_f64()
            .is_some_and(|n| n.fract() == 0.0 && !(whole.is_unsigned && n < 0.0)),
        Type::Number => value.is_number(),
        Type::String => value.is_string(),
        Type::Literals(all) => all.iter().any(|one| {
            one.value == *value || (value.is_f64() && one.value.as_f64() == value.as_f64())
        }),
        Type::Array(item) => value
            .as_array()
            .is_some_and(|all| all.iter().all(|one| admits(item, one, types))),
        Type::Tuple(items) => value.as_array().is_some_and(|all| {
            all.len() == items.len()
                && all
                    .iter()
                    .zip(items)
                    .all(|(one, item)| admits(item, one, types))
        }),
        Type::Map(item) => value
            .as_object()
            .is_some_and(|all| all.values().all(|one| admits(item, one, types))),
        Type::Nullable(inner) => value.is_null() || admits(inner, value, types),
        Type::Named(at) => match &types.definitions[*at].body {
            Body::Struct(fields) => value.as_object().is_some_and(|object| {
                fields
                    .fields
                    .iter()
                    .all(|field| match object.get(&field.name) {
                        None => !field.is_required,
                        Some(found) => admits(&field.of, found, types),
                    })
            }),
            Body::Words(all) => all.iter().any(|one| one.value == *value),
            Body::Union(members) => members.iter().any(|one| admits(one, value, types)),
            Body::Alias(of) => admits(of, value, types),
        },
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"$ref": "#/$defs/b"})),
        Just(json!({"enum": ["x", 1, null, true]})),
        Just(json!({"const": "x"})),
        Just(json!({"const": -1})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"type": "integer", "minimum": 0})),
        prop::sample::select(vec![
            "string", "integer", "number", "boolean", "null", "object", "array"
        ])
        .prop_map(|name| json!({ "type": name })),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            several().prop_map(|all| json!({ "anyOf": all })),
            several().prop_map(|all| json!({ "allOf": all })),
            (several(), any::<bool>()).prop_map(|(all, is_exact)| {
                let count = if is_exact { Some(all.len()) } else { None };
                json!({"type": "array", "prefixItems": all, "minItems": count, "maxItems": count})
            }),
            inner.clone().prop_map(|item| json!({"type": "array", "items": item})),
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, rest, is_required)| {
                let required = if is_required { vec!["a"] } else { vec![] };
                json!({"type": "object", "properties": {"a": a}, "required": required,
                    "additionalProperties": rest})
            }),
            (inner.clone(), inner).prop_map(|(a, b)| {
                json!({"type": ["object", "string"], "properties": {"a": a, "b": b}, "allOf": [{"required": ["a"]}]})
            }),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("x")),
        Just(json!("y")),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(1.5)),
        Just(json!(1.0)),
        Just(json!(1_u64 << 63)),
        Just(json!(null)),
        Just(json!(true)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Proves X4: a type admits every value that its schema admits.
    #[test]
    fn no_type_is_too_narrow(
        schema in any_schema(),
        a in any_schema(),
        b in any_schema(),
        values in prop::collection::vec(any_value(), 1..8),
    ) {
        let mut schema = json!({"allOf": [schema], "$defs": {"a": a, "b": b}});
        remove_nulls(&mut schema);
        let Ok(validator) = jsonschema::draft202012::new(&schema) else {
            return Ok(());
        };
        let mut collector = Collector::new();
        let of = collector.add(&schema, "Root", "Root");
        let names: BTreeSet<&str> =
            collector.types.definitions.iter().map(|one| one.name.as_str()).collect();
        prop_assert_eq!(names.len(), collector.types.definitions.len());
        for value in values {
            prop_assert!(
                !validator.is_valid(&value) || admits(&of, &value, &collector.types),
                "{} fits {}, but not {:?} of {:?}", value, schema, of, collector.types
            );
        }
    }
}

/// Takes out the bounds of arrays that are null, which are none.
fn remove_nulls(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.retain(|name, value| !(name.ends_with("Items") && value.is_null()));
            map.values_mut().for_each(remove_nulls);
        }
        Value::Array(all) => all.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
