//! Dead letters: events that could not be delivered, and things that never became events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::delivery::HandlerError;
use super::wire::null;

/// Says how a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// Its exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The limit that ended it, e.g. `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Last lines of its stderr, redacted, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_tail: Option<String>,
}

/// Says why a delivery was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// The handler said never.
    Rejected,
    /// Too many counted failures.
    DeliveryLimit,
    /// Its retries took too long.
    TooOld,
    /// It ended the process too often.
    Crashed,
    /// It was to be delivered before an instant that has passed.
    Expired,
    /// Its subscription was removed, or selects it no longer.
    Removed,
    /// A peer filed it by `dead_letter.put`.
    Filed,
}

impl DeadReason {
    /// Gives the text form.
    ///
    /// ```
    /// assert_eq!(trunkline_contract::rpc::DeadReason::TooOld.as_str(), "too_old");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::DeliveryLimit => "delivery_limit",
            Self::TooOld => "too_old",
            Self::Crashed => "crashed",
            Self::Expired => "expired",
            Self::Removed => "removed",
            Self::Filed => "filed",
        }
    }
}

impl std::fmt::Display for DeadReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is one dead letter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Its id.
    pub id: String,
    /// Whose delivery it was.
    pub subscription: String,
    /// Number of the event in the store; 0 for what never was an event.
    #[serde(default)]
    pub seq: u64,
    /// Why it was given up.
    pub reason: DeadReason,
    /// The code that the handler gave with a reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How often it was handed over.
    #[serde(default)]
    pub attempts: u32,
    /// The first error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<HandlerError>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<HandlerError>,
    /// How the process ended that had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Last lines of stderr, redacted, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_tail: Option<String>,
    /// Version of the plugin that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_version: Option<String>,
    /// When, RFC 3339.
    pub dead_at: String,
    /// The envelope, or `null` once it was cut to stay within the quota.
    #[serde(default = "null")]
    #[schemars(with = "serde_json::Value")]
    pub event: Box<RawValue>,
    /// Where something came from that never was an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Parameters of `dead_letter.put`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterPutParams {
    /// Where it came from, e.g. an item of a feed.
    pub origin: String,
    /// What it was.
    #[serde(default = "null")]
    #[schemars(with = "serde_json::Value")]
    pub payload: Box<RawValue>,
    /// Why it could not become an event.
    #[serde(default)]
    pub reason: String,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HandlerError>,
}

/// Result of `dead_letter.put`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterPutResult {
    /// The record's id.
    pub id: String,
}
