//! Standard payloads: what a message from or to a channel looks like.
//!
//! Optional for a plugin, typed in every SDK. Members that are not known here are kept, byte for
//! byte, in `extra` and written back, so that an older peer passes on what a newer one said. Not
//! the envelope: these are payloads.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Holds the members that are not known here, as raw JSON.
#[derive(Debug, Clone, Default)]
pub struct Extra(pub BTreeMap<String, Box<RawValue>>);

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(a, b)| a.0 == b.0 && a.1.get() == b.1.get())
    }
}

/// Holds any JSON value as raw text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(pub Box<RawValue>);

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl JsonSchema for Raw {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Defines a payload: optional members are `null` or absent alike, unknown ones are kept.
///
/// serde's `flatten` would do, and would also change integers beyond 64 bits; hence by hand.
macro_rules! payload {
    (
        $(#[$attr:meta])*
        $name:ident
        required { $( $(#[$rattr:meta])* $rfield:ident $(as $rwire:literal)? : $rtype:ty, )* }
        optional { $( $(#[$fattr:meta])* $field:ident : $type:ty, )* }
    ) => {
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq, Default, JsonSchema)]
        pub struct $name {
            $( $(#[$rattr])* $(#[schemars(rename = $rwire)])? pub $rfield: $rtype, )*
            $( $(#[$fattr])* pub $field: Option<$type>, )*
            /// Members that are not known here.
            #[schemars(skip)]
            pub extra: Extra,
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $( map.serialize_entry(payload!(@wire $rfield $($rwire)?), &self.$rfield)?; )*
                $( if let Some(value) = &self.$field {
                    map.serialize_entry(stringify!($field), value)?;
                } )*
                for (name, value) in &self.extra.0 {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> Visitor<'de> for Members {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an object (", stringify!($name), ")"))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        $( let mut $rfield: Option<$rtype> = None; )*
                        $( let mut $field: Option<$type> = None; )*
                        let mut extra = BTreeMap::new();
                        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                            match name.as_ref() {
                                $( payload!(@wire $rfield $($rwire)?) => {
                                    $rfield = Some(map.next_value()?);
                                } )*
                                $( stringify!($field) => $field = map.next_value()?, )*
                                _ => {
                                    extra.insert(name.into_owned(), map.next_value()?);
                                }
                            }
                        }
                        Ok($name {
                            $( $rfield: $rfield.ok_or_else(|| {
                                serde::de::Error::missing_field(payload!(@wire $rfield $($rwire)?))
                            })?, )*
                            $( $field, )*
                            extra: Extra(extra),
                        })
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }
    };
    (@wire $field:ident $wire:literal) => { $wire };
    (@wire $field:ident) => { stringify!($field) };
}

payload! {
    /// A piece of content; a `type` that is not known is kept as it is.
    Part
    required {
        /// What it is: `text`, `image`, `audio`, `video`, `file`, `location`, `quote`, `mention`.
        kind as "type": String,
    }
    optional {
        /// Text of a text part, a quote or a mention; caption of a medium.
        text: String,
        /// What to show where the part itself cannot be shown.
        alt_text: String,
        /// Content by reference, `sha256:…`.
        blob: String,
        /// Content by address.
        url: String,
        /// Media type of the content.
        media_type: String,
        /// File name.
        name: String,
        /// Size of the content.
        bytes: u64,
        /// Length of an audio or video.
        duration_ms: u64,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Degrees north.
        latitude: f64,
        /// Degrees east.
        longitude: f64,
        /// Who is mentioned or quoted.
        user: Sender,
        /// Which message is quoted.
        message_id: String,
    }
}

payload! {
    /// Who wrote a message.
    Sender
    required {
        /// The channel's own id of the person or bot.
        id: String,
    }
    optional {
        /// Name to show.
        name: String,
        /// Handle on the channel.
        username: String,
        /// Whether it is a program.
        is_bot: bool,
    }
}

payload! {
    /// Where a message was said.
    Conversation
    required {
        /// The channel's own id.
        id: String,
    }
    optional {
        /// What it is: `direct`, `group`, `channel` or another word.
        kind: String,
        /// The thread or topic inside it.
        thread_id: String,
        /// Name to show.
        name: String,
    }
}

payload! {
    /// A reaction to a message.
    Reaction
    required {
        /// The message reacted to.
        target: String,
        /// The emoji or its name.
        key: String,
    }
    optional {
        /// `add` or `remove`.
        op: String,
    }
}

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
        /// When it was said, RFC 3339.
        sent_at: String,
        /// Opaque: where the conversation came from (a start link, a campaign).
        referrer: Raw,
        /// The channel's own data, under the channel's name.
        raw: BTreeMap<String, Raw>,
    }
}

payload! {
    /// What is to be sent to a channel (`plugin.outbound.*`).
    OutboundMessage
    required {}
    optional {
        /// The text.
        text: String,
        /// The text for a channel that cannot show `text` or the parts.
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
        /// Opaque: handed back by the channel.
        referrer: Raw,
        /// The channel's own data, under the channel's name.
        raw: BTreeMap<String, Raw>,
    }
}

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
        /// What kind of failure: `rejected`, `rate_limited`, `unreachable` or another word.
        class: String,
        /// Whether sending it again may help.
        retryable: bool,
        /// Text for people.
        message: String,
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
    }
}

payload! {
    /// What a channel can do with files.
    FileFeatures
    required {}
    optional {
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
        /// Files.
        files: FileFeatures,
    }
}

/// A closed set of words on the wire, where a word that is not known is kept.
macro_rules! words {
    ($(#[$attr:meta])* $name:ident { $( $(#[$vattr:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$vattr])* $variant, )*
            /// A word that is not known here.
            Other(String),
        }

        impl $name {
            /// Gives the word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )*
                    Self::Other(word) => word,
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Ok(match word.as_str() {
                    $( $word => Self::$variant, )*
                    _ => Self::Other(word),
                })
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "examples": [$($word),*] })
            }
        }
    };
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

words! {
    /// How well a channel can do something.
    Level {
        /// Not at all.
        #[default]
        None = "none",
        /// With limits.
        Partial = "partial",
        /// As people know it.
        Full = "full",
    }
}

impl Part {
    /// Makes a part of a kind, everything else absent.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            ..Self::default()
        }
    }

    /// Makes a text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::new("text")
        }
    }

    /// Makes a part (`image`, `audio`, `video`, `file`) whose content is a blob.
    pub fn blob(kind: &str, blob: impl Into<String>) -> Self {
        Self {
            blob: Some(blob.into()),
            ..Self::new(kind)
        }
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

impl OutboundMessage {
    /// Makes a message of text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_and_parts_are_kept_byte_for_byte() {
        let text = r#"{"text":"hi","parts":[{"type":"hologram","spin":123456789012345678901234567890},{"type":"image","blob":"sha256:ab"}],"conversation":{"id":"42","kind":"group","x":1e400},"referrer":{"b":1,"a":2},"mood":  {"deep":[9007199254740993]}}"#;
        let message: InboundMessage = serde_json::from_str(text).unwrap();
        assert_eq!(message.parts.as_ref().unwrap()[0].kind, "hologram");
        assert_eq!(
            message.extra.0["mood"].get(),
            r#"{"deep":[9007199254740993]}"#
        );
        let again = serde_json::to_string(&message).unwrap();
        assert_eq!(again, text.replace(":  {", ":{"));
        assert_eq!(
            serde_json::from_str::<InboundMessage>(&again).unwrap(),
            message
        );
    }

    #[test]
    fn null_members_read_as_absent_and_are_not_written() {
        let message: OutboundMessage =
            serde_json::from_str(r#"{"text":null,"parts":null,"reply_to":"7"}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"reply_to":"7"}"#
        );
    }

    #[test]
    fn a_required_member_that_is_missing_is_named() {
        let error = serde_json::from_str::<Part>(r#"{"text":"x"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("missing field `type`"), "{error}");
        assert!(serde_json::from_str::<Receipt>("{}").is_err());
        assert!(serde_json::from_str::<Receipt>("[]").is_err());
    }

    #[test]
    fn a_state_that_is_not_known_is_kept() {
        let receipt: Receipt = serde_json::from_str(r#"{"state":"bounced"}"#).unwrap();
        assert_eq!(receipt.state, ReceiptState::Other("bounced".to_owned()));
        assert_eq!(
            serde_json::to_string(&receipt).unwrap(),
            r#"{"state":"bounced"}"#
        );
        let sent = serde_json::to_string(&Receipt::new(ReceiptState::Sent)).unwrap();
        assert_eq!(sent, r#"{"state":"sent"}"#);
    }

    #[test]
    fn a_payload_reads_from_a_value_too() {
        let value = serde_json::json!({"text": "hi", "odd": [1, {"two": 2}]});
        let message: InboundMessage = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&message).unwrap(), value);
    }

    #[test]
    fn schemas_use_the_wire_names_and_allow_unknown_members() {
        let schema = serde_json::to_value(schemars::schema_for!(InboundMessage)).unwrap();
        let part = &schema["$defs"]["Part"];
        assert_eq!(part["required"], serde_json::json!(["type"]));
        assert!(part["properties"].get("extra").is_none());
        assert_ne!(schema["additionalProperties"], serde_json::json!(false));
    }
}
