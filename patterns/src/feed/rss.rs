//! RSS 0.9x, 1.0 and 2.0.

use url::Url;

use super::clean::{link, text, time};
use super::item::{Enclosure, Feed, FeedItem};
use super::xml::Node;

const TTL_MINUTES_MAX: u64 = 7 * 24 * 60;

/// Reads an item.
pub(super) fn item(node: &Node<'_>, base: Option<&Url>) -> FeedItem {
    let guid = node.child("guid");
    // A guid is a link unless it says that it is none.
    let permalink = guid
        .filter(|guid| guid.attribute("isPermaLink") != Some("false"))
        .map(|guid| guid.text.trim())
        .filter(|guid| guid.starts_with("http://") || guid.starts_with("https://"));
    let about = node.attribute("rdf:about");
    let address = node
        .text_of("link")
        .or_else(|| {
            node.child("atom:link")
                .and_then(|link| link.attribute("href"))
        })
        .or(permalink)
        .or(about);
    FeedItem {
        id: node
            .text_of("guid")
            .or(about)
            .unwrap_or_default()
            .to_owned(),
        title: node
            .text_of("title")
            .or_else(|| node.text_of("media:title"))
            .and_then(text),
        link: address.and_then(|address| link(base, address)),
        summary: node
            .text_of("description")
            .or_else(|| node.text_of("itunes:summary"))
            .and_then(text),
        content: node.text_of("content:encoded").and_then(text),
        authors: authors(node),
        categories: node
            .all("category")
            .chain(node.all("dc:subject"))
            .filter_map(|category| text(category.text.as_str()))
            .collect(),
        published: ["pubDate", "dc:date", "dcterms:created"]
            .iter()
            .find_map(|name| node.text_of(name).and_then(time)),
        updated: ["atom:updated", "dcterms:modified"]
            .iter()
            .find_map(|name| node.text_of(name).and_then(time)),
        enclosures: enclosures(node, base),
        truncated: false,
    }
}

fn authors(node: &Node<'_>) -> Vec<String> {
    let mut authors: Vec<String> = ["author", "dc:creator", "itunes:author"]
        .iter()
        .flat_map(|name| node.all(name))
        .filter_map(|author| text(author.text.as_str()))
        .collect();
    let mut seen = Vec::new();
    authors.retain(|author| {
        let new = !seen.contains(author);
        if new && seen.len() < 64 {
            seen.push(author.clone());
        }
        new
    });
    authors
}

fn enclosures(node: &Node<'_>, base: Option<&Url>) -> Vec<Enclosure> {
    let groups = node
        .all("media:group")
        .flat_map(|group| group.all("media:content"));
    let mut found: Vec<Enclosure> = Vec::new();
    for (file, length) in node
        .all("enclosure")
        .map(|file| (file, "length"))
        .chain(
            node.all("media:content")
                .chain(groups)
                .map(|file| (file, "fileSize")),
        )
        .take(64)
    {
        let Some(url) = file.attribute("url").and_then(|url| link(base, url)) else {
            continue;
        };
        if found.iter().any(|known| known.url == url) {
            continue;
        }
        found.push(Enclosure {
            url,
            media_type: file.attribute("type").and_then(text),
            bytes: file.attribute(length).and_then(|bytes| bytes.parse().ok()),
        });
    }
    found
}

/// Reads what the channel says of itself; gives its authors.
pub(super) fn head(node: &Node<'_>, base: Option<&Url>, feed: &mut Feed) -> Vec<String> {
    feed.title = node.text_of("title").and_then(text);
    feed.link = node.text_of("link").and_then(|address| link(base, address));
    feed.ttl_ms = node
        .text_of("ttl")
        .and_then(|minutes| minutes.parse::<u64>().ok())
        .map(|minutes| minutes.min(TTL_MINUTES_MAX) * 60_000)
        .filter(|ttl| *ttl > 0);
    ["managingEditor", "dc:creator", "itunes:author"]
        .iter()
        .find_map(|name| node.text_of(name).and_then(text))
        .into_iter()
        .collect()
}
