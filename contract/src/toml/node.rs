//! The tree: values with places.

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::{Diagnostic, Place, Severity};

/// Holds one value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub kind: Kind,
    /// Where the value begins.
    pub place: Place,
}

/// Enumerates the values a text can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A string.
    String(String),
    /// A 64-bit integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A date or time, as text.
    Datetime(String),
    /// A list.
    Array(Vec<Node>),
    /// A table, inline or not.
    Table(Table),
    /// Nothing, said so (YAML alone can); readers take the key as not written.
    Null,
}

/// Holds the entries of a table in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The entries; keys are unique.
    pub entries: Vec<Entry>,
}

/// Holds one key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// Names the type as a person would.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::Boolean(_) => "a boolean",
            Kind::Datetime(_) => "a date",
            Kind::Array(_) => "an array",
            Kind::Table(_) => "a table",
            Kind::Null => "null",
        }
    }

    /// Gives the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Gives the entries of a table.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Converts to JSON; dates become strings, floats without a JSON form become null.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::String(text) | Kind::Datetime(text) => Value::String(text.clone()),
            Kind::Integer(number) => Value::Number((*number).into()),
            Kind::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Kind::Boolean(is) => Value::Bool(*is),
            Kind::Array(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Table(table) => Value::Object(table.to_json()),
            Kind::Null => Value::Null,
        }
    }
}

impl Table {
    /// Finds an entry.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Finds a value.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Converts to a JSON object.
    pub fn to_json(&self) -> Map<String, Value> {
        self.entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.node.to_json()))
            .collect()
    }

    /// Lays another table over this one: tables merge key by key, a null changes nothing, everything
    /// else is replaced.
    pub fn merge(&mut self, over: Table) {
        for entry in over.entries {
            let Some(mine) = self.entries.iter_mut().find(|mine| mine.key == entry.key) else {
                self.entries.push(entry);
                continue;
            };
            match (&mut mine.node.kind, entry.node.kind) {
                (Kind::Table(below), Kind::Table(above)) => {
                    below.merge(above);
                    mine.node.place = entry.node.place;
                }
                (_, Kind::Null) => continue,
                (_, kind) => {
                    mine.node = Node {
                        kind,
                        place: entry.node.place,
                    }
                }
            }
            mine.place = entry.place;
        }
    }

    /// Puts a value under a path of keys, making the tables between.
    ///
    /// # Errors
    /// Gives back the first key on the path whose value is there and is no table.
    pub fn put(&mut self, path: &[&str], node: Node) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            return Ok(());
        };
        let place = node.place.clone();
        let at = match self.entries.iter().position(|entry| entry.key == *first) {
            Some(at) => at,
            None => {
                let empty = Node {
                    kind: Kind::Table(Table::default()),
                    place: place.clone(),
                };
                self.entries.push(Entry {
                    key: (*first).to_owned(),
                    place: place.clone(),
                    node: empty,
                });
                self.entries.len() - 1
            }
        };
        let entry = &mut self.entries[at];
        if rest.is_empty() {
            entry.node = node;
            entry.place = place;
            return Ok(());
        }
        match &mut entry.node.kind {
            Kind::Table(table) => table.put(rest, node),
            _ => Err(entry.key.clone()),
        }
    }
}

/// Parses a text.
///
/// # Errors
/// A `syntax` diagnostic for the first place that is no TOML: what follows it has no meaning.
pub fn parse(text: &str, file: impl Into<Arc<str>>) -> Result<Table, Box<Diagnostic>> {
    let lines = Lines::new(text, file.into());
    match toml_edit::Document::parse(text) {
        Ok(document) => Ok(lines.table(document.as_table())),
        Err(error) => {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            let place = lines.place(error.span());
            let message = format!("not TOML: {message}");
            Err(Box::new(Diagnostic::new(
                Severity::Error,
                "syntax",
                &place,
                message,
            )))
        }
    }
}

/// Parses one value as it would stand after `key =`, from outside a text.
pub fn parse_value(text: &str, place: &Place) -> Option<Node> {
    let value: toml_edit::Value = text.trim().parse().ok()?;
    let lines = Lines {
        text: "",
        starts: vec![0],
        file: Arc::clone(&place.file),
    };
    let mut node = lines.value(&value, place.clone());
    node.set_place(place);
    Some(node)
}

impl Node {
    fn set_place(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.kind {
            Kind::Array(items) => items.iter_mut().for_each(|item| item.set_place(place)),
            Kind::Table(table) => {
                for entry in &mut table.entries {
                    entry.place = place.clone();
                    entry.node.set_place(place);
                }
            }
            _ => {}
        }
    }
}

/// Turns byte offsets into lines and columns.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    file: Arc<str>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str, file: Arc<str>) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            text,
            starts: starts.collect(),
            file,
        }
    }

    fn place(&self, span: Option<Range<usize>>) -> Place {
        let mut offset = span.map_or(0, |span| span.start).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let column = self.text[self.starts[line - 1]..offset].chars().count() + 1;
        Place {
            file: Arc::clone(&self.file),
            line: line as u32,
            column: column as u32,
        }
    }

    fn table(&self, table: &dyn toml_edit::TableLike) -> Table {
        let mut entries = Vec::new();
        for (name, item) in table.iter() {
            let key_place = self.place(table.key(name).and_then(|key| key.span()));
            let Some(node) = self.item(item, &key_place) else {
                continue;
            };
            entries.push(Entry {
                key: name.to_owned(),
                place: key_place,
                node,
            });
        }
        Table { entries }
    }

    fn item(&self, item: &toml_edit::Item, key: &Place) -> Option<Node> {
        let place = item
            .span()
            .map_or_else(|| key.clone(), |span| self.place(Some(span)));
        match item {
            toml_edit::Item::None => None,
            toml_edit::Item::Value(value) => Some(self.value(value, place)),
            toml_edit::Item::Table(table) => Some(Node {
                kind: Kind::Table(self.table(table)),
                place,
            }),
            toml_edit::Item::ArrayOfTables(tables) => {
                let each = tables.iter().map(|table| Node {
                    kind: Kind::Table(self.table(table)),
                    place: table
                        .span()
                        .map_or_else(|| key.clone(), |s| self.place(Some(s))),
                });
                Some(Node {
                    kind: Kind::Array(each.collect()),
                    place,
                })
            }
        }
    }

    fn value(&self, value: &toml_edit::Value, place: Place) -> Node {
        use toml_edit::Value as Toml;
        let kind = match value {
            Toml::String(text) => Kind::String(text.value().clone()),
            Toml::Integer(number) => Kind::Integer(*number.value()),
            Toml::Float(number) => Kind::Float(*number.value()),
            Toml::Boolean(is) => Kind::Boolean(*is.value()),
            Toml::Datetime(date) => Kind::Datetime(date.value().to_string()),
            Toml::Array(items) => Kind::Array(
                items
                    .iter()
                    .map(|item| {
                        let inner = item.span().map(|span| self.place(Some(span)));
                        self.value(item, inner.unwrap_or_else(|| place.clone()))
                    })
                    .collect(),
            ),
            Toml::InlineTable(table) => Kind::Table(self.table(table)),
        };
        Node { kind, place }
    }
}
