//! Where each value came from; secrets as `***`.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline_contract::toml::{Entry, Kind, Node, Table};

use super::instance::{Mask, shown_reference};
use super::secret::{MASK, Reference};
use super::setting::SETTINGS;
use super::types::InstanceSpec;

/// Holds one value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Dotted path; instances and clients by name, `plugins.telegram[support].poll`.
    pub path: String,
    /// The value as JSON; a secret is `***`.
    pub value: String,
    /// `default`, `default of the manifest`, a position in the file, a variable or a flag.
    pub origin: String,
}

/// Lists every value of the layered file.
pub(super) fn explain(table: &Table, mask: &Mask) -> Vec<Explained> {
    let mut out = Vec::new();
    for entry in &table.entries {
        match entry.key.as_str() {
            "plugins" => plugins(&entry.node, mask, &mut out),
            "clients" => named(&entry.node, "clients", "name", &mut out, |entry| {
                ["name", "scopes"].contains(&entry.key.as_str())
            }),
            "mcp" => mcp(&entry.node, &mut out),
            _ => walk(&entry.key, &entry.node, &mut out),
        }
    }
    out
}

/// Gives every setting's value, to compare two configs.
pub(super) fn settings(table: &Table) -> BTreeMap<&'static str, Value> {
    let value_of = |path: &str| {
        let mut keys = path.split('.');
        let mut node = table.get(keys.next()?)?;
        for key in keys {
            node = node.as_table()?.get(key)?;
        }
        Some(node.to_json())
    };
    let values = SETTINGS.iter();
    values
        .filter_map(|setting| Some((setting.path, value_of(setting.path)?)))
        .collect()
}

/// Adds the values that came from manifests because the file gives none.
pub(super) fn manifest_defaults(instances: &[InstanceSpec], out: &mut Vec<Explained>) {
    for spec in instances {
        for (name, key) in &spec.manifest.config.keys {
            let path = format!("plugins.{}[{}].{name}", spec.plugin, spec.instance);
            let is_given = |row: &Explained| row.path == path || row.path == format!("{path}_env");
            if let Some(default) = &key.default
                && !out.iter().any(is_given)
            {
                let origin = "default of the manifest".to_owned();
                out.push(Explained {
                    path,
                    value: default.to_string(),
                    origin,
                });
            }
        }
    }
}

fn walk(path: &str, node: &Node, out: &mut Vec<Explained>) {
    match &node.kind {
        Kind::Table(table) => {
            for entry in &table.entries {
                walk(&format!("{path}.{}", entry.key), &entry.node, out);
            }
        }
        _ => out.push(Explained {
            path: path.to_owned(),
            value: node.to_json().to_string(),
            origin: node.place.to_string(),
        }),
    }
}

fn mcp(node: &Node, out: &mut Vec<Explained>) {
    let Some(table) = node.as_table() else { return };
    for entry in &table.entries {
        match entry.key.as_str() {
            // A variable may be a secret that was written in the wrong place.
            "servers" => named(&entry.node, "mcp.servers", "name", out, |entry| {
                entry.key != "env"
            }),
            key => walk(&format!("mcp.{key}"), &entry.node, out),
        }
    }
}

fn plugins(node: &Node, mask: &Mask, out: &mut Vec<Explained>) {
    let Some(table) = node.as_table() else { return };
    for plugin in &table.entries {
        let path = format!("plugins.{}", plugin.key);
        named(&plugin.node, &path, "instance", out, |entry| {
            mask.may_show(&plugin.key, &entry.key)
        });
    }
}

/// Lists an array of tables by the name each has; what may not be shown and is no reference is `***`.
fn named(
    node: &Node,
    path: &str,
    name_key: &str,
    out: &mut Vec<Explained>,
    may_show: impl Fn(&Entry) -> bool,
) {
    let Kind::Array(items) = &node.kind else {
        return;
    };
    for item in items {
        let Some(table) = item.as_table() else {
            continue;
        };
        let name = table
            .get(name_key)
            .and_then(Node::as_str)
            .unwrap_or("default");
        let path = format!("{path}[{name}]");
        for entry in &table.entries {
            let place = &entry.node.place;
            let value = match shown_reference(entry) {
                Some(reference) => reference,
                None if may_show(entry) => entry.node.to_json().to_string(),
                None => MASK.to_owned(),
            };
            debug_assert!(Reference::of(&entry.node).is_none() || value.starts_with(MASK));
            let path = format!("{path}.{}", entry.key);
            out.push(Explained {
                path,
                value,
                origin: place.to_string(),
            });
        }
    }
}
