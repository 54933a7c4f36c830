//! What a channel can do.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::{Extra, payload, words};

payload! {
    /// What a channel can do with files.
    FileFeatures
    required {}
    optional {
        /// Sending files at all.
        level: Level,
        /// Largest file.
        bytes_max: u64,
        /// Accepted media types, `image/*` allowed.
        media_types: Vec<String>,
    }
}

payload! {
    /// What a channel can do, and how much of it.
    ChannelFeatures
    required {}
    optional {
        /// Longest text in characters.
        text_chars_max: u32,
        /// Editing a sent message.
        edits: Level,
        /// Deleting a sent message.
        deletes: Level,
        /// Reactions.
        reactions: Level,
        /// Threads inside a conversation.
        threads: Level,
        /// Showing that somebody types.
        typing: Level,
        /// Telling that a message was delivered or read.
        receipts: Level,
        /// Polls.
        polls: Level,
        /// Most answers of a poll.
        poll_options_max: u32,
        /// Passing on messages.
        forwards: Level,
        /// Cards with something to press.
        cards: Level,
        /// Files.
        files: FileFeatures,
        /// Types of parts beside `text`, `chat.*` allowed; others are refused.
        parts: Vec<String>,
    }
}

words! {
    /// How well a channel can do something.
    Level {
        /// Not at all: it is refused before the handler is called, or `alt_text` goes out.
        #[default]
        None = "none",
        /// With limits: the handler decides, message by message.
        Partial = "partial",
        /// As people know it.
        Full = "full",
    }
}
