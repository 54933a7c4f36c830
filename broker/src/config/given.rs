//! Takes in what an instance gives under the keys that are its plugin's.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use trunkline_contract::config_schema::{
    Checked, ConfigKey, ConfigSchema, ConfigType, Given, Problem, RESERVED_KEYS,
};
use trunkline_contract::toml::TableReader;
use trunkline_contract::toml::{Diagnostic, Entry, Kind, Node, Place, Severity, Sink, Table};

use super::load::Around;
use super::secret::{Reference, is_variable_name};

/// Begins a path that starts in the instance's own state directory.
const STATE: &str = "state:";

/// One instance's config on its way in.
pub(super) struct Reading<'a> {
    pub(super) around: &'a Around<'a>,
    /// Where the instance keeps its state, if that is known.
    pub(super) state_dir: Option<&'a Path>,
    /// An instance that is not to run may go without its secrets.
    pub(super) is_enabled: bool,
    pub(super) sink: &'a Sink,
}

/// Where each key stands, by path.
type Places = BTreeMap<String, Place>;

impl Reading<'_> {
    /// Reads and checks; everything that is wrong goes to the sink.
    pub(super) fn check(
        &self,
        schema: &ConfigSchema,
        table: &TableReader<'_>,
    ) -> (Checked, Places) {
        let mut places = Places::new();
        let entries = table.entries().iter();
        let own = entries.filter(|entry| !RESERVED_KEYS.contains(&entry.key.as_str()));
        let given = self.table(own, Some(&schema.keys), "", &mut places);
        let files = |path: &str, most: Option<u64>| self.find_file(path, most);
        let (checked, problems) = schema.check_all(&given, &files);
        for problem in problems {
            self.report(problem, &places, table.place());
        }
        (checked, places)
    }

    /// Reads entries of which `x_env` is `x`, referred to.
    fn table<'n>(
        &self,
        entries: impl Iterator<Item = &'n Entry>,
        fields: Option<&BTreeMap<String, ConfigKey>>,
        table: &str,
        places: &mut Places,
    ) -> BTreeMap<String, Given> {
        let mut given = BTreeMap::new();
        for entry in entries {
            let plain = entry.key.strip_suffix("_env");
            let name = plain.unwrap_or(&entry.key);
            let path = child(table, name);
            let variable = entry.node.as_str().filter(|text| is_variable_name(text));
            if plain.is_some() && variable.is_none() && entry.node.kind != Kind::Null {
                let message = format!("{} has to name an environment variable", entry.key);
                let hint = "letters, digits and _, no digit first; never the secret itself";
                let place = &entry.node.place;
                self.sink.error_hint("wrong_type", place, message, hint);
                given.insert(name.to_owned(), Given::Unresolved);
                continue;
            }
            if let Some(earlier) = places.insert(path.clone(), entry.place.clone()) {
                let message = format!("{path} is given twice, also at {earlier}");
                self.sink.error("duplicate", &entry.place, message);
                continue;
            }
            let key = fields.and_then(|fields| fields.get(name));
            let read = match (plain, variable) {
                (Some(_), Some(variable)) => {
                    self.resolve(&Reference::Env(variable.to_owned()), &path, &entry.node)
                }
                _ => self.node(&entry.node, key, &path, places),
            };
            given.insert(name.to_owned(), read);
        }
        given
    }

    fn node(&self, node: &Node, key: Option<&ConfigKey>, path: &str, places: &mut Places) -> Given {
        let is_table = key.is_some_and(|key| key.kind == ConfigType::Object);
        if let Some(reference) = Reference::of(node).filter(|_| !is_table) {
            return self.resolve(&reference, path, node);
        }
        match &node.kind {
            Kind::Float(number) if !number.is_finite() => {
                let message = format!("{path} has to be a finite number, found {number}");
                self.sink.error("invalid_value", &node.place, message);
                Given::Unresolved
            }
            Kind::Array(items) => {
                let item = key.and_then(|key| key.items.as_deref());
                let each = items.iter().enumerate().map(|(at, node)| {
                    let path = format!("{path}[{at}]");
                    places.insert(path.clone(), node.place.clone());
                    self.node(node, item, &path, places)
                });
                Given::List(each.collect())
            }
            Kind::Table(table) => match key {
                Some(key) if key.fields.is_some() => {
                    let entries = table.entries.iter();
                    Given::Table(self.table(entries, key.fields.as_ref(), path, places))
                }
                _ => self.map(
                    table,
                    key.and_then(|key| key.values.as_deref()),
                    path,
                    places,
                ),
            },
            _ => Given::Literal(node.to_json()),
        }
    }

    /// Reads a table whose keys are data; without a key nothing in it is a reference.
    fn map(
        &self,
        table: &Table,
        each: Option<&ConfigKey>,
        path: &str,
        places: &mut Places,
    ) -> Given {
        let Some(each) = each else {
            return serde_json::Value::Object(table.to_json()).into();
        };
        let entries = table.entries.iter().map(|entry| {
            let path = child(path, &entry.key);
            places.insert(path.clone(), entry.place.clone());
            (
                entry.key.clone(),
                self.node(&entry.node, Some(each), &path, places),
            )
        });
        Given::Table(entries.collect())
    }

    /// Gets a referenced value.
    fn resolve(&self, reference: &Reference, path: &str, node: &Node) -> Given {
        let Around { base, env, files } = self.around;
        match reference.resolve(env, base, *files) {
            Ok(text) => Given::Referenced(text),
            Err(problem) => {
                let severity = if self.is_enabled {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                let message = format!("{path}: {problem}");
                let found = Diagnostic::new(severity, "secret_missing", &node.place, message);
                self.sink.push(found);
                Given::Unresolved
            }
        }
    }

    /// Finds a file of the config: beside the operator's, or in the state directory.
    fn find_file(&self, path: &str, most: Option<u64>) -> Result<String, String> {
        let found = match path.strip_prefix(STATE) {
            None => self.around.base.join(path),
            Some(inner) => {
                let is_inner = !inner.is_empty()
                    && Path::new(inner)
                        .components()
                        .all(|part| matches!(part, Component::Normal(_)));
                if !is_inner {
                    return Err(format!(
                        "has to stay in the state directory, found {path:?}"
                    ));
                }
                let Some(dir) = self.state_dir else {
                    return Ok(path.to_owned()); // Why it is not known is said elsewhere.
                };
                dir.join(inner)
            }
        };
        match self.around.files.size(&found) {
            Ok(size) => match most.filter(|most| size > *most) {
                Some(most) => Err(format!("has to have at most {most} bytes, found {size}")),
                None => Ok(found.display().to_string()),
            },
            Err(error) => Err(format!("has to be a file: {}: {error}", found.display())),
        }
    }

    fn report(&self, problem: Problem, places: &Places, whole: &Place) {
        let mut path = problem.key.as_str();
        let place = loop {
            if let Some(place) = places.get(path) {
                break place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => break whole,
            }
        };
        let mut found = Diagnostic::new(Severity::Error, problem.code, place, problem.message);
        found.hint = problem.hint;
        self.sink.push(found);
    }
}

fn child(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}
