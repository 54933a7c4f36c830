//! Timers. Reserved: a broker of version 0.1 answers `not_implemented`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of `timer.set`: exactly one of `every`, `cron` and `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimerSetParams {
    /// The timer.
    pub name: String,
    /// A duration such as `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// A cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// An instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Given back when it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Parameters of `timer.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerCancelParams {
    /// The timer.
    pub name: String,
}

/// Is one timer of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimerEntry {
    /// The timer.
    pub name: String,
    /// When it is due next, RFC 3339.
    pub due_at: String,
}

/// Result of `timer.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimerListResult {
    /// All timers of this instance.
    #[serde(default)]
    pub timers: Vec<TimerEntry>,
}
