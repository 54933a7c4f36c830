//! Links, times, texts and ids as items carry them.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::rfc2822::DateTimeParser;
use sha2::{Digest, Sha256};
use url::Url;

use super::item::{
    FeedItem, ITEM_LIST_MAX, ITEM_TEXT_BYTES_MAX, ITEM_TITLE_BYTES_MAX, REFERENCE_BYTES_MAX,
};
use super::text::cut;

const EXCERPT_BYTES_MAX: usize = 512;
const FEED_AUTHORS_MAX: usize = 4;

/// Makes a link absolute. What a browser would run, what is no address and what is too long is left out.
pub(super) fn link(base: Option<&Url>, text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > REFERENCE_BYTES_MAX {
        return None;
    }
    let url = match (Url::parse(text), base) {
        (Ok(url), _) => url,
        (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => base.join(text).ok()?,
        (Err(_), _) => return None,
    };
    let runs = matches!(url.scheme(), "javascript" | "data" | "vbscript" | "file");
    (!runs).then(|| url.to_string())
}

/// Reads a time as feeds write them: RFC 3339, RFC 2822, or a bare date.
pub(super) fn time(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| mail_time(text))
        .or_else(|| {
            let date: Date = text.parse().ok()?;
            date.to_zoned(jiff::tz::TimeZone::UTC)
                .ok()
                .map(|time| time.timestamp())
        })
        .map(|time| time.to_string())
}

/// Reads RFC 2822, also where the weekday is wrong or spelled out, as it often is.
fn mail_time(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let day = text.split_once(',').map_or(text, |(_, day)| day.trim());
    let day = day
        .strip_suffix("UTC")
        .or_else(|| day.strip_suffix(" Z"))
        .map(|day| format!("{} +0000", day.trim_end()));
    let text = day
        .as_deref()
        .unwrap_or_else(|| text.split_once(',').map_or(text, |(_, day)| day.trim()));
    PARSER.parse_timestamp(text).ok()
}

/// Takes off white space and control characters; nothing where nothing is left.
pub(super) fn text(text: impl Into<String>) -> Option<String> {
    let mut text: String = text.into();
    if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
        text.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return None;
    }
    Some(if trimmed.len() == text.len() {
        text
    } else {
        trimmed.to_owned()
    })
}

/// Gives the first 128 bits of a hash of parts, in hex; no two lists of parts run together.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk().expect("32 bytes hold 16");
    format!("{:032x}", u128::from_be_bytes(*first))
}

/// Gives the beginning of a text, for people.
pub(super) fn excerpt(text: &str) -> String {
    let mut text = text.trim().to_owned();
    cut(&mut text, EXCERPT_BYTES_MAX);
    text
}

/// Bounds what every item of a feed may inherit.
pub(super) fn feed_authors(mut authors: Vec<String>) -> Vec<String> {
    authors.truncate(FEED_AUTHORS_MAX);
    for author in &mut authors {
        cut(author, 256);
    }
    authors
}

/// Gives the item its id and its bounds, or says what it lacks.
pub(super) fn finish(mut item: FeedItem) -> Result<FeedItem, String> {
    item.id = match item.id.trim() {
        "" => derived_id(&item).ok_or("expected an id, a link, a title or a text, found none")?,
        id if id.len() > REFERENCE_BYTES_MAX => hash(&[id]),
        id => id.to_owned(),
    };
    for list in [&mut item.authors, &mut item.categories] {
        list.truncate(ITEM_LIST_MAX);
        for text in list {
            cut(text, ITEM_TITLE_BYTES_MAX);
        }
    }
    item.enclosures.truncate(ITEM_LIST_MAX);
    if let Some(title) = &mut item.title {
        cut(title, ITEM_TITLE_BYTES_MAX);
    }
    for text in [&mut item.summary, &mut item.content].into_iter().flatten() {
        item.truncated |= cut(text, ITEM_TEXT_BYTES_MAX);
    }
    Ok(item)
}

/// Where a feed names no ids, link and title are what stays the same; a text alone is its own id.
fn derived_id(item: &FeedItem) -> Option<String> {
    let (link, title) = (item.link.as_deref(), item.title.as_deref());
    if link.is_some() || title.is_some() {
        return Some(hash(&[link.unwrap_or(""), title.unwrap_or("")]));
    }
    let text = item.content.as_deref().or(item.summary.as_deref());
    match (text, item.enclosures.first()) {
        (Some(text), _) => Some(hash(&["", "", text])),
        (None, Some(enclosure)) => Some(hash(&["", "", "", &enclosure.url])),
        (None, None) => None,
    }
}
