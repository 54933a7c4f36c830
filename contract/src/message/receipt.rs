//! What became of a message that goes out.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::{Extra, payload, words};

payload! {
    /// Which of how many pieces a receipt speaks of.
    ReceiptPart
    required {
        /// Number of the piece, from 1.
        n: u32,
        /// Number of pieces.
        of: u32,
    }
    optional {}
}

payload! {
    /// Why an outbound message failed.
    ReceiptError
    required {
        /// Code from the catalogue, or the channel's own.
        code: String,
    }
    optional {
        /// What kind of failure: `rejected`, `rate_limited`, `unreachable`, `not_supported` or another
        /// word.
        class: String,
        /// Whether sending it again may help.
        retryable: bool,
        /// Text for people.
        message: String,
        /// What the channel cannot do, of the class `not_supported`: a feature as it declares them.
        feature: String,
    }
}

payload! {
    /// What became of an outbound message (`plugin.delivery.*`).
    Receipt
    required {
        /// `queued`, `sent`, `delivered`, `read`, `failed` or `unknown`.
        state: ReceiptState,
    }
    optional {
        /// The channel's own id of the message.
        provider_id: String,
        /// Which piece, where a message was sent in several.
        part: ReceiptPart,
        /// Why it failed.
        error: ReceiptError,
        /// The features in whose place text was sent, since the channel does not have them.
        degraded: Vec<String>,
    }
}

words! {
    /// What became of an outbound message.
    ReceiptState {
        /// The plugin has it.
        Queued = "queued",
        /// The channel accepted it.
        Sent = "sent",
        /// It reached the other side.
        Delivered = "delivered",
        /// It was read.
        Read = "read",
        /// It will not be sent.
        Failed = "failed",
        /// Nobody knows.
        #[default]
        Unknown = "unknown",
    }
}

impl Receipt {
    /// Makes a receipt of a state alone.
    pub fn new(state: ReceiptState) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }
}
