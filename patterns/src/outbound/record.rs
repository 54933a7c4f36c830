//! What is kept of a message between two handings-over.
//!
//! It is one value under one key. Absent, no call has begun and no part was sent.

use serde::{Deserialize, Serialize};

/// Is how far a message had come when this was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How many characters a part may have: the cuts stay where they are when the channel's
    /// declared limit changes meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chars_max: Option<u32>,
    /// Features in whose place text goes out: what is sent stays the same message when the channel declares
    /// something else meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// How many of the first parts were sent, with their receipts given.
    pub done: u32,
    /// A call for the part behind them has begun; what became of it is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
}

impl Record {
    /// Says whether a part was sent, or may have been.
    pub fn has_begun(&self) -> bool {
        self.begun || self.done > 0
    }
}
