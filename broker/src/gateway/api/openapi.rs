//! `/v1/openapi.json`: the table of operations as an OpenAPI 3.1 document.

use std::collections::BTreeMap;

use axum::Json;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use trunkline_contract::error::Code;

use super::operation::{JSON, Operation, Place};
use crate::gateway::error::ErrorBody;

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/v1/openapi.json", serve)
            .named("about", "openapi", "Gives this document.")
            .open()
            .answer::<Map<String, Value>>("OpenAPI 3.1."),
    ]
}

async fn serve() -> Json<Value> {
    Json(document(&super::operations()))
}

/// Codes that any request may be refused with.
const ALWAYS: &[Code] = &[
    Code::InvalidArguments,
    Code::Unavailable,
    Code::LinkLost,
    Code::Internal,
];
/// Codes that a request with a token may be refused with.
const WITH_TOKEN: &[Code] = &[Code::Unauthorized, Code::QuotaExceeded];
/// Refusals that are about the request itself.
const OF_THE_GUARD: &[(u16, &str)] = &[
    (
        403,
        "`unauthorized`: the token lacks the scope, or the Origin is foreign",
    ),
    (421, "`invalid_arguments`: the Host is none of this daemon"),
];

/// Writes the document.
pub fn document(operations: &[Operation]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let entry = described(operation, &mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_ascii_lowercase()] = entry;
    }
    let definitions = schemas.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The HTTP side of a Trunkline broker. Every refusal has one form, with a \
                            code of the contract's catalogue.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of [[clients]], or the owner's, in the header alone.",
                },
            },
            "schemas": definitions,
        },
    })
}

fn described(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut entry = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": responses(operation, schemas),
    });
    if operation.is_open {
        entry["security"] = json!([]);
    }
    if let Some(scope) = operation.scope {
        entry["description"] = format!("Needs the scope `{scope}`.").into();
        entry["x-scope"] = scope.into();
    }
    let parameters = parameters(operation, schemas);
    if !parameters.is_empty() {
        entry["parameters"] = parameters.into();
    }
    if !operation.request.is_empty() {
        let content: Map<String, Value> = operation
            .request
            .iter()
            .map(|body| {
                let schema = (body.schema)(schemas);
                (body.media.to_owned(), json!({ "schema": schema }))
            })
            .collect();
        entry["requestBody"] = json!({"required": true, "content": content});
    }
    entry
}

fn parameters(operation: &Operation, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (place, schema) in &operation.params {
        let schema = (schema)(schemas).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let members = schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, mut member) in members {
            let description = member
                .as_object_mut()
                .and_then(|member| member.remove("description"));
            parameters.push(json!({
                "required": *place == Place::Path || required.contains(&json!(name)),
                "name": name,
                "in": place.as_str(),
                "description": description.unwrap_or_default(),
                "schema": without_null(member),
            }));
        }
    }
    parameters
}

/// A parameter is there or absent; `null` is no value of it.
fn without_null(mut schema: Value) -> Value {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(object) = schema.as_object_mut() {
        object.remove("default");
    }
    schema
}

fn responses(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for answer in &operation.answers {
        let mut response = json!({"description": answer.text});
        if !answer.bodies.is_empty() {
            let content: Map<String, Value> = answer
                .bodies
                .iter()
                .map(|body| {
                    let schema = (body.schema)(schemas);
                    (body.media.to_owned(), json!({ "schema": schema }))
                })
                .collect();
            response["content"] = content.into();
        }
        responses.insert(answer.status.to_string(), response);
    }
    let mut refusals: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    let with_token: &[Code] = if operation.is_open { &[] } else { WITH_TOKEN };
    for code in operation.errors.iter().chain(ALWAYS).chain(with_token) {
        let text = format!("`{}`: {}", code.as_str(), code.summary());
        let texts = refusals.entry(code.http_status()).or_default();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    for (status, text) in OF_THE_GUARD.iter().chain(&operation.refusals) {
        refusals
            .entry(*status)
            .or_default()
            .push((*text).to_owned());
    }
    let body = schemas.subschema_for::<ErrorBody>();
    for (status, texts) in refusals {
        let content = json!({JSON: {"schema": body}});
        responses
            .entry(status.to_string())
            .or_insert_with(|| json!({"description": texts.join("; "), "content": content}));
    }
    responses.into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_is_described_once() {
        let operations = super::super::operations();
        let mut ids = HashSet::new();
        for operation in &operations {
            assert!(ids.insert(operation.id), "{} is there twice", operation.id);
            let is_named = !operation.id.is_empty()
                && !operation.summary.is_empty()
                && !operation.answers.is_empty();
            assert!(is_named, "{} {}", operation.method, operation.path);
            assert!(
                operation.is_open || operation.scope.is_some(),
                "{}",
                operation.id
            );
        }
        let document = document(&operations);
        for operation in &operations {
            let described = &document["paths"][operation.path];
            assert!(described[operation.method.to_ascii_lowercase()].is_object());
        }
    }

    #[test]
    fn every_parameter_of_a_path_is_described() {
        let document = document(&super::super::operations());
        for (path, methods) in document["paths"].as_object().unwrap() {
            let names = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let names: HashSet<&str> = names.collect();
            for (method, entry) in methods.as_object().unwrap() {
                let described: HashSet<&str> = entry["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|parameter| parameter["in"] == "path")
                    .map(|parameter| parameter["name"].as_str().unwrap())
                    .collect();
                assert_eq!(names, described, "{method} {path}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, root: &Value) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(root.pointer(pointer).is_some(), "{reference}");
            }
            match value {
                Value::Object(map) => map.values().for_each(|value| check(value, root)),
                Value::Array(items) => items.iter().for_each(|value| check(value, root)),
                _ => {}
            }
        }
        let document = document(&super::super::operations());
        check(&document, &document);
    }
}
