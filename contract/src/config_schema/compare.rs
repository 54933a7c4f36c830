//! Compares the configs of instances: what two share, what an edit changes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::check::path_of;
use super::types::{Checked, ConfigKey, ConfigSchema};

/// A value that no other instance may have.
struct Own {
    /// The keys on the way, without the places in lists.
    key: String,
    /// Where exactly it stands.
    path: String,
    value: String,
}

impl ConfigSchema {
    /// Finds the values of `unique` keys that a later instance shares with an earlier one.
    ///
    /// Gives (path in the later, index of the earlier, index of the later), never the value.
    pub fn shared_values(&self, instances: &[&Checked]) -> Vec<(String, usize, usize)> {
        let mut shared = Vec::new();
        let mut first: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (index, checked) in instances.iter().enumerate() {
            let mut found = Vec::new();
            own_of_table(&self.keys, &checked.config, checked, ("", ""), &mut found);
            for own in found {
                match first.get(&(own.key.clone(), own.value.clone())) {
                    Some(earlier) if *earlier != index => {
                        shared.push((own.path, *earlier, index));
                    }
                    Some(_) => {}
                    None => {
                        first.insert((own.key, own.value), index);
                    }
                }
            }
        }
        shared
    }

    /// Tells whether every changed key between two configs is `hot`, so that no restart is needed.
    pub fn is_hot_change(&self, old: &Checked, new: &Checked) -> bool {
        let change = Change { old, new };
        change.is_hot(&self.keys, &old.config, &new.config, "")
    }
}

fn own_of_table(
    fields: &BTreeMap<String, ConfigKey>,
    table: &Map<String, Value>,
    checked: &Checked,
    (key, path): (&str, &str),
    found: &mut Vec<Own>,
) {
    for (name, field) in fields {
        if let Some(value) = table.get(name) {
            let at = (path_of(key, name), path_of(path, name));
            own_of(field, value, checked, (&at.0, &at.1), found);
        }
    }
}

fn own_of(
    key: &ConfigKey,
    value: &Value,
    checked: &Checked,
    at: (&str, &str),
    found: &mut Vec<Own>,
) {
    if key.unique {
        let text = if key.secret {
            checked.secrets.get(at.1).cloned()
        } else {
            Some(value.to_string())
        };
        found.extend(text.map(|value| Own {
            key: at.0.to_owned(),
            path: at.1.to_owned(),
            value,
        }));
    }
    match (value, &key.fields, &key.values, &key.items) {
        (Value::Object(table), Some(fields), _, _) => {
            own_of_table(fields, table, checked, at, found);
        }
        (Value::Object(table), None, Some(each), _) => {
            for (name, value) in table {
                own_of(each, value, checked, (at.0, &path_of(at.1, name)), found);
            }
        }
        (Value::Array(items), _, _, Some(each)) => {
            for (index, value) in items.iter().enumerate() {
                let path = format!("{}[{index}]", at.1);
                own_of(each, value, checked, (at.0, &path), found);
            }
        }
        _ => {}
    }
}

struct Change<'a> {
    old: &'a Checked,
    new: &'a Checked,
}

impl Change<'_> {
    fn is_hot(
        &self,
        fields: &BTreeMap<String, ConfigKey>,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        table: &str,
    ) -> bool {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        names.into_iter().all(|name| {
            let path = path_of(table, name);
            let (before, after) = (old.get(name), new.get(name));
            if before == after && self.has_same_secrets(&path) {
                return true;
            }
            let Some(key) = fields.get(name) else {
                return false;
            };
            if key.hot {
                return true;
            }
            match (before, after, &key.fields) {
                (Some(Value::Object(before)), Some(Value::Object(after)), Some(fields)) => {
                    self.is_hot(fields, before, after, &path)
                }
                _ => false,
            }
        })
    }

    fn has_same_secrets(&self, path: &str) -> bool {
        let is_within = |name: &str| {
            let rest = name.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let of = |checked: &Checked| -> Vec<(String, String)> {
            let all = checked.secrets.iter().filter(|(name, _)| is_within(name));
            all.map(|(name, text)| (name.clone(), text.clone()))
                .collect()
        };
        of(self.old) == of(self.new)
    }
}
