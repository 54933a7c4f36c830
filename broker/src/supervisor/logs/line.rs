//! One logged line, as it is kept and as it is told.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Replaces secrets in text.
pub type Redactor = Arc<dyn for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync>;

/// Where a line came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// The log service of its link.
    Log,
    /// The daemon: its broker or its supervisor.
    Supervisor,
}

/// One line of an instance's log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read, RFC 3339 with milliseconds.
    pub at: String,
    /// Where it came from.
    pub stream: Stream,
    /// How grave it is; `info` where the process did not say.
    pub level: String,
    /// The text, redacted.
    pub line: String,
    /// What the log service was given beside the text, redacted.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub fields: Map<String, Value>,
}

/// Writes an instant as RFC 3339 with milliseconds.
pub(super) fn instant(wall_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(wall_ms) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}

/// Redacts every text inside a value, names of members included.
pub(super) fn redact_value(value: Value, redact: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::String(redact(&text).into_owned()),
        Value::Array(items) => items
            .into_iter()
            .map(|item| redact_value(item, redact))
            .collect::<Vec<_>>()
            .into(),
        Value::Object(members) => Value::Object(redact_members(members, redact)),
        plain => plain,
    }
}

/// Redacts every text inside an object.
pub(super) fn redact_members(members: Map<String, Value>, redact: &Redactor) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(name, value)| (redact(&name).into_owned(), redact_value(value, redact)))
        .collect()
}
