//! What a message is made of.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::{Extra, Raw, payload};

payload! {
    /// A piece of content; a `type` that is not known is kept as it is.
    Part
    required {
        /// What it is: `text`, `image`, `audio`, `video`, `file`, `location`, `quote`, `mention`,
        /// `forward`, `poll`, `card`; another one is a channel's own, `<kind>.<word>`.
        kind as "type": String,
    }
    optional {
        /// Text of a text part, a quote, a mention or a forward; caption of a medium.
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
        /// Who is mentioned or quoted; who wrote what is forwarded.
        user: Sender,
        /// Which message is quoted or forwarded.
        message_id: String,
        /// Where what is forwarded was said.
        conversation: Conversation,
        /// The question, of a poll.
        poll: Poll,
        /// What is shown and can be pressed, of a card.
        card: Card,
    }
}

payload! {
    /// A question with answers to choose from.
    Poll
    required {
        /// What is asked.
        question: String,
        /// The answers, in order.
        options: Vec<Choice>,
    }
    optional {
        /// Whether more than one may be chosen.
        multiple: bool,
        /// Until when it is open, RFC 3339.
        closes_at: String,
    }
}

payload! {
    /// One answer of a poll, or one entry of a card's list.
    Choice
    required {
        /// What people read.
        text: String,
    }
    optional {
        /// What comes back when it is chosen; its number from 0, as text, where absent.
        id: String,
    }
}

payload! {
    /// Something to look at with something to press.
    Card
    required {}
    optional {
        /// Its heading.
        title: String,
        /// What it says.
        text: String,
        /// What can be pressed or chosen, in order.
        actions: Vec<CardAction>,
    }
}

payload! {
    /// A button of a card, or a list to choose from.
    CardAction
    required {
        /// What comes back in `ui_action.id`.
        id: String,
        /// What people read.
        label: String,
    }
    optional {
        /// What comes back in `ui_action.value` when the button is pressed.
        value: String,
        /// An address that is opened; nothing comes back.
        url: String,
        /// The entries, of a list to choose from.
        options: Vec<Choice>,
    }
}

payload! {
    /// Something that was pressed or chosen in a message.
    UiAction
    required {
        /// The button or the list; `vote` of a poll.
        id: String,
    }
    optional {
        /// The message that shows it.
        target: String,
        /// The value of the button, or the ids of what is chosen now, as a list.
        value: Raw,
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

    /// Makes a poll.
    pub fn poll(poll: Poll) -> Self {
        Self {
            poll: Some(poll),
            ..Self::new("poll")
        }
    }

    /// Makes a card.
    pub fn card(card: Card) -> Self {
        Self {
            card: Some(card),
            ..Self::new("card")
        }
    }

    /// Makes a part that passes on another message.
    pub fn forward(message_id: impl Into<String>) -> Self {
        Self {
            message_id: Some(message_id.into()),
            ..Self::new("forward")
        }
    }
}
