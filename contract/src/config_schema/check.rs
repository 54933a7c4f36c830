//! Checks one instance's config and takes it apart.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rules::{self, same};
use super::types::{Checked, ConfigKey, ConfigSchema, ConfigType, Given, Problem};
use crate::toml::nearest;

/// Finds the file that a path names and gives its absolute path, or says what is wrong with it.
///
/// Its arguments are the path as written and the most bytes it may have.
pub type Files<'a> = &'a dyn Fn(&str, Option<u64>) -> Result<String, String>;

type Fields = BTreeMap<String, ConfigKey>;

impl ConfigSchema {
    /// Checks an instance's config and takes its secrets out.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn check(
        &self,
        given: &BTreeMap<String, Given>,
        files: Files<'_>,
    ) -> Result<Checked, Vec<Problem>> {
        let (checked, problems) = self.check_all(given, files);
        if problems.is_empty() {
            Ok(checked)
        } else {
            Err(problems)
        }
    }

    /// Checks like [`ConfigSchema::check`], and gives what is right beside what is not.
    pub fn check_all(
        &self,
        given: &BTreeMap<String, Given>,
        files: Files<'_>,
    ) -> (Checked, Vec<Problem>) {
        let mut check = Check::new(files);
        let config = check.table(&self.keys, self.is_open, given, "");
        let checked = Checked {
            config,
            secrets: check.secrets,
        };
        (checked, check.problems)
    }
}

/// Checks a default of a manifest and fills in what is below it; files are not looked at.
pub(crate) fn check_default(key: &ConfigKey, path: &str, default: &Value) -> Vec<Problem> {
    let as_written = |text: &str, _: Option<u64>| Ok(text.to_owned());
    let mut check = Check::new(&as_written);
    check.value(key, &default.clone().into(), path);
    check.problems
}

/// Writes the path of a key in a table.
pub(super) fn path_of(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

struct Check<'a> {
    files: Files<'a>,
    secrets: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn new(files: Files<'a>) -> Self {
        Self {
            files,
            secrets: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn table(
        &mut self,
        fields: &Fields,
        is_open: bool,
        given: &BTreeMap<String, Given>,
        table: &str,
    ) -> Map<String, Value> {
        let mut read = Map::new();
        let mut wrong = Vec::new();
        for (name, given) in given {
            let path = path_of(table, name);
            match fields.get(name) {
                Some(_) if given.is_null() => {}
                Some(key) => match self.value(key, given, &path) {
                    Some(value) => {
                        read.insert(name.clone(), value);
                    }
                    None => wrong.push(name.as_str()),
                },
                None if !is_open => self.unknown(fields, name, &path),
                None => match given {
                    Given::Referenced(text) => {
                        let value = self.secret(&path, text);
                        read.extend(value.map(|value| (name.clone(), value)));
                    }
                    given if given.is_null() => {}
                    given => {
                        read.insert(name.clone(), given.to_json());
                    }
                },
            }
        }
        let holds = Conditions {
            fields,
            read: &read,
            wrong: &wrong,
        };
        let counts: Vec<Option<bool>> = fields
            .values()
            .map(|key| holds.hold(key, DEPTH_MAX))
            .collect();
        for ((name, key), counts) in fields.iter().zip(counts) {
            let path = path_of(table, name);
            let is_given = given.get(name).is_some_and(|given| !given.is_null());
            match (is_given, counts) {
                (true, Some(false)) => {
                    read.remove(name);
                    self.inapplicable(key, &path);
                }
                (true, _) | (false, None | Some(false)) => {}
                (false, Some(true)) => {
                    if let Some(default) = &key.default {
                        let value = self.value(key, &default.clone().into(), &path);
                        read.extend(value.map(|value| (name.clone(), value)));
                    } else if key.required {
                        self.missing(key, name, &path);
                    }
                }
            }
        }
        read
    }

    /// Gives the value as the plugin gets it; `None`: what is wrong with it was said.
    fn value(&mut self, key: &ConfigKey, given: &Given, path: &str) -> Option<Value> {
        let before = self.problems.len();
        let value = match given {
            Given::Unresolved => return None,
            Given::Referenced(text) if key.secret => {
                rules::check(key, path, &Value::String(text.clone()), &mut self.problems);
                return self.secret(path, text);
            }
            Given::Referenced(text) => {
                let read = key.kind.read_text(text);
                let Some(value) = read.filter(|value| key.kind.check(value).is_ok()) else {
                    let message = format!("the value referred to by {path} is no {}", key.kind);
                    self.problems
                        .push(Problem::new(path, "wrong_type", message));
                    return None;
                };
                value
            }
            _ if key.secret => {
                self.problems.push(literal_secret(path));
                return None;
            }
            Given::List(items) if key.kind == ConfigType::Array => match &key.items {
                None => given.to_json(),
                Some(item) => {
                    let each = items.iter().enumerate();
                    let each: Vec<Option<Value>> = each
                        .map(|(at, given)| self.value(item, given, &format!("{path}[{at}]")))
                        .collect();
                    each.into_iter().flatten().collect()
                }
            },
            Given::Table(entries) if key.kind == ConfigType::Object => {
                Value::Object(match (&key.fields, &key.values) {
                    (Some(fields), _) => self.table(fields, false, entries, path),
                    (None, Some(each)) => self.map(each, entries, path),
                    (None, None) => entries
                        .iter()
                        .filter(|(_, given)| !given.is_null())
                        .map(|(name, given)| (name.clone(), given.to_json()))
                        .collect(),
                })
            }
            other => other.to_json(),
        };
        let value = whole(key.kind, value);
        if let Err(problem) = key.kind.check(&value) {
            let message = format!("{path} {problem}");
            self.problems
                .push(Problem::new(path, "wrong_type", message));
            return None;
        }
        // Items that are wrong are not counted, and are said already.
        if self.problems.len() == before {
            rules::check(key, path, &value, &mut self.problems);
        }
        if key.kind == ConfigType::File {
            return self.file(key, path, value.as_str().unwrap_or_default());
        }
        (self.problems.len() == before).then_some(value)
    }

    fn map(
        &mut self,
        each: &ConfigKey,
        entries: &BTreeMap<String, Given>,
        path: &str,
    ) -> Map<String, Value> {
        let mut read = Map::new();
        for (name, given) in entries.iter().filter(|(_, given)| !given.is_null()) {
            let value = self.value(each, given, &path_of(path, name));
            read.extend(value.map(|value| (name.clone(), value)));
        }
        read
    }

    fn secret(&mut self, path: &str, text: &str) -> Option<Value> {
        if text.is_empty() {
            let message = format!("the secret referred to by {path} is empty");
            self.problems
                .push(Problem::new(path, "secret_missing", message));
            return None;
        }
        self.secrets.insert(path.to_owned(), text.to_owned());
        Some(json!({ "$secret": path }))
    }

    fn file(&mut self, key: &ConfigKey, path: &str, text: &str) -> Option<Value> {
        match (self.files)(text, key.rules.max_size) {
            Ok(found) => Some(Value::String(found)),
            Err(problem) => {
                let message = format!("{path} {problem}");
                self.problems
                    .push(Problem::new(path, "file_unusable", message));
                None
            }
        }
    }

    fn unknown(&mut self, fields: &Fields, name: &str, path: &str) {
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean {near:?}?"),
            None if known.is_empty() => "the plugin's manifest declares no config".to_owned(),
            None => format!("the plugin's manifest declares {}", known.join(", ")),
        };
        let message = format!("unknown config key {path:?}");
        self.problems
            .push(Problem::new(path, "unknown_key", message).hint(hint));
    }

    fn inapplicable(&mut self, key: &ConfigKey, path: &str) {
        let message = format!("{path} counts only with {}, and is given", said(key));
        let hint = "leave it out; unset it where it is in common";
        self.problems
            .push(Problem::new(path, "inapplicable", message).hint(hint));
    }

    fn missing(&mut self, key: &ConfigKey, name: &str, path: &str) {
        let hint = if key.secret {
            format!("add {name}_env = \"NAME_OF_A_VARIABLE\"")
        } else {
            format!("add {name} = … ({})", key.kind)
        };
        let message = if key.when.is_empty() {
            format!("{path} is required and missing")
        } else {
            format!("{path} is required with {}, and is missing", said(key))
        };
        self.problems
            .push(Problem::new(path, "missing_key", message).hint(hint));
    }
}

/// Says with what a key counts: `mode = "webhook"`.
fn said(key: &ConfigKey) -> String {
    let each = key.when.iter().map(|(name, values)| {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        format!("{name} = {}", values.join(" or "))
    });
    each.collect::<Vec<_>>().join(" and ")
}

/// Makes an integer of `3.0`, as JSON Schema reads it.
fn whole(kind: ConfigType, value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        Some(number)
            if kind == ConfigType::Integer
                && value.is_f64()
                && number.fract() == 0.0
                && number.abs() < EXACT =>
        {
            Value::from(number as i64)
        }
        _ => value,
    }
}

/// Longest chain of conditions; one that goes in a circle is refused when the manifest is read.
const DEPTH_MAX: usize = 32;

/// Tells of keys whether they count, by the values beside them.
struct Conditions<'a> {
    fields: &'a Fields,
    read: &'a Map<String, Value>,
    /// Keys that are given and whose values are not known.
    wrong: &'a [&'a str],
}

impl Conditions<'_> {
    /// `None`: it depends on a value that is not known.
    fn hold(&self, key: &ConfigKey, depth: usize) -> Option<bool> {
        let mut all = Some(true);
        for (name, allowed) in &key.when {
            match self.is_one(name, allowed, depth) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    fn is_one(&self, name: &str, allowed: &[Value], depth: usize) -> Option<bool> {
        let Some(key) = self.fields.get(name) else {
            return Some(false);
        };
        if self.wrong.contains(&name) {
            return None;
        }
        if depth == 0 || !self.hold(key, depth - 1)? {
            return Some(false);
        }
        let value = self.read.get(name).or(key.default.as_ref());
        Some(value.is_some_and(|value| allowed.iter().any(|one| same(one, value))))
    }
}

fn literal_secret(path: &str) -> Problem {
    let name = path.rsplit('.').next().unwrap_or(path);
    let message = format!("{path} is secret and stands in the file");
    Problem::new(path, "secret_literal", message).hint(format!(
        "write {name}_env = \"NAME_OF_A_VARIABLE\" or {name} = {{ file = \"secrets/{name}\" }}"
    ))
}
