//! Atom.

use url::Url;

use super::clean::{link, text, time};
use super::item::{Enclosure, Feed, FeedItem};
use super::xml::Node;

/// Gives what relative links of an element are relative to.
pub(super) fn base(around: Option<&Url>, node: &Node<'_>) -> Option<Url> {
    match (node.attribute("xml:base"), around) {
        (None, around) => around.cloned(),
        (Some(own), Some(around)) => around.join(own).ok().or_else(|| Some(around.clone())),
        (Some(own), None) => Url::parse(own).ok(),
    }
}

/// Reads an entry.
pub(super) fn item(node: &Node<'_>, prefix: &str, around: Option<&Url>) -> FeedItem {
    let base = base(around, node);
    let base = base.as_ref();
    let name = |name: &str| format!("{prefix}{name}");
    let time_of = |names: &[&str]| {
        names
            .iter()
            .find_map(|known| node.text_of(&name(known)).and_then(time))
    };
    FeedItem {
        id: node.text_of(&name("id")).unwrap_or_default().to_owned(),
        title: node.child(&name("title")).and_then(construct),
        link: address(node, &name("link"), base),
        summary: node
            .child(&name("summary"))
            .and_then(construct)
            .or_else(|| {
                let group = node.child("media:group")?;
                group.text_of("media:description").and_then(text)
            }),
        content: node.child(&name("content")).and_then(construct),
        authors: people(node, prefix),
        categories: node
            .all(&name("category"))
            .filter_map(|category| {
                text(category.attribute("label").or(category.attribute("term"))?)
            })
            .collect(),
        published: time_of(&["published", "issued"]),
        updated: time_of(&["updated", "modified"]),
        enclosures: node
            .all(&name("link"))
            .filter(|file| file.attribute("rel") == Some("enclosure"))
            .take(64)
            .filter_map(|file| {
                Some(Enclosure {
                    url: link(base, file.attribute("href")?)?,
                    media_type: file.attribute("type").and_then(text),
                    bytes: file
                        .attribute("length")
                        .and_then(|bytes| bytes.parse().ok()),
                })
            })
            .collect(),
        truncated: false,
    }
}

/// Gives the text of a construct that may be text, escaped HTML, or elements.
fn construct(node: &Node<'_>) -> Option<String> {
    if node.children.is_empty() {
        text(node.text.as_str())
    } else {
        text(node.inner)
    }
}

/// Gives the link that people follow: `alternate`, which is also what a link without a relation is.
fn address(node: &Node<'_>, name: &str, base: Option<&Url>) -> Option<String> {
    let alternate = node
        .all(name)
        .find(|link| matches!(link.attribute("rel"), None | Some("alternate")));
    let any = || {
        node.all(name)
            .find(|link| !matches!(link.attribute("rel"), Some("enclosure" | "self" | "edit")))
    };
    alternate
        .or_else(any)
        .and_then(|found| link(base, found.attribute("href")?))
}

fn people(node: &Node<'_>, prefix: &str) -> Vec<String> {
    node.all(&format!("{prefix}author"))
        .filter_map(|author| {
            let name = author.text_of(&format!("{prefix}name"));
            text(name.or_else(|| author.text_of(&format!("{prefix}email")))?)
        })
        .collect()
}

/// Reads what the feed says of itself; gives its authors.
pub(super) fn head(
    node: &Node<'_>,
    prefix: &str,
    base: Option<&Url>,
    feed: &mut Feed,
) -> Vec<String> {
    feed.title = node.child(&format!("{prefix}title")).and_then(construct);
    feed.link = address(node, &format!("{prefix}link"), base);
    people(node, prefix)
}
