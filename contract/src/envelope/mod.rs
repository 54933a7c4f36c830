//! The event envelope: as a peer drafts it, as the broker stamps it, as a handler reads it.
//!
//! The payload is text throughout: its bytes reach every subscriber as they were published, apart
//! from line breaks between tokens, which become blanks.

mod draft;
mod event;
mod stamp;
#[cfg(test)]
mod tests;
mod time;

pub use draft::Draft;
pub use event::Event;
pub use stamp::Stamp;
pub use time::{parse_rfc3339, rfc3339};
