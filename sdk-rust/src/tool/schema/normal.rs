//! The schema of a type: without foreign habits, and checked to be one that a tool can have.

use std::collections::BTreeMap;
use std::convert::Infallible;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use trunkline_contract::error::{Code, Error};

use super::form::{formed, ordered};
use super::refs::{Inlined, each_inside, inlined};

/// Which side of a tool a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What it is called with: an object.
    Input,
    /// What it gives.
    Output,
}

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// Is what a type says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Derived {
    /// The schema; none where anything fits.
    pub(crate) schema: Option<Value>,
    /// What the type says of itself.
    pub(crate) description: String,
}

/// Gives the one form of a schema that was made of a type.
///
/// # Errors
/// `invalid_arguments` where it cannot be the schema of this side of a tool.
pub(crate) fn derived(side: Side, schema: &Value) -> Result<Derived, Error> {
    let refused = |text: String| Error::new(Code::InvalidArguments, text);
    let Inlined { root, parts } =
        inlined(schema).map_err(|text| refused(format!("{}: {text}", side.as_str())))?;
    let mut root = form(root, side);
    let parts = parts
        .into_iter()
        .map(|(name, part)| (name, form(part, side)));
    let mut parts: BTreeMap<String, Value> = parts.collect();
    let mut found = Found::default();
    found.rename(&mut root);
    let mut defs = Map::new();
    while defs.len() < found.names.len() {
        let name = found.names[defs.len()].clone();
        let mut part = parts.remove(&name).unwrap_or_else(|| json!({}));
        found.rename(&mut part);
        defs.insert(format!("s{}", defs.len() + 1), part);
    }
    let mut root = match root {
        Value::Object(root) => root,
        Value::Bool(false) => Map::from_iter([("not".to_owned(), json!({}))]),
        _ => Map::new(),
    };
    let description = match root.remove("description") {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    if side == Side::Input && !root.is_empty() && !is_object(&root) {
        let found = root.get("type").map_or_else(|| json!(root), Value::clone);
        let text = format!(
            "input: expected the schema of an object, whose properties are the arguments, found \
             {found}"
        );
        return Err(refused(text));
    }
    if !defs.is_empty() {
        root.insert("$defs".to_owned(), Value::Object(defs));
    }
    Ok(Derived {
        schema: (!root.is_empty()).then(|| Value::Object(ordered(root))),
        description,
    })
}

/// Gives what a type says as one side of a tool.
///
/// # Errors
/// `invalid_arguments` where it cannot be that.
pub(crate) fn of_type<T: JsonSchema>(side: Side) -> Result<Derived, Error> {
    let settings = SchemaSettings::draft2020_12();
    let settings = match side {
        Side::Input => settings.for_deserialize(),
        Side::Output => settings.for_serialize(),
    };
    let schema = settings.into_generator().into_root_schema_for::<T>();
    derived(side, &schema.to_value())
}

fn is_object(schema: &Map<String, Value>) -> bool {
    let inside = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
    let is = |each: &Value| each.as_object().is_some_and(is_object);
    schema.get("type").is_some_and(|kind| kind == "object")
        || ["anyOf", "oneOf"]
            .iter()
            .any(|any| inside(any).is_some_and(|all| all.iter().all(is)))
        || inside("allOf").is_some_and(|all| all.iter().any(is))
}

/// Gives the form of a schema and of all inside.
fn form(schema: Value, side: Side) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(true) => return json!({}),
        other => return other,
    };
    let inside = |inside: &mut Value| {
        *inside = form(inside.take(), side);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = each_inside(&mut schema, inside);
    Value::Object(formed(schema, side))
}

/// What contains itself, in the order in which it is met.
#[derive(Default)]
struct Found {
    names: Vec<String>,
}

impl Found {
    fn rename(&mut self, schema: &mut Value) {
        let Value::Object(schema) = schema else {
            return;
        };
        if let Some(Value::String(reference)) = schema.get_mut("$ref")
            && reference != "#"
        {
            let known = self.names.iter().position(|name| name == reference);
            let place = known.unwrap_or_else(|| {
                self.names.push(reference.clone());
                self.names.len() - 1
            });
            *reference = format!("#/$defs/s{}", place + 1);
        }
        let Ok(()) = each_inside(schema, |inside| {
            self.rename(inside);
            Ok::<(), Infallible>(())
        });
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
