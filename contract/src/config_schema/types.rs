//! Keys, what each may hold, and what checking gives.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::duration;

/// Lists the keys of an instance that the broker reads itself.
pub const RESERVED_KEYS: &[&str] = &[
    "instance",
    "enabled",
    "path",
    "limits",
    "restart",
    "restart_degraded_after",
    "grants",
    "unset",
];

/// Enumerates the types of config values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConfigType {
    /// A string.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// A table.
    Object,
    /// A string such as `"30s"`.
    Duration,
    /// The path of a file.
    File,
}

impl ConfigType {
    /// Lists the words used in manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("array", Self::Array),
        ("object", Self::Object),
        ("duration", Self::Duration),
        ("file", Self::File),
    ];

    /// Names the type as manifests do.
    pub fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(word, _)| word)
    }

    /// Checks a value; the message begins with "has to be" and never quotes the value of a string.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::String | Self::File, Value::String(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
            (Self::Duration, Value::String(text)) => {
                return duration::parse(text)
                    .map(|_| ())
                    .map_err(|error| error.to_string());
            }
            (Self::Duration, Value::Number(_)) => {
                return Err(format!(
                    "has to be a duration with a unit: {}",
                    duration::BARE_HINT
                ));
            }
            (Self::File, _) => return Err(format!("has to be a path, found {}", type_of(value))),
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("has to be {self}, found {}", type_of(value)))
        }
    }

    /// Reads a value out of text from a variable or file.
    pub(super) fn read_text(self, text: &str) -> Option<Value> {
        match self {
            Self::String | Self::Duration | Self::File => Some(Value::String(text.to_owned())),
            _ => serde_json::from_str(text.trim()).ok(),
        }
    }
}

impl fmt::Display for ConfigType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "no value",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Bounds what a value may be; `None` leaves it free.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Least number or duration, as in the manifest.
    pub min: Option<Value>,
    /// Greatest number or duration.
    pub max: Option<Value>,
    /// Fewest characters of a string.
    pub min_length: Option<u64>,
    /// Most characters of a string.
    pub max_length: Option<u64>,
    /// A regular expression that a part of the string has to match.
    pub pattern: Option<String>,
    /// Fewest items of a list or a map.
    pub min_items: Option<u64>,
    /// Most items.
    pub max_items: Option<u64>,
    /// Most bytes of a file.
    pub max_size: Option<u64>,
}

/// Describes one key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigKey {
    /// Type of its value.
    pub kind: ConfigType,
    /// Whether an instance has to give it.
    pub required: bool,
    /// The value where an instance gives none.
    pub default: Option<Value>,
    /// Whether it comes by reference only and is never shown.
    pub secret: bool,
    /// Whether no two instances may have the same value.
    pub unique: bool,
    /// Whether a change of it needs no restart.
    pub hot: bool,
    /// Name for people.
    pub label: Option<String>,
    /// What it does, for people.
    pub description: Option<String>,
    /// The values it may have; empty: any.
    pub options: Vec<Value>,
    /// What each item of a list is; `None`: anything.
    pub items: Option<Box<ConfigKey>>,
    /// What each value of a map is; `None`: anything.
    pub values: Option<Box<ConfigKey>>,
    /// The keys of a table; `None`: any.
    pub fields: Option<BTreeMap<String, ConfigKey>>,
    /// Keys beside it, and the values with which it counts; with all of them it is allowed, and
    /// required if it is.
    pub when: BTreeMap<String, Vec<Value>>,
    /// Bounds of its value.
    pub rules: Rules,
}

impl ConfigKey {
    /// Finds what is said of a value below this one, by the keys on the way; `None` where
    /// everything is allowed.
    pub fn below(&self, key: &str) -> Option<&ConfigKey> {
        match &self.fields {
            Some(fields) => fields.get(key),
            None => self.values.as_deref(),
        }
    }

    /// Tells whether it or something in it is secret.
    pub fn holds_secret(&self) -> bool {
        let inner = self.items.iter().chain(&self.values).map(AsRef::as_ref);
        let fields = self.fields.iter().flat_map(BTreeMap::values);
        self.secret || inner.chain(fields).any(Self::holds_secret)
    }
}

/// Describes all keys of a plugin's config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigSchema {
    /// The keys.
    pub keys: BTreeMap<String, ConfigKey>,
    /// Whether other keys pass unchecked (foreign manifests declare none).
    pub is_open: bool,
}

/// Is what an instance gives under one key.
#[derive(Clone, PartialEq)]
pub enum Given {
    /// A value that is neither list nor table; null is as if the key were not there.
    Literal(Value),
    /// What a variable or file holds that the operator refers to.
    Referenced(String),
    /// A reference that could not be followed, or something else that was reported already.
    Unresolved,
    /// A list.
    List(Vec<Given>),
    /// A table.
    Table(BTreeMap<String, Given>),
}

impl Given {
    /// Tells whether it is as if it were not there.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Literal(Value::Null))
    }

    /// Gives the plain value; a reference in it is null.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Referenced(_) | Self::Unresolved => Value::Null,
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Table(entries) => {
                let entries = entries.iter().filter(|(_, given)| !given.is_null());
                let entries = entries.map(|(key, given)| (key.clone(), given.to_json()));
                Value::Object(entries.collect())
            }
        }
    }
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(entries) => {
                let entries = entries.into_iter();
                Self::Table(entries.map(|(key, value)| (key, value.into())).collect())
            }
            value => Self::Literal(value),
        }
    }
}

/// Holds the config of one instance, checked and taken apart.
#[derive(Clone, Default, PartialEq)]
pub struct Checked {
    /// What everybody may see; a secret is `{"$secret": "<key>"}`.
    pub config: Map<String, Value>,
    /// The secret values by path.
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.secrets.keys().collect();
        f.debug_struct("Checked")
            .field("config", &self.config)
            .field("secrets", &names)
            .finish()
    }
}

/// Says what is wrong with one key of an instance's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, `proxy.port` or `accounts[0].name`; the caller knows where it stands.
    pub key: String,
    /// Diagnostic code.
    pub code: &'static str,
    /// What was expected and what was found; never a secret's value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(key: &str, code: &'static str, message: String) -> Self {
        Self {
            key: key.to_owned(),
            code,
            message,
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
