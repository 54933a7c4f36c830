//! Feeds: RSS 0.9x, 1.0 and 2.0, Atom, and JSON Feed, read from bytes into one kind of item.
//!
//! [`read`] is the whole of it. A document that cannot be read is one typed [`FeedError`]; an item that
//! cannot be read is told apart and costs no other ([`Unreadable`]). Every item has an id: the feed's
//! own, else a hash of link and title.
//!
//! | file | concept |
//! |---|---|
//! | `item` | what is read, and how much of it |
//! | `text` | bytes to text, by mark, header or prolog |
//! | `xml` | elements as a small bounded tree |
//! | `rss` | RSS and RDF |
//! | `atom` | Atom |
//! | `json` | JSON Feed |
//! | `clean` | links, times and texts as items carry them |
//!
//! It does no I/O and reads no clock. Invariants: nothing panics on any bytes; time and memory are linear
//! in the body, which is bounded ([`FEED_BYTES_MAX`]); no entity is ever expanded into more than one
//! character, and nothing outside the document is ever read. Extensions (`dc:`, `content:`, `media:`)
//! are known by their customary prefixes, not by namespace, so that no document can make name
//! resolution expensive.

mod atom;
mod clean;
mod error;
mod item;
mod json;
mod read;
mod rss;
#[cfg(test)]
#[expect(clippy::format_collect, reason = "documents made for a test are short")]
mod tests;
mod text;
mod xml;

pub use error::FeedError;
pub use item::{Enclosure, Feed, FeedItem, Unreadable};
pub use item::{FEED_BYTES_MAX, FEED_ITEMS_MAX, ITEM_TEXT_BYTES_MAX, ITEM_TITLE_BYTES_MAX};
pub use read::read;
