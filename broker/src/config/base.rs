//! Lays each instance's settings over those that all instances of its plugin have in common.
//!
//! Below are `[plugin_defaults.<plugin>]` and, under the key `grants`, `[grants.<plugin>]`. Tables
//! merge key by key, everything else is replaced; a null, or a path in `unset`, takes away what
//! is below. Everything after this reads the merged instances and knows nothing of where a value
//! came from but its place.

use trunkline_contract::toml::{Entry, Kind, Node, Place, Sink, Table, nearest};

use super::secret::Reference;

/// Names the section of settings that instances have in common.
pub(super) const SECTION: &str = "plugin_defaults";

/// Names the key of an instance that lists what it does not take from there.
pub(super) const UNSET: &str = "unset";

/// The key of an instance's own grants.
pub(super) const GRANTS: &str = "grants";

/// What an instance alone can have, and what to write instead.
const NOT_IN_COMMON: &[(&str, &str)] = &[
    ("instance", "each instance has a name of its own"),
    (UNSET, "leave the key out here"),
    (
        GRANTS,
        "what all instances may do stands in [grants.<plugin>]",
    ),
];

/// Merges every instance with what is below it.
pub(super) fn expand(root: &mut Table, sink: &Sink) {
    let below = read_section(root, sink);
    let grants = root.get(GRANTS).and_then(Node::as_table).cloned();
    let Some(plugins) = table_mut(root, "plugins") else {
        return;
    };
    for plugin in &mut plugins.entries {
        let Kind::Array(instances) = &mut plugin.node.kind else {
            continue;
        };
        let common = below.get(&plugin.key).and_then(Node::as_table);
        let granted = grants.as_ref().and_then(|grants| grants.entry(&plugin.key));
        for instance in instances {
            let Kind::Table(table) = &mut instance.kind else {
                continue;
            };
            apply_unset(table, &format!("plugins.{}", plugin.key), sink);
            let mut below = common.cloned().unwrap_or_default();
            if let Some(granted) = granted
                && table.get(GRANTS).is_some()
            {
                below.entries.push(Entry {
                    key: GRANTS.to_owned(),
                    ..granted.clone()
                });
            }
            lay_over(table, below);
        }
    }
}

/// Gives what stands below, without what cannot be in common.
fn read_section(root: &Table, sink: &Sink) -> Table {
    let Some(section) = root.get(SECTION) else {
        return Table::default();
    };
    let wrong = |path: &str, found: &Node| {
        let message = format!("{path} has to be a table, found {}", found.type_name());
        sink.error("wrong_type", &found.place, message);
    };
    let plugins = root.get("plugins").and_then(Node::as_table);
    let mut below = match &section.kind {
        Kind::Table(table) => table.clone(),
        Kind::Null => Table::default(),
        _ => {
            wrong(SECTION, section);
            Table::default()
        }
    };
    for entry in &mut below.entries {
        let path = format!("{SECTION}.{}", entry.key);
        if plugins
            .and_then(|plugins| plugins.entry(&entry.key))
            .is_none()
        {
            let names = plugins.map_or(&[][..], |plugins| &plugins.entries);
            let names: Vec<&str> = names.iter().map(|entry| entry.key.as_str()).collect();
            let hint = nearest(&entry.key, &names).map_or_else(
                || format!("there is no [[plugins.{}]]", entry.key),
                |near| format!("did you mean {near:?}?"),
            );
            let message = format!("{path} is for no plugin");
            sink.error_hint("unknown_key", &entry.place, message, hint);
        }
        match &mut entry.node.kind {
            Kind::Table(table) => table.entries.retain(|inner| {
                let refused = NOT_IN_COMMON.iter().find(|(key, _)| *key == inner.key);
                if let Some((key, hint)) = refused {
                    let message = format!("{path}.{key} cannot be in common");
                    sink.error_hint("invalid_value", &inner.place, message, *hint);
                }
                refused.is_none()
            }),
            Kind::Null => {}
            _ => wrong(&path, &entry.node),
        }
    }
    below
}

fn table_mut<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Table> {
    let entry = table.entries.iter_mut().find(|entry| entry.key == key)?;
    match &mut entry.node.kind {
        Kind::Table(table) => Some(table),
        _ => None,
    }
}

/// Writes a null for each path of `unset`.
fn apply_unset(table: &mut Table, path: &str, sink: &Sink) {
    let Some(unset) = table.get(UNSET).cloned() else {
        return;
    };
    let wrong = |found: &Node| {
        let message = format!(
            "{path}.{UNSET} has to be an array of strings, found {}",
            found.type_name()
        );
        sink.error("wrong_type", &found.place, message);
    };
    let Kind::Array(items) = &unset.kind else {
        if unset.kind != Kind::Null {
            wrong(&unset);
        }
        return;
    };
    for item in items {
        let Some(text) = item.as_str() else {
            wrong(item);
            continue;
        };
        let keys: Vec<&str> = text.split('.').collect();
        let refuse = |message: String| sink.error("invalid_value", &item.place, message);
        if keys.iter().any(|key| key.is_empty()) {
            refuse(format!("{path}.{UNSET} has to name keys, found {text:?}"));
        } else if find(table, &keys).is_some() {
            refuse(format!("{text} is given and unset"));
        } else {
            let null = Node {
                kind: Kind::Null,
                place: item.place.clone(),
            };
            if let Err(key) = table.put(&keys, null) {
                refuse(format!("{text} cannot be unset: {key} is no table"));
            }
        }
    }
}

/// Finds what stands under a path of keys.
pub(super) fn find<'t>(table: &'t Table, keys: &[&str]) -> Option<&'t Node> {
    let (first, rest) = keys.split_first()?;
    let node = table.get(first)?;
    if rest.is_empty() {
        Some(node)
    } else {
        find(node.as_table()?, rest)
    }
}

/// Lays a table over what is below it: its own entries stay first and in their order.
fn lay_over(above: &mut Table, mut below: Table) {
    for entry in &mut above.entries {
        let key = entry.key.as_str();
        let taken = take(&mut below, key);
        // A value and a reference to one are two spellings of one key.
        match key.strip_suffix("_env") {
            Some(plain) => drop(take(&mut below, plain)),
            None => drop(take(&mut below, &format!("{key}_env"))),
        }
        let Some(taken) = taken else { continue };
        let are_references =
            Reference::of(&entry.node).is_some() && Reference::of(&taken.node).is_some();
        if let (Kind::Table(mine), Kind::Table(theirs)) = (&mut entry.node.kind, taken.node.kind)
            && !are_references
        {
            lay_over(mine, theirs);
        }
    }
    above.entries.extend(below.entries);
}

fn take(table: &mut Table, key: &str) -> Option<Entry> {
    let at = table.entries.iter().position(|entry| entry.key == key)?;
    Some(table.entries.remove(at))
}

/// Says from where below an instance a value came, if it did.
pub(super) fn origin(root: &Table, plugin: &str, keys: &[&str], place: &Place) -> Option<String> {
    let stands_in = |section: &str, keys: &[&str]| {
        let below = root.get(section)?.as_table()?.get(plugin)?.as_table()?;
        (find(below, keys)?.place == *place).then(|| format!("{section}.{plugin}"))
    };
    match keys.split_first() {
        Some((&GRANTS, rest)) => stands_in(GRANTS, rest),
        _ => stands_in(SECTION, keys),
    }
}

/// Tells whether a null took something away that is below an instance.
pub(super) fn takes_away(root: &Table, plugin: &str, keys: &[&str]) -> bool {
    let there = |section: &str, keys: &[&str]| {
        let below = root.get(section)?.as_table()?.get(plugin)?.as_table()?;
        let (last, before) = keys.split_last()?;
        let suffixed = format!("{last}_env");
        let with = |last| find(below, &[before, &[last]].concat());
        with(*last).or_else(|| with(suffixed.as_str()))
    };
    match keys.split_first() {
        Some((&GRANTS, rest)) => there(GRANTS, rest).is_some(),
        _ => there(SECTION, keys).is_some(),
    }
}
