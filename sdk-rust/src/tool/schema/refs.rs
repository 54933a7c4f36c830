//! References: what is named is put where it is used, unless it contains itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Most parts of a schema after its references were put in place: they may multiply.
const PARTS_MAX: usize = 20_000;

/// Keywords whose value is a schema.
const ONE: &[&str] = &[
    "items",
    "additionalProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is an array of schemas.
const MANY: &[&str] = &["anyOf", "oneOf", "allOf", "prefixItems"];
/// Keywords whose value has schemas by name.
const NAMED: &[&str] = &["properties", "patternProperties", "dependentSchemas"];
/// What a place of use says besides the reference, and what then holds there.
const NOTES: &[&str] = &[
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Changes each schema directly inside a schema.
pub(super) fn each_inside<E>(
    schema: &mut Map<String, Value>,
    mut change: impl FnMut(&mut Value) -> Result<(), E>,
) -> Result<(), E> {
    for (keyword, value) in schema {
        match value {
            Value::Array(found) if MANY.contains(&keyword.as_str()) => {
                found.iter_mut().try_for_each(&mut change)?;
            }
            Value::Object(found) if NAMED.contains(&keyword.as_str()) => {
                found.values_mut().try_for_each(&mut change)?;
            }
            value if ONE.contains(&keyword.as_str()) => change(value)?,
            _ => {}
        }
    }
    Ok(())
}

/// Adds what one schema says to another, where that is the same as both; gives back what it is not.
pub(super) fn merged(mut inner: Object, outer: Object) -> Result<Object, (Object, Object)> {
    let is_note = |keyword: &String| NOTES.contains(&keyword.as_str());
    if outer
        .keys()
        .any(|keyword| inner.contains_key(keyword) && !is_note(keyword))
    {
        return Err((inner, outer));
    }
    inner.extend(outer);
    Ok(inner)
}

/// A schema without references, other than those in `parts`.
pub(super) struct Inlined {
    pub(super) root: Value,
    /// What contains itself, by its reference.
    pub(super) parts: BTreeMap<String, Value>,
}

/// Puts what is referred to where it is used.
///
/// # Errors
/// A reference that leads out of the schema, or nowhere; more parts than can be told.
pub(super) fn inlined(schema: &Value) -> Result<Inlined, String> {
    let mut inlining = Inlining {
        schema,
        start: String::from("#"),
        circular: BTreeMap::new(),
        parts: BTreeMap::new(),
        left: PARTS_MAX,
    };
    let mut first = schema;
    // A root that only names a part is that part.
    while let Some(next) = only_reference(first) {
        if next == inlining.start {
            return Err(format!(
                "expected a schema, found {next:?} that means itself"
            ));
        }
        next.clone_into(&mut inlining.start);
        first = inlining.find(next)?;
    }
    let root = inlining.put(first, 0)?;
    let start = inlining.start.clone();
    inlining.parts.remove(&start);
    Ok(Inlined {
        root,
        parts: inlining.parts,
    })
}

fn only_reference(schema: &Value) -> Option<&str> {
    let schema = schema.as_object()?;
    let says = |keyword: &&String| !matches!(keyword.as_str(), "$defs" | "definitions" | "$schema");
    let found = schema.get("$ref")?.as_str()?;
    (schema.keys().filter(says).count() == 1).then_some(found)
}

struct Inlining<'a> {
    schema: &'a Value,
    /// Where the schema really begins.
    start: String,
    /// Whether what a reference names contains itself.
    circular: BTreeMap<String, bool>,
    parts: BTreeMap<String, Value>,
    left: usize,
}

impl<'a> Inlining<'a> {
    fn find(&self, reference: &str) -> Result<&'a Value, String> {
        let nowhere = || format!("expected references inside of the schema, found {reference:?}");
        let pointer = reference.strip_prefix('#').ok_or_else(nowhere)?;
        self.schema.pointer(pointer).ok_or_else(nowhere)
    }

    /// Gives one name to what has several.
    fn named<'r>(&self, reference: &'r str) -> &'r str {
        if reference == self.start {
            "#"
        } else {
            reference
        }
    }

    fn is_circular(&mut self, reference: &str) -> Result<bool, String> {
        if let Some(known) = self.circular.get(reference) {
            return Ok(*known);
        }
        let mut seen = BTreeSet::new();
        let mut ahead = Vec::new();
        references(self.find(reference)?, &mut ahead);
        while let Some(next) = ahead.pop() {
            if seen.insert(next) {
                references(self.find(next)?, &mut ahead);
            }
        }
        let found = seen.contains(reference);
        self.circular.insert(reference.to_owned(), found);
        Ok(found)
    }

    fn put(&mut self, schema: &Value, levels: usize) -> Result<Value, String> {
        let too_much = || format!("expected a schema of at most {PARTS_MAX} parts, found more");
        self.left = self.left.checked_sub(1).ok_or_else(too_much)?;
        if levels > 64 {
            return Err("expected a schema of at most 64 levels, found more".to_owned());
        }
        let Value::Object(schema) = schema else {
            return Ok(schema.clone());
        };
        let mut schema = schema.clone();
        schema.remove("$defs");
        schema.remove("definitions");
        each_inside(&mut schema, |inside| {
            *inside = self.put(inside, levels + 1)?;
            Ok::<(), String>(())
        })?;
        let Some(Value::String(reference)) = schema.remove("$ref") else {
            return Ok(Value::Object(schema));
        };
        let target = self.find(&reference)?;
        if self.is_circular(&reference)? {
            let name = self.named(&reference).to_owned();
            if name != "#" && !self.parts.contains_key(&name) {
                // Before what is inside: that may name it again.
                self.parts.insert(name.clone(), Value::Null);
                let part = self.put(target, levels + 1)?;
                self.parts.insert(name.clone(), part);
            }
            schema.insert("$ref".to_owned(), Value::String(name));
            return Ok(Value::Object(schema));
        }
        let target = match self.put(target, levels + 1)? {
            Value::Object(target) => target,
            everything if schema.is_empty() => return Ok(everything),
            Value::Bool(false) => Map::from_iter([("not".to_owned(), json!({}))]),
            _ => Map::new(),
        };
        Ok(Value::Object(match merged(target, schema) {
            Ok(both) => both,
            Err((target, mut outer)) => {
                outer.insert("allOf".to_owned(), json!([target]));
                outer
            }
        }))
    }
}

fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    let Value::Object(schema) = schema else {
        return;
    };
    if let Some(Value::String(reference)) = schema.get("$ref") {
        found.push(reference);
    }
    for (keyword, value) in schema {
        match value {
            Value::Array(inside) if MANY.contains(&keyword.as_str()) => {
                for schema in inside {
                    references(schema, found);
                }
            }
            Value::Object(inside) if NAMED.contains(&keyword.as_str()) => {
                for schema in inside.values() {
                    references(schema, found);
                }
            }
            value if ONE.contains(&keyword.as_str()) => references(value, found),
            _ => {}
        }
    }
}
