//! What goes out to a channel.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::{Extra, Raw, payload};
use super::{Conversation, Part, Reaction};

payload! {
    /// What is to be sent to a channel (`plugin.outbound.*`).
    OutboundMessage
    required {}
    optional {
        /// The text.
        text: String,
        /// The text for a channel that cannot do what the rest asks for; without it that is refused.
        alt_text: String,
        /// Content beside the text, in order.
        parts: Vec<Part>,
        /// Where to say it; the session's conversation where absent.
        conversation: Conversation,
        /// The message to answer.
        reply_to: String,
        /// The message to replace.
        edit_of: String,
        /// The message to delete.
        deleted: String,
        /// The reaction to set or take back.
        reaction: Reaction,
        /// Shows that somebody types (`true`), or no longer (`false`); stands alone.
        typing: bool,
        /// Opaque: handed back by the channel.
        referrer: Raw,
        /// The channel's own data, under the channel's name.
        raw: BTreeMap<String, Raw>,
    }
}

impl OutboundMessage {
    /// Makes a message of text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }
}
