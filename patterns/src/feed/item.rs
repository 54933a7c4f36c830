//! What is read from a feed, and how much of it.

use serde::{Deserialize, Serialize};

/// Longest document that is read, in bytes; a longer one is an error.
pub const FEED_BYTES_MAX: usize = 8 << 20;
/// Most items read from one document; those behind them are counted, not read.
pub const FEED_ITEMS_MAX: usize = 2000;
/// Longest title, author or category, in bytes; a longer one is cut.
pub const ITEM_TITLE_BYTES_MAX: usize = 2 * 1024;
/// Longest summary or content, in bytes; a longer one is cut, and the item says so.
pub const ITEM_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest id or link, in bytes; a longer id is replaced by its hash, a longer link is left out.
pub(super) const REFERENCE_BYTES_MAX: usize = 2 * 1024;
/// Most authors, categories and enclosures of one item, each; those behind them are left out.
pub(super) const ITEM_LIST_MAX: usize = 32;

/// Is what a feed says, in the order of its document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feed {
    /// Its title.
    pub title: Option<String>,
    /// The page it belongs to.
    pub link: Option<String>,
    /// How long it asks to be left alone, in milliseconds: RSS's `ttl`.
    pub ttl_ms: Option<u64>,
    /// Its items.
    pub items: Vec<FeedItem>,
    /// The items that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// How many more there are behind [`FEED_ITEMS_MAX`].
    pub left_out: usize,
}

/// Is one item of a feed, whatever the feed's format.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedItem {
    /// The id: of Atom `id`, of RSS `guid`, of JSON Feed `id`; where there is none, a hash of link and
    /// title.
    pub id: String,
    /// The title, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it can be read; absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// A short form, as the feed has it: text or HTML, not cleaned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The whole, as the feed has it: text or HTML, not cleaned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The names of who wrote it; those of the feed where it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Its categories or tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// When it appeared (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// When it last changed (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// What belongs to it: sound, pictures, files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enclosures: Vec<Enclosure>,
    /// Whether summary or content were cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Is a file that belongs to an item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enclosure {
    /// Where it is; absolute.
    pub url: String,
    /// Its media type, as the feed says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its length in bytes, as the feed says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Is an item that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which item of the document, from 0.
    pub index: usize,
    /// What is known again when the same item comes again: its id, or a hash of its text.
    pub id: String,
    /// What was expected and found.
    pub reason: String,
    /// The beginning of the item as it stands in the document.
    pub excerpt: String,
}
