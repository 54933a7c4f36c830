//! A message as its channel can show it, and the receipts that the channel can give.

use serde_json::json;
use trunkline_contract::error::Error;
use trunkline_contract::message::{ChannelFeatures, Level};
use trunkline_patterns::outbound::{Fit, NotSupported, fit, parts};

use crate::context::Context;
use crate::payload::{Bytes, Json};
use crate::receipt::State;

/// What [`trunkline_patterns::outbound::fit`] makes of an event.
#[derive(Default)]
pub(super) struct Fitted {
    /// The message that goes out; none where it is no message, or nobody has to look at it.
    pub(super) message: Option<Json>,
    /// Features in whose place it has text.
    pub(super) left_out: Vec<&'static str>,
    /// Why nothing goes out.
    pub(super) lacking: Option<NotSupported>,
}

impl Fitted {
    pub(super) fn new(ctx: &Context, features: &ChannelFeatures) -> Self {
        let Some(message) = message_of(ctx) else {
            return Self::default();
        };
        let (message, left_out, lacking) = match fit(&message, features) {
            Fit::Whole => (Some(message), Vec::new(), None),
            Fit::Degraded { message, features } => (Some(message), features, None),
            Fit::Refused(lacking) => (None, Vec::new(), Some(lacking)),
        };
        Self {
            message,
            left_out,
            lacking,
        }
    }

    /// The message as it is.
    pub(super) fn whole(ctx: &Context) -> Self {
        Self {
            message: message_of(ctx),
            ..Self::default()
        }
    }

    /// The payloads that are sent one after the other; none stands for the event's own, byte for byte.
    pub(super) fn pieces(&self, chars_max: Option<u32>) -> Result<Vec<Option<Bytes>>, Error> {
        let Some(message) = &self.message else {
            return Ok(vec![None]);
        };
        let cut = parts(message, chars_max);
        if cut.len() < 2 && self.left_out.is_empty() {
            return Ok(vec![None]);
        }
        cut.iter()
            .map(|piece| Bytes::encode(piece).map(Some))
            .collect()
    }
}

/// The message, where it is one: a bare text is a message with that text.
fn message_of(ctx: &Context) -> Option<Json> {
    match serde_json::from_str(ctx.payload_text()).ok()? {
        Json::String(text) => Some(json!({ "text": text })),
        Json::Object(message) => Some(Json::Object(message)),
        _ => None,
    }
}

/// Says whether the channel declares that nothing is heard of a message after `sent`.
pub(super) fn tells_nothing(features: Option<&ChannelFeatures>) -> bool {
    features.is_some_and(|features| features.receipts == Some(Level::None))
}

/// Says whether a state is one that only the other side can tell of.
pub(super) fn is_later(state: State) -> bool {
    matches!(state, State::Delivered | State::Read)
}

/// What is complained of a receipt that a channel without receipts cannot have.
pub(super) fn untold(state: State, kind: &str) -> String {
    let word = if state == State::Read {
        "read"
    } else {
        "delivered"
    };
    format!("a receipt `{word}`, while the channel {kind:?} declares receipts = \"none\"")
}
