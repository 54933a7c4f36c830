//! Reads a table key by key, and reports what was not asked for.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Diagnostic, Entry, Kind, Node, Place, Severity, Sink, Table, nearest};
use crate::duration;

/// Reads one table: each getter reports a wrong type, [`TableReader::finish`] the unknown keys.
pub struct TableReader<'a> {
    table: &'a Table,
    path: String,
    place: Place,
    sink: &'a Sink,
    unknown: Severity,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> TableReader<'a> {
    /// Begins to read a whole document.
    pub fn root(table: &'a Table, place: Place, sink: &'a Sink, unknown: Severity) -> Self {
        Self {
            table,
            path: String::new(),
            place,
            sink,
            unknown,
            known: RefCell::default(),
        }
    }

    /// Begins to read a table that stands under a key which is data, not a name known here.
    pub fn under(&self, path: String, table: &'a Table, place: &Place) -> TableReader<'a> {
        TableReader {
            table,
            path,
            place: place.clone(),
            sink: self.sink,
            unknown: self.unknown,
            known: RefCell::default(),
        }
    }

    /// Gives the dotted path of this table; empty for the document.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Gives where the table begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Gives where the diagnostics go.
    pub fn sink(&self) -> &'a Sink {
        self.sink
    }

    /// Gives all entries, known or not.
    pub fn entries(&self) -> &'a [Entry] {
        &self.table.entries
    }

    /// Writes the path of a key in this table.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Gives a value of any type and makes the key known.
    pub fn get(&self, key: &'static str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Gives an entry of any type, with the place of its key, and makes the key known; one that is
    /// null is not there.
    pub fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        let entry = self.table.entry(key);
        entry.filter(|entry| entry.node.kind != Kind::Null)
    }

    /// Reports a key that has to be there and is not.
    pub fn missing(&self, key: &str, hint: &str) {
        let within = self.within();
        let message = format!("{key:?} is missing{within}");
        self.sink
            .error_hint("missing_key", &self.place, message, hint);
    }

    /// Reports a value of another type than the expected one.
    pub fn wrong_type(&self, key: &str, expected: &str, found: &Node) {
        let path = self.path_of(key);
        let message = format!("{path} has to be {expected}, found {}", found.type_name());
        self.sink.error("wrong_type", &found.place, message);
    }

    /// Reads a string.
    pub fn text(&self, key: &'static str) -> Option<&'a str> {
        self.text_at(key).map(|(text, _)| text)
    }

    /// Reads a string and where it stands.
    pub fn text_at(&self, key: &'static str) -> Option<(&'a str, &'a Place)> {
        let node = self.get(key)?;
        let text = node.as_str();
        if text.is_none() {
            self.wrong_type(key, "a string", node);
        }
        text.map(|text| (text, &node.place))
    }

    /// Reads a boolean.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        match node.kind {
            Kind::Boolean(is) => Some(is),
            _ => {
                self.wrong_type(key, "true or false", node);
                None
            }
        }
    }

    /// Reads an integer within a range.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.get(key)?;
        let Kind::Integer(number) = node.kind else {
            self.wrong_type(key, "an integer", node);
            return None;
        };
        let fits = u64::try_from(number)
            .ok()
            .filter(|number| range.contains(number));
        if fits.is_none() {
            let (path, low, high) = (self.path_of(key), range.start(), range.end());
            let message = if *high == u64::MAX {
                format!("{path} has to be at least {low}, found {number}")
            } else {
                format!("{path} has to be between {low} and {high}, found {number}")
            };
            self.sink.error("invalid_value", &node.place, message);
        }
        fits
    }

    /// Reads a duration such as `"30s"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let node = self.get(key)?;
        let path = self.path_of(key);
        match &node.kind {
            Kind::String(text) => match duration::parse(text) {
                Ok(duration) => Some(duration),
                Err(error) => {
                    let message = format!("{path}: {error}");
                    self.sink
                        .error_hint("invalid_value", &node.place, message, duration::HINT);
                    None
                }
            },
            Kind::Integer(number) => {
                let message = format!("{path} has to be a duration with a unit, found {number}");
                self.sink
                    .error_hint("unit_missing", &node.place, message, duration::BARE_HINT);
                None
            }
            _ => {
                self.wrong_type(key, "a duration such as \"30s\"", node);
                None
            }
        }
    }

    /// Reads a list of strings, each with its place.
    pub fn strings(&self, key: &'static str) -> Option<Vec<(&'a str, &'a Place)>> {
        let node = self.get(key)?;
        let Kind::Array(items) = &node.kind else {
            self.wrong_type(key, "an array of strings", node);
            return None;
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            match item.as_str() {
                Some(text) => strings.push((text, &item.place)),
                None => self.wrong_type(key, "an array of strings", item),
            }
        }
        Some(strings)
    }

    /// Reads one word of a closed set.
    pub fn choice<T: Clone>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let (text, place) = self.text_at(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(value.clone());
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let list: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let message = format!(
            "{} has to be one of {}, found {text:?}",
            self.path_of(key),
            list.join(", ")
        );
        let mut diagnostic = Diagnostic::new(Severity::Error, "invalid_value", place, message);
        if let Some(near) = nearest(text, &known) {
            diagnostic = diagnostic.hint(format!("did you mean {near:?}?"));
        }
        self.sink.push(diagnostic);
        None
    }

    /// Reads a table.
    pub fn table(&self, key: &'static str) -> Option<TableReader<'a>> {
        let node = self.get(key)?;
        match &node.kind {
            Kind::Table(table) => Some(self.under(self.path_of(key), table, &node.place)),
            _ => {
                self.wrong_type(key, "a table", node);
                None
            }
        }
    }

    /// Reads an array of tables.
    pub fn tables(&self, key: &'static str) -> Vec<TableReader<'a>> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        self.tables_of(&self.path_of(key), node)
    }

    /// Reads an array of tables that stands under a key which is data.
    pub fn tables_of(&self, path: &str, node: &'a Node) -> Vec<TableReader<'a>> {
        let expected = |found: &Node| {
            let message = format!(
                "{path} has to be an array of tables, found {}",
                found.type_name()
            );
            let hint = format!("write it as [[{path}]]");
            self.sink
                .error_hint("wrong_type", &found.place, message, hint);
        };
        let Kind::Array(items) = &node.kind else {
            expected(node);
            return Vec::new();
        };
        let mut readers = Vec::with_capacity(items.len());
        for item in items {
            match item.as_table() {
                Some(table) => readers.push(self.under(path.to_owned(), table, &item.place)),
                None => expected(item),
            }
        }
        readers
    }

    /// Refuses a key of the design that this version does not enforce.
    pub fn not_built(&self, key: &'static str, hint: &str) {
        if let Some(entry) = self.entry(key) {
            let message = format!("{} is not built yet, and is not ignored", self.path_of(key));
            self.sink
                .error_hint("not_implemented", &entry.place, message, hint);
        }
    }

    /// Reports the keys that no getter asked for.
    pub fn finish(self) {
        self.finish_with(|_| None);
    }

    /// Reports the keys that no getter asked for; `hint` may know more about one than its spelling.
    pub fn finish_with(self, hint: impl Fn(&str) -> Option<String>) {
        let known = self.known.borrow();
        for entry in &self.table.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let message = format!("unknown key {:?}{}", entry.key, self.within());
            let hint = hint(&entry.key).unwrap_or_else(|| {
                nearest(&entry.key, &known).map_or_else(
                    || format!("known keys: {}", known.join(", ")),
                    |near| format!("did you mean {near:?}?"),
                )
            });
            let found = Diagnostic::new(self.unknown, "unknown_key", &entry.place, message);
            self.sink.push(found.hint(hint));
        }
    }

    fn within(&self) -> String {
        if self.path.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", self.path)
        }
    }
}
