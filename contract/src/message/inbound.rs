//! What comes in from a channel.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::{Extra, Raw, payload};
use super::{Conversation, Part, Reaction, Sender, UiAction};

payload! {
    /// What came in from a channel (`plugin.inbound.*`).
    InboundMessage
    required {}
    optional {
        /// The channel's own id of the message.
        id: String,
        /// The text.
        text: String,
        /// The text for where `text` or the parts cannot be shown.
        alt_text: String,
        /// Content beside the text, in order.
        parts: Vec<Part>,
        /// Where it was said.
        conversation: Conversation,
        /// Who said it.
        sender: Sender,
        /// The message it answers.
        reply_to: String,
        /// The message it replaces.
        edit_of: String,
        /// The message that was deleted.
        deleted: String,
        /// The reaction, where it is one.
        reaction: Reaction,
        /// What was pressed or chosen in a message, where it is that.
        ui_action: UiAction,
        /// Somebody types (`true`), or no longer (`false`); stands alone.
        typing: bool,
        /// When it was said, RFC 3339.
        sent_at: String,
        /// Opaque: where the conversation came from (a start link, a campaign).
        referrer: Raw,
        /// The channel's own data, under the channel's name.
        raw: BTreeMap<String, Raw>,
    }
}

impl InboundMessage {
    /// Makes a message of text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }
}
