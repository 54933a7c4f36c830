//! Reads a JSON Schema 2020-12 into a [`Shape`].
//!
//! Read are `type`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `enum`,
//! `const`, `anyOf`, `oneOf`, `allOf`, `$ref` into the same document, and `description`. Every other
//! keyword narrows only, and is not needed for a type that admits what the schema admits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::budget::Budget;
use super::shape::{DOUBLE_WHOLE_MAX, Joining, Literal, Member, Shape, Struct, Whole, meet, union};
use crate::limits::TOOL_SCHEMA_DEPTH_MAX;

/// Deepest nesting that is read; what lies deeper is any value.
const DEPTH_MAX: usize = TOOL_SCHEMA_DEPTH_MAX;
/// Most schemas of one document that are read; what comes after is any value.
const SCHEMAS_MAX: usize = 50_000;

/// Reads schemas of one document.
pub(super) struct Reader<'a> {
    document: &'a Value,
    /// What references lead to; `None` while it is being read.
    refs: BTreeMap<String, Option<Shape>>,
    schemas_left: usize,
    /// What is left of the types that may be made of it.
    budget: Budget,
}

impl<'a> Reader<'a> {
    /// Begins with the document that references lead into.
    pub(super) fn new(document: &'a Value, budget: Budget) -> Self {
        Self {
            document,
            refs: BTreeMap::new(),
            schemas_left: SCHEMAS_MAX,
            budget,
        }
    }

    /// Reads the document itself.
    pub(super) fn root(&mut self) -> Shape {
        self.read(self.document, 0)
    }

    /// Reads the document as the schema of an object, whether it says so or not.
    pub(super) fn root_object(&mut self) -> Shape {
        let Some(map) = self.document.as_object() else {
            return Shape::Map(Box::new(Shape::Json));
        };
        let mut map = map.clone();
        map.entry("type").or_insert_with(|| "object".into());
        self.read_keywords(&map, 0)
    }

    /// Reads what a reference leads to, and gives the reference.
    pub(super) fn reference(&mut self, reference: &str, depth: usize) -> Shape {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Shape::Json;
        };
        // Other forms name an anchor or have escapes.
        if pointer.contains('%') || !(pointer.is_empty() || pointer.starts_with('/')) {
            return Shape::Json;
        }
        let Some(target) = self.document.pointer(pointer) else {
            return Shape::Json;
        };
        if !self.refs.contains_key(pointer) {
            self.refs.insert(pointer.to_owned(), None);
            let shape = self.read(target, depth + 1);
            self.refs.insert(pointer.to_owned(), Some(shape));
        }
        Shape::Ref(pointer.to_owned())
    }

    /// Gives what references lead to, by their pointers, and what is left of the budget.
    pub(super) fn into_refs(self) -> (BTreeMap<String, Shape>, Budget) {
        let refs = self.refs.into_iter();
        let refs = refs.map(|(pointer, shape)| (pointer, shape.unwrap_or(Shape::Json)));
        (refs.collect(), self.budget)
    }

    fn read(&mut self, schema: &Value, depth: usize) -> Shape {
        let Value::Object(map) = schema else {
            return Shape::Json;
        };
        if depth > DEPTH_MAX || self.schemas_left == 0 {
            return Shape::Json;
        }
        self.schemas_left -= 1;
        // References inside would lead into another document.
        if depth > 0 && map.contains_key("$id") {
            return Shape::Json;
        }
        self.read_keywords(map, depth)
    }

    fn read_keywords(&mut self, map: &Map<String, Value>, depth: usize) -> Shape {
        let mut parts = Vec::new();
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            parts.push(self.reference(reference, depth));
        }
        if let Some(value) = map.get("const") {
            parts.push(literal(value, description(map)));
        }
        if let Some(values) = map.get("enum").and_then(Value::as_array) {
            let values = values.iter().map(|value| literal(value, String::new()));
            parts.push(union(values.collect()));
        }
        parts.push(self.read_types(map, depth));
        for keyword in ["anyOf", "oneOf"] {
            if let Some(schemas) = map.get(keyword).and_then(Value::as_array) {
                let shapes: Vec<Shape> = schemas
                    .iter()
                    .map(|schema| self.read(schema, depth + 1))
                    .collect();
                parts.push(union(shapes));
            }
        }
        for schema in map
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            parts.push(self.read(schema, depth + 1));
        }
        let mut shape = self.meet_all(parts);
        let docs = description(map);
        if let (Shape::Struct(found), false) = (&mut shape, docs.is_empty()) {
            found.docs = docs;
        }
        shape
    }

    fn meet_all(&self, parts: Vec<Shape>) -> Shape {
        let joining = Joining::new(&self.refs, &self.budget);
        let mut shape = Shape::Json;
        for part in parts {
            match meet(shape, part, &joining) {
                Some(met) => shape = met,
                // Nothing fits it; there is no type for that.
                None => return Shape::Json,
            }
        }
        shape
    }

    fn read_types(&mut self, map: &Map<String, Value>, depth: usize) -> Shape {
        let types: Vec<&str> = match map.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return Shape::Json,
        };
        let shapes = types.into_iter().map(|name| match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer(whole(map)),
            "number" => Shape::Number,
            "string" => Shape::String,
            "array" => self.read_array(map, depth),
            "object" => self.read_object(map, depth),
            _ => Shape::Json,
        });
        union(shapes.collect())
    }

    fn read_array(&mut self, map: &Map<String, Value>, depth: usize) -> Shape {
        let prefix: Vec<Shape> = map
            .get("prefixItems")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|schema| self.read(schema, depth + 1))
            .collect();
        let rest = match map.get("items") {
            Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.read(schema, depth + 1)),
            None => Some(Shape::Json),
        };
        if prefix.is_empty() {
            return Shape::Array(Box::new(rest.unwrap_or(Shape::Json)));
        }
        let count = prefix.len() as u64;
        let bound = |key: &str| map.get(key).and_then(Value::as_u64);
        let is_short = rest.is_none() || bound("maxItems").is_some_and(|most| most <= count);
        if is_short && bound("minItems") == Some(count) {
            return Shape::Tuple(prefix);
        }
        let rest = if is_short { None } else { rest };
        let items = union(prefix.into_iter().chain(rest).collect());
        Shape::Array(Box::new(items))
    }

    fn read_object(&mut self, map: &Map<String, Value>, depth: usize) -> Shape {
        let required: Vec<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut must: BTreeSet<&str> = required.iter().copied().collect();
        let mut members = Vec::new();
        for (name, schema) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            members.push(Member {
                name: name.clone(),
                docs: schema.as_object().map(description).unwrap_or_default(),
                is_required: must.remove(name.as_str()),
                shape: self.read(schema, depth + 1),
            });
        }
        for name in required {
            if must.remove(name) {
                members.push(Member {
                    name: name.to_owned(),
                    docs: String::new(),
                    is_required: true,
                    shape: Shape::Json,
                });
            }
        }
        let has_patterns = map.contains_key("patternProperties");
        let (is_closed, rest) = match map.get("additionalProperties") {
            Some(Value::Bool(false)) if !has_patterns => (true, None),
            Some(_) if has_patterns => (false, Some(Shape::Json)),
            Some(schema) => (false, Some(self.read(schema, depth + 1))),
            None => (false, has_patterns.then_some(Shape::Json)),
        };
        if members.is_empty() && !is_closed {
            return Shape::Map(Box::new(rest.unwrap_or(Shape::Json)));
        }
        Shape::Struct(Struct {
            docs: String::new(),
            members,
            is_closed,
            rest: rest.map(Box::new),
        })
    }
}

fn description(map: &Map<String, Value>) -> String {
    let text = map.get("description").and_then(Value::as_str);
    text.unwrap_or_default().trim().to_owned()
}

fn literal(value: &Value, docs: String) -> Shape {
    match value {
        Value::Null => Shape::Null,
        Value::Number(number) if number.is_f64() => Shape::Number,
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Shape::Literals(vec![Literal {
            value: value.clone(),
            docs,
        }]),
        Value::Array(_) | Value::Object(_) => Shape::Json,
    }
}

fn whole(map: &Map<String, Value>) -> Whole {
    let bounds = |keys: [&str; 2]| -> Vec<f64> {
        let values = keys.iter().filter_map(|key| map.get(*key)?.as_f64());
        values.collect()
    };
    let least = bounds(["minimum", "exclusiveMinimum"]);
    let most = bounds(["maximum", "exclusiveMaximum"]);
    Whole {
        is_unsigned: least.iter().any(|bound| *bound >= 0.0),
        is_large: least.iter().any(|bound| *bound < -DOUBLE_WHOLE_MAX)
            || most.iter().any(|bound| *bound > DOUBLE_WHOLE_MAX),
    }
}
