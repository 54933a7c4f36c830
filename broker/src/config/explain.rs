//! Where each value came from; secrets as `***`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use trunkline_contract::config_schema::ConfigKey;
use trunkline_contract::toml::{Entry, Kind, Node, Table};

use super::base;
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
            "plugins" => plugins(table, &entry.node, mask, &mut out),
            base::SECTION => {} // Shown with each instance that takes it.
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
        let path = format!("plugins.{}[{}]", spec.plugin, spec.instance);
        defaults_of(&spec.manifest.config.keys, &spec.config, &path, out);
    }
}

/// Adds the defaults of a table that is there.
fn defaults_of(
    fields: &BTreeMap<String, ConfigKey>,
    config: &Map<String, Value>,
    table: &str,
    out: &mut Vec<Explained>,
) {
    for (name, key) in fields {
        let path = format!("{table}.{name}");
        let within = format!("{path}.");
        let is_given = |row: &Explained| {
            let is_it = row.path == path || row.path == format!("{path}_env");
            (is_it && row.value != NULL) || row.path.starts_with(&within)
        };
        let is_given = out.iter().any(is_given);
        match (config.get(name), &key.fields) {
            (Some(Value::Object(inner)), Some(fields)) if !key.secret => {
                defaults_of(fields, inner, &path, out);
            }
            (Some(value), _) if key.default.is_some() && !is_given => out.push(Explained {
                path,
                value: value.to_string(),
                origin: "default of the manifest".to_owned(),
            }),
            _ => {}
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

fn plugins(root: &Table, node: &Node, mask: &Mask, out: &mut Vec<Explained>) {
    let Some(table) = node.as_table() else { return };
    for plugin in &table.entries {
        let Kind::Array(instances) = &plugin.node.kind else {
            continue;
        };
        for table in instances.iter().filter_map(Node::as_table) {
            let name = name_of(table, "instance");
            let mut rows = Rows {
                root,
                plugin: &plugin.key,
                mask,
                path: format!("plugins.{}[{name}]", plugin.key),
                keys: Vec::new(),
                out: &mut *out,
            };
            rows.table(table);
        }
    }
}

/// The values of one instance, table by table.
struct Rows<'a> {
    root: &'a Table,
    plugin: &'a str,
    mask: &'a Mask,
    path: String,
    keys: Vec<&'a str>,
    out: &'a mut Vec<Explained>,
}

impl<'a> Rows<'a> {
    fn table(&mut self, table: &'a Table) {
        for entry in &table.entries {
            self.keys.push(&entry.key);
            self.entry(entry);
            self.keys.pop();
        }
    }

    fn entry(&mut self, entry: &'a Entry) {
        let shown = match (shown_reference(entry), entry.node.as_table()) {
            (Some(reference), _) => reference,
            (None, Some(table)) if self.may_show(true) && !table.entries.is_empty() => {
                return self.table(table);
            }
            (None, _) if self.may_show(false) => entry.node.to_json().to_string(),
            (None, _) if entry.node.kind == Kind::Null => NULL.to_owned(),
            (None, _) => MASK.to_owned(),
        };
        let place = &entry.node.place;
        let mut origin = place.to_string();
        if entry.node.kind == Kind::Null {
            if base::takes_away(self.root, self.plugin, &self.keys) {
                origin.push_str(" (takes away what is in common)");
            }
        } else if let Some(below) = base::origin(self.root, self.plugin, &self.keys, place) {
            origin = format!("{origin} ({below})");
        }
        self.out.push(Explained {
            path: format!("{}.{}", self.path, self.keys.join(".")),
            value: shown,
            origin,
        });
    }

    fn may_show(&self, is_table: bool) -> bool {
        self.mask.may_show(self.plugin, &self.keys, is_table)
    }
}

/// How a value is shown that is not there.
const NULL: &str = "null";

fn name_of<'t>(table: &'t Table, key: &str) -> &'t str {
    table.get(key).and_then(Node::as_str).unwrap_or("default")
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
        let path = format!("{path}[{}]", name_of(table, name_key));
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
