//! Log records of a plugin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::wire::or_default;

/// Says how important a log record is.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For tracing single steps.
    Trace,
    /// For finding mistakes.
    Debug,
    /// Worth knowing.
    #[default]
    Info,
    /// Recovered, but worth a look.
    Warn,
    /// An operator is needed.
    Error,
}

/// Parameters of `log`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogParams {
    /// How important.
    #[serde(default, deserialize_with = "or_default")]
    pub level: LogLevel,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// Its circumstances.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub fields: Map<String, Value>,
}
