//! What is said of a whole beside its parts.

use serde::{Deserialize, Serialize};

/// Tells why a whole was made when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// As many as were announced are there.
    Complete,
    /// A part said that it is the last one, and none before it is missing.
    Final,
    /// Nothing came for so long.
    Silence,
    /// The first part came so long ago.
    MaxAge,
    /// So many parts are there.
    MaxParts,
    /// So many bytes are there.
    MaxBytes,
    /// Too many wholes were being collected; this one waited longest.
    Evicted,
}

/// Is handed over with the parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Why it was made now.
    pub reason: Reason,
    /// Numbers of parts that are known to be missing, ascending.
    pub missing: Vec<u64>,
    /// When the first part came, in Unix milliseconds.
    pub started_ms: u64,
}
