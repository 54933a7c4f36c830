//! JSON Feed 1 and 1.1, item by item: one that does not fit costs no other.

use serde_json::{Map, Value};
use url::Url;

use super::clean::{feed_authors, link, text, time};
use super::error::FeedError;
use super::item::{Enclosure, FEED_ITEMS_MAX, Feed, FeedItem};
use super::read::{refuse, take};

pub(super) fn read(document: &str, base: Option<&Url>) -> Result<Feed, FeedError> {
    let bad = |found: String| FeedError::BadJson { found };
    let document: Value = serde_json::from_str(document).map_err(|error| bad(error.to_string()))?;
    let version = document["version"].as_str().unwrap_or_default();
    if !version.contains("jsonfeed.org/version/1") {
        return Err(FeedError::NotAFeed {
            found: "a JSON object without JSON Feed's \"version\"".to_owned(),
        });
    }
    let Some(items) = document["items"].as_array() else {
        return Err(bad(format!(
            "\"items\" that is {}",
            kind(&document["items"])
        )));
    };
    let mut feed = Feed {
        title: document["title"].as_str().and_then(text),
        link: document["home_page_url"]
            .as_str()
            .and_then(|address| link(base, address)),
        left_out: items.len().saturating_sub(FEED_ITEMS_MAX),
        ..Feed::default()
    };
    let authors = feed_authors(document.as_object().map(authors).unwrap_or_default());
    for (index, item) in items.iter().take(FEED_ITEMS_MAX).enumerate() {
        match item.as_object() {
            Some(fields) => {
                let mut item = read_item(fields, base);
                if item.authors.is_empty() {
                    item.authors.clone_from(&authors);
                }
                take(&mut feed, index, item, || {
                    Value::from(fields.clone()).to_string()
                });
            }
            None => refuse(
                &mut feed,
                index,
                format!("expected an item that is an object, found {}", kind(item)),
                &item.to_string(),
            ),
        }
    }
    Ok(feed)
}

fn read_item(item: &Map<String, Value>, base: Option<&Url>) -> FeedItem {
    let string = |name: &str| item.get(name).and_then(Value::as_str);
    // The first version let ids be numbers.
    let id = match item.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    };
    let attachments = item.get("attachments").and_then(Value::as_array);
    FeedItem {
        id,
        title: string("title").and_then(text),
        link: string("url")
            .or_else(|| string("external_url"))
            .and_then(|address| link(base, address)),
        summary: string("summary").and_then(text),
        content: string("content_html")
            .or_else(|| string("content_text"))
            .and_then(text),
        authors: authors(item),
        categories: strings(item.get("tags")),
        published: string("date_published").and_then(time),
        updated: string("date_modified").and_then(time),
        enclosures: attachments
            .into_iter()
            .flatten()
            .take(64)
            .filter_map(|file| {
                Some(Enclosure {
                    url: link(base, file["url"].as_str()?)?,
                    media_type: file["mime_type"].as_str().and_then(text),
                    bytes: file["size_in_bytes"].as_u64(),
                })
            })
            .collect(),
        truncated: false,
    }
}

fn authors(of: &Map<String, Value>) -> Vec<String> {
    let several = of.get("authors").and_then(Value::as_array);
    several
        .into_iter()
        .flatten()
        .chain(of.get("author"))
        .filter_map(|author| text(author["name"].as_str()?))
        .take(32)
        .collect()
}

fn strings(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| text(entry.as_str()?))
        .take(32)
        .collect()
}

fn kind(value: &Value) -> &'static str {
    crate::json_items::kind_of(value)
}
