//! What any peer may know about the broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::connect::{Host, LinkLimits, ProtocolRange};

/// Result of `system.info`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SystemInfoResult {
    /// The broker.
    pub host: Host,
    /// What it speaks.
    pub protocol: ProtocolRange,
    /// Its wall clock, RFC 3339.
    pub now: String,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// The limits of this link.
    pub limits: LinkLimits,
    /// The services that may be asked for.
    #[serde(default)]
    pub services: Vec<String>,
}
