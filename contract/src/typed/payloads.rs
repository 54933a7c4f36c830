//! The standard payloads as types of the Python and the Node package, from the schemas that are committed.

use serde_json::{Map, Value};

use super::collect::Collector;
use super::{python, typescript};
use crate::schema::{RPC_FILE, files};

/// Names that say more outside of this crate.
const RENAMED: &[(&str, &str)] = &[("Part", "MessagePart"), ("Poll", "MessagePoll")];

/// Holds one generated file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFile {
    /// Path from the root of the repository.
    pub path: &'static str,
    /// Its text, ending in a newline.
    pub text: String,
}

/// Makes the files with the types of the payloads.
pub fn payload_files() -> Vec<PayloadFile> {
    let mut collector = Collector::new();
    collector.add_definitions(&document());
    let types = collector.types;
    vec![
        PayloadFile {
            path: "sdk-python/python/trunkline/payloads.py",
            text: python::module(
                &[
                    "# Generated from contract/schemas by `cargo schemas`; what is changed here is lost.",
                    "\"\"\"Standard payloads and the event as they stand on the wire, for type checkers.",
                    "",
                    "A member may be absent, and there may be members that are not known here. As the",
                    "annotation of a handler's first parameter each of them reads the payload, and a payload",
                    "that does not fit is rejected.",
                    "\"\"\"",
                ],
                &types,
            ),
        },
        PayloadFile {
            path: "sdk-node/types/payloads.d.ts",
            text: typescript::module(
                &[
                    "// Generated from contract/schemas by `cargo schemas`; what is changed here is lost.",
                    "/**",
                    " * Standard payloads and the event as they stand on the wire.",
                    " *",
                    " * @packageDocumentation",
                    " */",
                    "",
                    "import type { Json } from \"./data.js\";",
                ],
                &types,
            ),
        },
    ]
}

/// Joins the schemas of all payloads to one document: each is a definition under its title.
///
/// # Panics
/// When two schemas give one name to different things, which the types they are made of exclude.
fn document() -> Value {
    let mut definitions: Map<String, Value> = Map::new();
    let mut define = |name: String, schema: Value| {
        let known = definitions
            .entry(name.clone())
            .or_insert_with(|| schema.clone());
        assert!(*known == schema, "{name} is the name of two types");
    };
    for file in files().into_iter().filter(|file| file.name != RPC_FILE) {
        let text = RENAMED.iter().fold(file.text, |text, (from, to)| {
            text.replace(&format!("#/$defs/{from}\""), &format!("#/$defs/{to}\""))
        });
        let mut schema: Map<String, Value> =
            serde_json::from_str(&text).expect("a schema is an object");
        let inner = schema.remove("$defs");
        schema.remove("$schema");
        let title = schema.remove("title");
        let title = title
            .as_ref()
            .and_then(Value::as_str)
            .expect("a payload has a title");
        define(title.to_owned(), Value::Object(schema));
        for (name, schema) in inner
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let renamed = RENAMED.iter().find(|(from, _)| from == name);
            let name = renamed.map_or(name.as_str(), |(_, to)| to);
            define(name.to_owned(), schema.clone());
        }
    }
    Value::Object(Map::from_iter([(
        "$defs".to_owned(),
        Value::Object(definitions),
    )]))
}
