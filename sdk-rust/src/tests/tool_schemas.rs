//! Tools of types, against the schemas that every language must give them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Context, Json, Plugin, Result, Tool};

const VECTORS: &str = include_str!("../../../contract/vectors/tool_schemas.json");

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Currency {
    Eur,
    Usd,
}

fn eur() -> Currency {
    Currency::Eur
}

/// Draft an invoice for a customer.
#[derive(Deserialize, JsonSchema)]
struct NewInvoice {
    /// Customer id, cus_…
    #[schemars(regex(pattern = "^cus_"))]
    customer: String,
    #[schemars(range(min = 1, max = 90))]
    days_until_due: i64,
    #[serde(default = "eur")]
    currency: Currency,
    /// Stands on the invoice.
    memo: Option<String>,
    #[schemars(length(max = 3))]
    tags: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Invoice {
    id: String,
    /// What became of it.
    status: String,
    total: f64,
    paid_at: Option<String>,
}

async fn create_invoice(new: NewInvoice, _ctx: Context) -> Result<Invoice> {
    let NewInvoice {
        customer,
        days_until_due,
        currency,
        memo,
        tags,
    } = new;
    drop((currency, memo, tags));
    Ok(Invoice {
        id: format!("in_{customer}"),
        status: "draft".to_owned(),
        total: days_until_due as f64,
        paid_at: None,
    })
}

/// A place on the map.
#[derive(Deserialize, Serialize, JsonSchema)]
struct Place {
    name: String,
    at: (f64, f64),
}

/// Find places.
#[derive(Deserialize, JsonSchema)]
struct Search {
    near: Place,
    /// Where not to look.
    but: Option<Place>,
    weights: BTreeMap<String, f64>,
    any: Json,
}

async fn search(search: Search) -> Result<Vec<Place>> {
    drop((search.weights, search.any, search.but));
    Ok(vec![search.near])
}

/// Count a tree.
#[derive(Deserialize, JsonSchema)]
struct Count {
    tree: Tree,
}

#[derive(Deserialize, JsonSchema)]
struct Tree {
    name: String,
    children: Vec<Tree>,
}

fn size(tree: &Tree) -> u64 {
    drop(tree.name.clone());
    1 + tree.children.iter().map(size).sum::<u64>()
}

async fn count(count: Count) -> Result<i64> {
    Ok(size(&count.tree) as i64)
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Target {
    Mail { address: String },
    Sms { number: String },
}

/// Tell somebody.
#[derive(Deserialize, JsonSchema)]
struct Notify {
    to: Target,
    text: String,
}

async fn notify(notify: Notify) -> Result<()> {
    let (Target::Mail { address: to } | Target::Sms { number: to }) = notify.to;
    drop((to, notify.text));
    Ok(())
}

/// Say that it is there.
#[derive(Deserialize, JsonSchema)]
struct Nothing {}

async fn ping(_: Nothing) -> Result<String> {
    Ok("pong".to_owned())
}

fn tools() -> Vec<Tool> {
    vec![
        Tool::new("create_invoice", create_invoice),
        Tool::new("search", search),
        Tool::new("count", count),
        Tool::new("notify", notify),
        Tool::new("ping", ping),
    ]
}

/// Proves P3a and LN53 (inference), Rust part: types are the schemas, which are those of the same tools in every language.
#[test]
fn types_give_the_schemas_of_the_vectors() {
    let vectors: Map<String, Value> = serde_json::from_str(VECTORS).expect("they are JSON");
    let mut plugin = Plugin::new("vectors");
    let mut found = Map::new();
    for tool in tools() {
        let (declared, _) = tool.clone().declared().expect("its types have schemas");
        let schemas = json!({
            "description": declared.description,
            "input": declared.input_schema,
            "output": declared.output_schema,
        });
        found.insert(declared.name, schemas);
        plugin = plugin.tool(tool);
    }
    plugin.check().expect("it is valid");
    for (name, expected) in &vectors {
        // As texts: the order is part of what a model sees.
        assert_eq!(found[name].to_string(), expected.to_string(), "{name}");
    }
    assert_eq!(found.len(), vectors.len());
}

#[test]
fn a_type_that_is_no_object_is_refused() {
    async fn text(_: String) -> Result<()> {
        Ok(())
    }
    let refused = Tool::new("t", text).declared().err().expect("refused");
    let (_, message) = (refused.code, refused.message);
    assert!(
        message.contains(r#"tool "t": input: expected the schema of an object"#),
        "{message}"
    );
}
