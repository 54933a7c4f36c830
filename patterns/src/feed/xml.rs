//! Elements as a small bounded tree.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::resolve_html5_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::error::FeedError;

/// Deepest nesting of elements; a deeper document is refused.
const DEPTH_MAX: usize = 64;
/// Most attributes read of one element; those behind them are not looked at.
const ATTRIBUTES_MAX: usize = 64;
/// Most elements kept of one item; those behind them are read over.
const NODES_MAX: usize = 2000;

/// Is one element: its name with prefix, its attributes, its text and its children.
#[derive(Default, Debug)]
pub(super) struct Node<'a> {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    /// Its own text, references resolved.
    pub(super) text: String,
    pub(super) children: Vec<Node<'a>>,
    /// What stands between its tags, as it stands there.
    pub(super) inner: &'a str,
}

impl<'a> Node<'a> {
    /// Gives the first child of a name that has any text or attributes.
    pub(super) fn child(&self, name: &str) -> Option<&Node<'a>> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Node<'a>> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.all(name)
            .map(|child| child.text.trim())
            .find(|text| !text.is_empty())
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }
}

/// Is a document being read, element by element.
pub(super) struct Elements<'a> {
    reader: Reader<&'a [u8]>,
    source: &'a str,
    depth: usize,
}

/// Is what comes next in a document.
pub(super) enum Next<'a> {
    /// An element begins; `empty` if it also ends.
    Start { tag: BytesStart<'a>, empty: bool },
    /// The element around ends.
    End,
    /// The document ends.
    Eof,
}

impl<'a> Elements<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let mut reader = Reader::from_str(source);
        let config = reader.config_mut();
        config.allow_dangling_amp = true;
        config.trim_markup_names_in_closing_tags = true;
        Self {
            reader,
            source,
            depth: 0,
        }
    }

    /// Gives the next element's start or end; text between is read over.
    pub(super) fn next(&mut self) -> Result<Next<'a>, FeedError> {
        loop {
            match self.event()? {
                Event::Start(tag) => return Ok(Next::Start { tag, empty: false }),
                Event::Empty(tag) => return Ok(Next::Start { tag, empty: true }),
                Event::End(_) => return Ok(Next::End),
                Event::Eof => return Ok(Next::Eof),
                _ => {}
            }
        }
    }

    /// Reads the element whose start was just given, to its end.
    pub(super) fn node(
        &mut self,
        tag: &BytesStart<'a>,
        empty: bool,
    ) -> Result<Node<'a>, FeedError> {
        if empty {
            return Ok(start(tag));
        }
        let mut nodes = 1;
        let mut open = vec![(start(tag), self.position())];
        loop {
            let before = self.position();
            match self.event()? {
                Event::Start(tag) => open.push((start(&tag), self.position())),
                Event::Empty(tag) if nodes < NODES_MAX => {
                    nodes += 1;
                    last(&mut open).children.push(start(&tag));
                }
                Event::Text(text) => last(&mut open).text.push_str(&text.xml10_content()),
                Event::CData(text) => last(&mut open).text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => resolve(&reference, &mut last(&mut open).text),
                Event::End(_) => {
                    let (mut node, from) = open.pop().expect("an end is matched by its start");
                    node.inner = self.source.get(from..before).unwrap_or("");
                    match open.last_mut() {
                        None => return Ok(node),
                        Some((parent, _)) if nodes < NODES_MAX => {
                            nodes += 1;
                            parent.children.push(node);
                        }
                        Some(_) => {}
                    }
                }
                Event::Eof => return Err(self.broken("an end")),
                _ => {}
            }
        }
    }

    /// Reads over the element whose start was just given.
    pub(super) fn skip(&mut self, empty: bool) -> Result<(), FeedError> {
        let around = self.depth;
        while !empty && self.depth >= around {
            if matches!(self.event()?, Event::Eof) {
                return Err(self.broken("an end"));
            }
        }
        Ok(())
    }

    pub(super) fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn event(&mut self) -> Result<Event<'a>, FeedError> {
        let event = self
            .reader
            .read_event()
            .map_err(|error| FeedError::BadXml {
                found: error.to_string(),
                at: self.reader.error_position(),
            })?;
        match &event {
            Event::Start(_) => self.depth += 1,
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Eof if self.depth > 0 => return Err(self.broken("an end")),
            _ => {}
        }
        if self.depth > DEPTH_MAX {
            return Err(self.broken("elements nested too deep"));
        }
        Ok(event)
    }

    fn broken(&self, found: &str) -> FeedError {
        FeedError::BadXml {
            found: found.to_owned(),
            at: self.reader.buffer_position(),
        }
    }
}

fn last<'n, 'a>(open: &'n mut [(Node<'a>, usize)]) -> &'n mut Node<'a> {
    let (node, _) = open.last_mut().expect("the outermost element is open");
    node
}

fn start<'a>(tag: &BytesStart<'_>) -> Node<'a> {
    let mut attributes = tag.attributes();
    let attributes = attributes
        .with_checks(false)
        .take(ATTRIBUTES_MAX)
        .flatten()
        .map(|attribute| {
            let value = quick_xml::escape::unescape_with(&attribute.value, resolve_html5_entity)
                .unwrap_or(Cow::Borrowed(&*attribute.value));
            (attribute.key.as_ref().to_owned(), value.into_owned())
        });
    Node {
        name: tag.name().as_ref().to_owned(),
        attributes: attributes.collect(),
        ..Node::default()
    }
}

/// Writes the one character that a reference stands for; an unknown one stays as it is written.
fn resolve(reference: &BytesRef<'_>, text: &mut String) {
    let name: &str = reference;
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        text.push(character);
    } else if let Some(known) = resolve_html5_entity(name) {
        text.push_str(known);
    } else {
        text.push('&');
        text.push_str(name);
        text.push(';');
    }
}
