//! The printers, on schemas that are hard to print.

mod cost;
mod width;
mod wording;

use expect_test::{ExpectFile, expect_file};
use serde_json::{Value, json};

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

/// An alternative that any value is read as comes last, and there is one at most.
#[test]
fn an_alternative_in_rust_swallows_no_other() {
    let object = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let open = json!({"enum": ["auto", false]});
    let words = json!({"enum": ["on", "off"]});
    let large = json!({"type": "integer", "maximum": 1e19});
    for (alternatives, expected) in [
        (
            json!([open, object]),
            "{\n    V1(BC1),\n    Other(serde_json::Value),\n}",
        ),
        (json!([words, object]), "{\n    V1(BC1),\n    V2(BC2),\n}"),
        (
            json!([object, {"anyOf": [open, large]}]),
            "pub struct BC(pub serde_json::Value);",
        ),
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
        (
            &maybe,
            Language::Python,
            "class BNode(TypedDict, total=False):\n    next: BNode | None\n",
        ),
        (
            &maybe,
            Language::Node,
            "export interface BNode {\n  next?: BNode | null;\n}",
        ),
        (&maybe, Language::Rust, "pub next: Option<Box<BNode>>,"),
        (
            &list,
            Language::Python,
            "BL: TypeAlias = list[\"str | BL | None\"]\n",
        ),
        (
            &list,
            Language::Node,
            "export type BL = [string, BL | null];",
        ),
        (
            &list,
            Language::Rust,
            "pub struct BL(pub (String, Option<Box<BL>>));",
        ),
    ] {
        let text = client(&[tool("a.b", schema.clone())], language).unwrap();
        assert!(text.contains(expected), "{expected} in {text}");
        assert!(!text.contains("BMaybe"), "{text}");
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
        (
            json!({"type": "array", "items": {"type": "string"}}),
            "string[][]",
        ),
    ] {
        let mut tool = tool("a.b", json!({"type": "object"}));
        tool.output_schema = Some(schema);
        tool.streaming = true;
        let code = client(&[tool], Language::Node).unwrap();
        let expected = match expected.split_once(": ") {
            Some((_, of)) => {
                assert!(
                    code.contains(&format!("type BOutput = {of};")),
                    "{of} in {code}"
                );
                "BOutput"
            }
            None => expected,
        };
        assert!(
            code.contains(&format!("ToolCall<{expected}> ")),
            "{expected} in {code}"
        );
    }
}

#[test]
fn a_member_that_python_cannot_name_is_not_left_out() {
    let object = json!({"type": "object", "properties": {"a": {}}, "required": ["", "a"]});
    let schema = json!({"type": "object", "properties": {"c": object}});
    for (schema, expected) in [
        (&object, "def b(self, /, **arguments: Any) -> "),
        (&schema, "BC: TypeAlias = dict[str, Any]\n"),
        (
            &schema,
            "def b(self, /, **arguments: Unpack[BArguments]) -> ",
        ),
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
