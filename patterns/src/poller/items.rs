//! What an answer holds: its items with the ids of their events, in the order they appeared.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::commit::{Park, Parked};
use super::options::{Plan, Source};
use super::seen;
use super::trouble::{Class, Trouble};
use crate::feed::{self, Feed, FeedItem};
use crate::json_items::{Page, PageRef};

/// Is an item that was not handed over before.
#[derive(Clone, Debug, PartialEq)]
pub struct NewItem {
    /// Its id, as its source has it.
    pub id: String,
    /// The id of the event it becomes; of further events of it, [`event_id`] with a count.
    pub event_id: String,
    /// The item.
    pub item: Item,
    pub(super) hash: u64,
}

/// Is an item as a handler gets it.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// An item of a feed.
    Feed(Box<FeedItem>),
    /// An item of a list of JSON, whole.
    Json(Value),
}

impl Item {
    /// Gives the item as JSON.
    pub fn payload(&self) -> Value {
        match self {
            Self::Feed(item) => serde_json::to_value(item).expect("an item is plain data"),
            Self::Json(value) => value.clone(),
        }
    }
}

impl NewItem {
    pub(super) fn park(&self, how: Park) -> Parked {
        let payload = self.item.payload();
        Parked {
            id: self.id.clone(),
            event_id: self.event_id.clone(),
            bytes: payload.to_string().len(),
            payload,
            how,
        }
    }
}

/// Gives the id of an item's event: the same for the same item whenever it is met, until the poller is
/// reset. `count` tells several events of one item apart, from 0.
pub fn event_id(kind: &str, resets: u32, item: &str, count: usize) -> String {
    let mut hash = Sha256::new();
    for part in [kind.as_bytes(), &resets.to_be_bytes(), item.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk().expect("32 bytes hold 16");
    let hash = u128::from_be_bytes(*first);
    if count == 0 {
        format!("poll:{hash:032x}")
    } else {
        format!("poll:{hash:032x}:{count}")
    }
}

/// Is what an answer holds.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The items, oldest first as far as can be told.
    pub(super) items: Vec<NewItem>,
    /// What could not be read, and what it is known by.
    pub(super) unreadable: Vec<(u64, Parked)>,
    pub(super) next: Option<PageRef>,
    pub(super) cursor: Option<Value>,
    /// How long the document itself asks to be left alone.
    pub(super) ttl_ms: Option<u64>,
    pub(super) left_out: usize,
    /// What tells this page from another.
    pub(super) page: u64,
}

/// Reads an answer.
pub(super) fn list(
    plan: &Plan,
    resets: u32,
    answer: &Answer,
    url: &str,
    page: Option<&PageRef>,
) -> Result<Listed, Trouble> {
    let suspect = |error: &dyn std::fmt::Display| Trouble::new(Class::Suspect, error.to_string());
    let by = By {
        kind: &plan.kind,
        resets,
    };
    match &plan.source {
        Source::Feed(_) => {
            let content_type = answer.header("content-type").unwrap_or_default();
            let feed =
                feed::read(&answer.body, content_type, url).map_err(|error| suspect(&error))?;
            Ok(by.feed(feed))
        }
        Source::Json(options) => {
            let link = answer.list("link");
            let read = options
                .read(&answer.body, link.as_deref(), url, page)
                .map_err(|error| suspect(&error))?;
            Ok(by.page(read))
        }
        Source::Handler => Err(suspect(&"expected a feed or a list, found neither")),
    }
}

struct By<'a> {
    kind: &'a str,
    resets: u32,
}

impl By<'_> {
    fn feed(&self, feed: Feed) -> Listed {
        let mut items = feed.items;
        // Feeds have the newest first, unless their times say otherwise.
        let is_oldest_first = match (items.first(), items.last()) {
            (Some(first), Some(last)) => time(first)
                .zip(time(last))
                .is_some_and(|(first, last)| first < last),
            _ => true,
        };
        if !is_oldest_first {
            items.reverse();
        }
        let unreadable = feed.unreadable.into_iter().map(|item| {
            let payload = json!({ "index": item.index, "excerpt": item.excerpt });
            self.refuse(item.id, payload, item.reason)
        });
        Listed {
            unreadable: unreadable.collect(),
            items: items
                .into_iter()
                .map(|item| Self::new_item(item.id.clone(), Item::Feed(Box::new(item))))
                .collect(),
            ttl_ms: feed.ttl_ms,
            left_out: feed.left_out,
            ..Listed::default()
        }
    }

    fn page(&self, page: Page) -> Listed {
        let ids: Vec<&str> = page.items.iter().map(|item| item.id.as_str()).collect();
        let hash = seen::hash(&ids.join("\n"));
        let unreadable = page.bad.into_iter().map(|item| {
            let payload = json!({ "index": item.index, "excerpt": item.excerpt });
            self.refuse(format!("unreadable {}", item.excerpt), payload, item.reason)
        });
        Listed {
            unreadable: unreadable.collect(),
            items: page
                .items
                .into_iter()
                .map(|item| Self::new_item(item.id, Item::Json(item.value)))
                .collect(),
            next: page.next,
            cursor: page.cursor,
            ttl_ms: None,
            left_out: page.left_out,
            page: hash,
        }
    }

    fn new_item(id: String, item: Item) -> NewItem {
        NewItem {
            // Most of what is listed was handed over long ago: who hands it over names its event.
            event_id: String::new(),
            hash: seen::hash(&id),
            id,
            item,
        }
    }

    fn refuse(&self, id: String, payload: Value, reason: String) -> (u64, Parked) {
        let parked = Parked {
            event_id: event_id(self.kind, self.resets, &id, 0),
            bytes: payload.to_string().len(),
            payload,
            how: Park::Reject { reason, code: None },
            id,
        };
        (seen::hash(&parked.id), parked)
    }
}

fn time(item: &FeedItem) -> Option<jiff::Timestamp> {
    let text = item.published.as_ref().or(item.updated.as_ref())?;
    text.parse().ok()
}
