//! JSON Schemas of tools: compiled once, with nothing in them that reaches outside or runs for long.
//!
//! Refused: a `$ref` that leaves the schema, a nested `$id`, patterns that only a backtracking engine
//! could match, references that lead back to themselves without taking a step into the value, and
//! combinations that multiply.

use jsonschema::{PatternOptions, Validator};
use rustc_hash::FxHashMap;
use serde_json::Value;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::TOOL_SCHEMA_DEPTH_MAX;
use trunkline_contract::tool::ToolDeclaration;

use super::limits::{MISMATCH_BYTES_MAX, PATTERN_BYTES_MAX, SCHEMA_CHAIN_MAX, SCHEMA_STEPS_MAX};

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
}

/// Where a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// JSON pointer into the value.
    pub(crate) pointer: String,
    /// JSON pointer into the schema.
    pub(crate) schema_pointer: String,
    /// What was expected.
    pub(crate) message: String,
}

impl Mismatch {
    pub(crate) fn detail(&self) -> Value {
        serde_json::json!({
            "pointer": self.pointer,
            "schema_pointer": self.schema_pointer,
            "message": self.message,
        })
    }
}

impl Schema {
    /// Compiles a schema; the error says what is wrong with it.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        check_depth(schema, 0)?;
        check_names(schema, true)?;
        Steps::of(schema)?;
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| cut(error.to_string()))?;
        Ok(Self { validator })
    }

    /// Checks a value; the first place where it does not fit.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Mismatch> {
        self.validator.validate(value).map_err(|error| Mismatch {
            pointer: error.instance_path().to_string(),
            schema_pointer: error.schema_path().to_string(),
            // Without the value: it may be large, and may be secret.
            message: cut(error.masked().to_string()),
        })
    }
}

/// Checks declarations as the broker will when it is asked to take them.
///
/// # Errors
/// The first that is not valid, or whose schema cannot be compiled; the message names the tool.
pub fn check_tools(tools: &[ToolDeclaration]) -> Result<(), Error> {
    for (index, tool) in tools.iter().enumerate() {
        tool.check()
            .and_then(|()| compile_both(tool).map(|_| ()))
            .map_err(|error| error.at(index))?;
    }
    Ok(())
}

/// The schemas of a tool: input, and output if it has one.
pub(crate) fn compile_both(tool: &ToolDeclaration) -> Result<(Schema, Option<Schema>), Error> {
    let refused = |member: &str, why: &str| {
        Error::new(
            Code::InvalidArguments,
            format!("tool {:?}: expected a usable {member}: {why}", tool.name),
        )
        .detail(serde_json::json!({ "tool": tool.name, "member": member }))
    };
    let input =
        Schema::compile(&tool.input_schema()).map_err(|why| refused("input_schema", &why))?;
    let output = match &tool.output_schema {
        None => None,
        Some(schema) => {
            Some(Schema::compile(schema).map_err(|why| refused("output_schema", &why))?)
        }
    };
    Ok((input, output))
}

fn cut(mut text: String) -> String {
    crate::router::cut(&mut text, MISMATCH_BYTES_MAX);
    text
}

fn check_depth(value: &Value, depth: usize) -> Result<(), String> {
    if depth > TOOL_SCHEMA_DEPTH_MAX {
        return Err(format!(
            "expected at most {TOOL_SCHEMA_DEPTH_MAX} levels, found more"
        ));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|v| check_depth(v, depth + 1)),
        Value::Object(map) => map.values().try_for_each(|v| check_depth(v, depth + 1)),
        _ => Ok(()),
    }
}

/// Members whose value is data, not a schema.
const DATA: &[&str] = &["enum", "const", "default", "examples"];

fn check_names(value: &Value, is_root: bool) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_names(item, false)),
        Value::Object(map) => {
            for (name, value) in map {
                if DATA.contains(&name.as_str()) {
                    continue;
                }
                let text = value.as_str();
                match (name.as_str(), text) {
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Some(target))
                        if !target.starts_with('#') =>
                    {
                        return Err(format!(
                            "expected a {name} inside the schema (\"#…\"), found {target:?}"
                        ));
                    }
                    ("$id", Some(_)) if !is_root => {
                        return Err("expected no $id below the root".to_owned());
                    }
                    _ => check_names(value, false)?,
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Counts how often one value can be looked at without a step into it.
struct Steps<'a> {
    root: &'a Value,
    anchors: FxHashMap<&'a str, &'a Value>,
    /// Steps and longest chain, by address; `None`: being counted.
    known: FxHashMap<*const Value, Option<(u64, usize)>>,
    /// How many are being counted, each inside the one before.
    open: usize,
}

impl<'a> Steps<'a> {
    fn of(root: &'a Value) -> Result<(), String> {
        let mut steps = Steps {
            root,
            anchors: FxHashMap::default(),
            known: FxHashMap::default(),
            open: 0,
        };
        steps.find_anchors(root);
        steps.every(root)
    }

    fn find_anchors(&mut self, value: &'a Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.find_anchors(item)),
            Value::Object(map) => {
                for name in ["$anchor", "$dynamicAnchor"] {
                    if let Some(anchor) = map.get(name).and_then(Value::as_str) {
                        self.anchors.insert(anchor, value);
                    }
                }
                map.values().for_each(|value| self.find_anchors(value));
            }
            _ => {}
        }
    }

    /// Each object may be the schema of some value.
    fn every(&mut self, value: &'a Value) -> Result<(), String> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.every(item)),
            Value::Object(map) => {
                self.count(value)?;
                map.iter()
                    .filter(|(name, _)| !DATA.contains(&name.as_str()))
                    .try_for_each(|(_, value)| self.every(value))
            }
            _ => Ok(()),
        }
    }

    /// Ends: what is counted already is not counted again, and a chain is cut where it is too long.
    fn count(&mut self, schema: &'a Value) -> Result<(u64, usize), String> {
        let Value::Object(map) = schema else {
            return Ok((1, 1));
        };
        let at: *const Value = schema;
        match self.known.get(&at) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err("expected references that end, found a circle".to_owned()),
            None => {}
        }
        let too_long = || {
            format!("expected a chain of at most {SCHEMA_CHAIN_MAX} references, found a longer one")
        };
        self.known.insert(at, None);
        self.open += 1;
        if self.open > SCHEMA_CHAIN_MAX {
            return Err(too_long());
        }
        let mut steps: u64 = 1;
        let mut chain = 1;
        for (name, value) in map {
            let inner: Vec<&'a Value> = match (name.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                    vec![self.target(target)?]
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(items)) => items.iter().collect(),
                ("not" | "if" | "then" | "else", schema) => vec![schema],
                ("dependentSchemas" | "dependencies", Value::Object(map)) => map.values().collect(),
                _ => continue,
            };
            for schema in inner {
                let (inner_steps, inner_chain) = self.count(schema)?;
                steps = steps.saturating_add(inner_steps);
                chain = chain.max(inner_chain + 1);
            }
        }
        self.open -= 1;
        if chain > SCHEMA_CHAIN_MAX {
            return Err(too_long());
        }
        if steps > SCHEMA_STEPS_MAX {
            return Err(format!(
                "expected at most {SCHEMA_STEPS_MAX} combinations, found more"
            ));
        }
        self.known.insert(at, Some((steps, chain)));
        Ok((steps, chain))
    }

    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let missing = || format!("expected {reference:?} to lead somewhere, found nothing there");
        let fragment = reference.strip_prefix('#').ok_or_else(missing)?;
        if fragment.is_empty() {
            return Ok(self.root);
        }
        if fragment.starts_with('/') {
            let pointer = unescape(fragment).ok_or_else(missing)?;
            return self.root.pointer(&pointer).ok_or_else(missing);
        }
        self.anchors.get(fragment).copied().ok_or_else(missing)
    }
}

/// Takes the percent signs out of a fragment.
fn unescape(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why_not(schema: &Value) -> String {
        Schema::compile(schema).expect_err("a refusal was expected")
    }

    #[test]
    fn a_value_is_told_where_it_does_not_fit() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "properties": { "items": { "type": "array", "items": { "$ref": "#/$defs/item" } } },
            "$defs": { "item": { "type": "integer", "maximum": 9 } },
        }))
        .unwrap();
        assert_eq!(schema.check(&json!({ "items": [1, 2] })), Ok(()));
        let found = schema
            .check(&json!({ "items": [1, "secret"] }))
            .unwrap_err();
        assert_eq!(found.pointer, "/items/1");
        assert!(!found.message.contains("secret"), "{}", found.message);
    }

    #[test]
    fn nothing_outside_the_schema_is_fetched() {
        for target in [
            "https://example.com/a.json",
            "file:///etc/passwd",
            "other.json",
            "",
        ] {
            let message = why_not(&json!({ "properties": { "a": { "$ref": target } } }));
            assert!(message.contains("inside the schema"), "{message}");
        }
        why_not(&json!({ "$schema": "https://example.com/meta" }));
        why_not(&json!({ "properties": { "a": { "$id": "https://example.com/x" } } }));
        why_not(&json!({ "$ref": "#/$defs/missing" }));
    }

    #[test]
    fn references_may_lead_into_a_value_and_not_in_circles() {
        let tree = json!({
            "type": "object",
            "properties": { "children": { "type": "array", "items": { "$ref": "#" } } },
        });
        let tree = Schema::compile(&tree).unwrap();
        assert!(
            tree.check(&json!({ "children": [{ "children": [] }] }))
                .is_ok()
        );
        assert!(
            tree.check(&json!({ "children": [{ "children": 1 }] }))
                .is_err()
        );
        for circle in [
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!({ "$ref": "#/$defs/a", "$defs": {
                "a": { "anyOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } }
            } }),
        ] {
            assert!(why_not(&circle).contains("circle"), "{circle}");
        }
    }

    #[test]
    fn combinations_that_multiply_are_refused() {
        let mut defs = serde_json::Map::new();
        for level in 0..6 {
            let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
            let many = vec![next; 6];
            defs.insert(format!("d{level}"), json!({ "anyOf": many }));
        }
        defs.insert("d6".to_owned(), json!({ "type": "integer" }));
        let message = why_not(&json!({ "$ref": "#/$defs/d0", "$defs": defs }));
        assert!(message.contains("combinations"), "{message}");
    }

    #[test]
    fn a_long_chain_is_refused_from_whichever_end_it_is_read() {
        for is_reversed in [false, true] {
            let name = |n: usize| format!("d{:03}", if is_reversed { 999 - n } else { n });
            let mut defs = serde_json::Map::new();
            for n in 0..100 {
                let next = format!("#/$defs/{}", name(n + 1));
                defs.insert(name(n), json!({ "$ref": next }));
            }
            defs.insert(name(100), json!(true));
            assert!(why_not(&json!({ "$defs": defs })).contains("chain"));
        }
    }

    /// Proves P3a: what a schema of draft 2020-12 can say is kept to, each word with values that fit and that do not.
    #[test]
    fn every_word_of_the_draft_is_kept_to() {
        let pairs = [
            (
                json!({ "prefixItems": [{ "type": "string" }, { "type": "integer" }], "items": false }),
                vec![json!(["a", 1]), json!(["a"]), json!([])],
                vec![json!([1, "a"]), json!(["a", 1, 2])],
            ),
            (
                json!({ "prefixItems": [true], "unevaluatedItems": { "type": "null" } }),
                vec![json!(["a"]), json!(["a", null])],
                vec![json!(["a", 1])],
            ),
            (
                json!({
                    "allOf": [{ "properties": { "a": { "type": "integer" } } }],
                    "properties": { "b": true }, "unevaluatedProperties": false,
                }),
                vec![json!({ "a": 1, "b": 2 }), json!({})],
                vec![json!({ "a": 1, "c": 3 }), json!({ "a": "x" })],
            ),
            (
                json!({ "dependentRequired": { "card": ["holder"] } }),
                vec![
                    json!({ "card": 1, "holder": "x" }),
                    json!({ "holder": "x" }),
                ],
                vec![json!({ "card": 1 })],
            ),
            (
                json!({ "dependentSchemas": { "card": { "properties": { "amount": { "minimum": 5 } } } } }),
                vec![json!({ "card": 1, "amount": 5 }), json!({ "amount": 1 })],
                vec![json!({ "card": 1, "amount": 1 })],
            ),
            (
                json!({ "contains": { "const": 7 }, "minContains": 2, "maxContains": 3 }),
                vec![json!([7, 1, 7]), json!([7, 7, 7])],
                vec![json!([7, 1]), json!([7, 7, 7, 7])],
            ),
            (
                json!({
                    "if": { "properties": { "kind": { "const": "sms" } }, "required": ["kind"] },
                    "then": { "required": ["to"] }, "else": { "required": ["room"] },
                }),
                vec![json!({ "kind": "sms", "to": "+1" }), json!({ "room": "r" })],
                vec![json!({ "kind": "sms", "room": "r" }), json!({ "to": "+1" })],
            ),
            (
                json!({ "propertyNames": { "pattern": "^[a-z]+$", "maxLength": 3 } }),
                vec![json!({ "abc": 1 })],
                vec![json!({ "ABC": 1 }), json!({ "abcd": 1 })],
            ),
            (
                json!({
                    "$dynamicAnchor": "node", "type": "object", "required": ["n"],
                    "properties": { "n": { "type": "integer" }, "next": { "$dynamicRef": "#node" } },
                }),
                vec![json!({ "n": 1, "next": { "n": 2, "next": { "n": 3 } } })],
                vec![
                    json!({ "n": 1, "next": { "n": "2" } }),
                    json!({ "n": 1, "next": {} }),
                ],
            ),
        ];
        for (schema, fit, misfit) in pairs {
            let compiled = Schema::compile(&schema).unwrap_or_else(|why| panic!("{schema}: {why}"));
            for value in fit {
                assert_eq!(compiled.check(&value), Ok(()), "{schema}: {value}");
            }
            for value in misfit {
                assert!(compiled.check(&value).is_err(), "{schema}: {value}");
            }
        }
    }

    /// The deepest value, each level of it through the longest chain: it fits the stack of a thread.
    #[test]
    fn the_deepest_value_is_checked_on_an_ordinary_stack() {
        let last = (SCHEMA_CHAIN_MAX - 3) / 2;
        let mut defs = serde_json::Map::new();
        for n in 0..last {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            defs.insert(format!("d{n}"), json!({ "allOf": [next] }));
        }
        let step = json!({ "properties": { "a": { "$ref": "#/$defs/d0" } } });
        defs.insert(format!("d{last}"), step);
        let schema = Schema::compile(&json!({ "$ref": "#/$defs/d0", "$defs": defs })).unwrap();
        let mut value = json!({});
        for _ in 0..60 {
            value = json!({ "a": value });
        }
        let check = move || schema.check(&value).is_ok();
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        assert!(thread.spawn(check).unwrap().join().unwrap());
    }

    #[test]
    fn patterns_are_matched_in_linear_time_or_refused() {
        assert!(Schema::compile(&json!({ "pattern": "^(a+)+$" })).is_ok());
        why_not(&json!({ "pattern": "(a)\\1" }));
        why_not(&json!({ "pattern": "(?=a)b" }));
        let mut deep = json!({ "type": "string" });
        for _ in 0..TOOL_SCHEMA_DEPTH_MAX {
            deep = json!({ "items": deep });
        }
        assert!(why_not(&deep).contains("levels"));
    }
}
