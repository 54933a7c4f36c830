//! Standard payloads: what a message from or to a channel looks like.
//!
//! Optional for a plugin, typed in every SDK. Members that are not known here are kept, byte for
//! byte, in `extra` and written back, so that an older peer passes on what a newer one said. Not
//! the envelope: these are payloads.
//!
//! | module | what it holds |
//! |---|---|
//! | [`inbound`], [`outbound`] | the messages |
//! | [`content`] | what they are made of: parts, polls, cards, who and where |
//! | [`receipt`] | what became of one that goes out |
//! | [`feature`] | what a channel can do |
//! | [`raw`] | how all of them are read and written |

mod content;
mod feature;
mod inbound;
mod outbound;
mod raw;
mod receipt;
#[cfg(test)]
mod tests;

pub use content::{Card, CardAction, Choice, Conversation, Part, Poll, Reaction, Sender, UiAction};
pub use feature::{ChannelFeatures, FileFeatures, Level};
pub use inbound::InboundMessage;
pub use outbound::OutboundMessage;
pub use raw::{Extra, Raw};
pub use receipt::{Receipt, ReceiptError, ReceiptPart, ReceiptState};
