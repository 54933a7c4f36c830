//! The way of a document: which format it is, and its items one by one.

use url::Url;

use super::clean::{excerpt, feed_authors, finish, hash};
use super::error::FeedError;
use super::item::{FEED_BYTES_MAX, FEED_ITEMS_MAX, Feed, FeedItem, Unreadable};
use super::text::decode;
use super::xml::{Elements, Next, Node};
use super::{atom, json, rss};

/// Reads a feed.
///
/// `content_type` is the header's value (it may be empty; only its charset is believed), `url` where
/// the body came from: relative links are relative to it.
///
/// # Errors
/// [`FeedError`]: the body is too large, no feed, or breaks off.
///
/// ```
/// let body = br#"<rss version="2.0"><channel><title>t</title>
///   <item><guid>1</guid><title>One</title><link>/one</link></item></channel></rss>"#;
/// let feed = trunkline_patterns::feed::read(body, "text/xml", "https://example.com/feed").unwrap();
/// assert_eq!(feed.items[0].id, "1");
/// assert_eq!(feed.items[0].link.as_deref(), Some("https://example.com/one"));
/// ```
pub fn read(body: &[u8], content_type: &str, url: &str) -> Result<Feed, FeedError> {
    if body.len() > FEED_BYTES_MAX {
        return Err(FeedError::TooLarge {
            found: body.len(),
            max: FEED_BYTES_MAX,
        });
    }
    let text = decode(body, content_type);
    let base = Url::parse(url).ok();
    match text.trim_start().chars().next() {
        Some('<') => xml(&text, base.as_ref()),
        Some('{') => json::read(&text, base.as_ref()),
        Some(_) => Err(FeedError::NotAFeed {
            found: format!("text that begins with {:?}", start_of(&text)),
        }),
        None => Err(FeedError::NotAFeed {
            found: "an empty body".to_owned(),
        }),
    }
}

fn start_of(text: &str) -> String {
    text.trim_start().chars().take(20).collect()
}

#[derive(Clone, Copy)]
enum Format {
    Rss,
    Atom,
}

fn xml(text: &str, base: Option<&Url>) -> Result<Feed, FeedError> {
    let mut elements = Elements::new(text);
    let Next::Start { tag, empty } = elements.next()? else {
        return Err(FeedError::NotAFeed {
            found: "XML without an element".to_owned(),
        });
    };
    let name = tag.name().as_ref().to_owned();
    let (prefix, local) = name.split_once(':').unwrap_or(("", &name));
    let format = match local {
        "rss" | "RDF" => Format::Rss,
        "feed" => Format::Atom,
        _ => {
            return Err(FeedError::NotAFeed {
                found: format!("the element <{}>", excerpt(&name)),
            });
        }
    };
    let prefix = match format {
        Format::Atom if !prefix.is_empty() => format!("{prefix}:"),
        Format::Atom | Format::Rss => String::new(),
    };
    let root = elements.node(&tag, true)?;
    let mut reading = Reading {
        base: super::atom::base(base, &root),
        format,
        prefix,
        head: Node::default(),
        feed: Feed::default(),
        seen: 0,
    };
    if !empty {
        reading.elements(&mut elements)?;
    }
    Ok(reading.finish())
}

struct Reading<'a> {
    format: Format,
    /// What Atom's names begin with in this document.
    prefix: String,
    base: Option<Url>,
    /// What the feed says of itself, gathered around its items.
    head: Node<'a>,
    feed: Feed,
    seen: usize,
}

impl<'a> Reading<'a> {
    fn elements(&mut self, elements: &mut Elements<'a>) -> Result<(), FeedError> {
        let mut depth = 1_usize;
        while depth > 0 {
            match elements.next()? {
                Next::Eof => break,
                Next::End => depth -= 1,
                Next::Start { tag, empty } => {
                    let name = tag.name().as_ref().to_owned();
                    let local = name.strip_prefix(self.prefix.as_str()).unwrap_or("");
                    match (self.format, local) {
                        (Format::Rss, "item") | (Format::Atom, "entry") => {
                            self.item(elements, &tag, empty)?;
                        }
                        // RSS 1.0 has its items beside the channel, 0.9x and 2.0 in it.
                        (Format::Rss, "channel") => depth += usize::from(!empty),
                        _ if self.head.children.len() < 100 => {
                            let node = elements.node(&tag, empty)?;
                            self.head.children.push(node);
                        }
                        _ => elements.skip(empty)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        elements: &mut Elements<'a>,
        tag: &quick_xml::events::BytesStart<'a>,
        empty: bool,
    ) -> Result<(), FeedError> {
        let index = self.seen;
        self.seen += 1;
        if self.seen > FEED_ITEMS_MAX {
            self.feed.left_out += 1;
            return elements.skip(empty);
        }
        let node = elements.node(tag, empty)?;
        let item = match self.format {
            Format::Rss => rss::item(&node, self.base.as_ref()),
            Format::Atom => atom::item(&node, &self.prefix, self.base.as_ref()),
        };
        take(&mut self.feed, index, item, || node.inner.to_owned());
        Ok(())
    }

    fn finish(mut self) -> Feed {
        let authors = match self.format {
            Format::Rss => rss::head(&self.head, self.base.as_ref(), &mut self.feed),
            Format::Atom => {
                atom::head(&self.head, &self.prefix, self.base.as_ref(), &mut self.feed)
            }
        };
        let authors = feed_authors(authors);
        for item in &mut self.feed.items {
            if item.authors.is_empty() {
                item.authors.clone_from(&authors);
            }
        }
        self.feed
    }
}

/// Puts an item where it belongs: among the items, or among those that cannot be read.
pub(super) fn take(feed: &mut Feed, index: usize, item: FeedItem, source: impl FnOnce() -> String) {
    match finish(item) {
        Ok(item) => feed.items.push(item),
        Err(reason) => refuse(feed, index, reason, &source()),
    }
}

/// Notes an item that cannot be read.
pub(super) fn refuse(feed: &mut Feed, index: usize, reason: String, source: &str) {
    feed.unreadable.push(Unreadable {
        index,
        id: hash(&["unreadable", source]),
        reason,
        excerpt: excerpt(source),
    });
}
