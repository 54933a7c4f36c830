//! One page of a list: its items, the greatest cursor, and what names the next page.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::error::{ItemsError, kind_of};
use super::options::{JsonOptions, Paginate};
use super::path::Path;

/// Longest body that is read, in bytes; a longer one is an error.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Most items read of one page; those behind them are counted, not read.
pub const PAGE_ITEMS_MAX: usize = 2000;
/// Longest item, in bytes; a longer one is a bad item.
pub const ITEM_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of an item: an event holds it, and has a limit of its own.
const ITEM_DEPTH_MAX: usize = 48;
const ID_BYTES_MAX: usize = 2 * 1024;
const NEXT_BYTES_MAX: usize = 4 * 1024;

/// Names a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageRef {
    /// Its whole address.
    Url(String),
    /// Its number.
    Number(u64),
    /// The token that asks for it.
    Token(String),
}

/// Is one item of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonItem {
    /// Its id, as text.
    pub id: String,
    /// The whole item.
    pub value: Value,
}

/// Is an item that does not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct BadItem {
    /// Which item of the page, from 0.
    pub index: usize,
    /// What was expected and found.
    pub reason: String,
    /// Its beginning.
    pub excerpt: String,
}

/// Is what one answer holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The items, in the answer's order.
    pub items: Vec<JsonItem>,
    /// The items that do not fit.
    pub bad: Vec<BadItem>,
    /// The greatest cursor of its items.
    pub cursor: Option<Value>,
    /// What names the next page, if there is one.
    pub next: Option<PageRef>,
    /// How many more items there are behind [`PAGE_ITEMS_MAX`].
    pub left_out: usize,
}

impl JsonOptions {
    /// Reads an answer: its body, its `Link` header, the address it came from, and which page it is.
    pub fn read(
        &self,
        body: &[u8],
        link: Option<&str>,
        url: &str,
        page: Option<&PageRef>,
    ) -> Result<Page, ItemsError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(ItemsError::TooLarge {
                found: body.len(),
                max: BODY_BYTES_MAX,
            });
        }
        let document: Value =
            serde_json::from_slice(body).map_err(|error| ItemsError::NotJson {
                found: error.to_string(),
            })?;
        let found = Path::parse(&self.items_path).and_then(|path| path.get(&document));
        let Some(list) = found.and_then(Value::as_array) else {
            return Err(ItemsError::NotAList {
                path: self.items_path.clone(),
                found: found.map_or("nothing", kind_of),
            });
        };
        let mut read = Page {
            left_out: list.len().saturating_sub(PAGE_ITEMS_MAX),
            next: self.next(&document, link, url, page, list.is_empty())?,
            ..Page::default()
        };
        let id_field = Path::parse(&self.id_field).unwrap_or_default();
        let cursor_field = self.cursor_field.as_deref().and_then(Path::parse);
        for (index, value) in list.iter().take(PAGE_ITEMS_MAX).enumerate() {
            match item(value, &id_field, &self.id_field) {
                Ok(item) => read.items.push(item),
                Err(reason) => read.bad.push(BadItem {
                    index,
                    reason,
                    excerpt: value.to_string().chars().take(200).collect(),
                }),
            }
            let cursor = cursor_field.as_ref().and_then(|field| field.get(value));
            read.cursor = greater(read.cursor, cursor.cloned());
        }
        Ok(read)
    }

    fn next(
        &self,
        document: &Value,
        link: Option<&str>,
        url: &str,
        page: Option<&PageRef>,
        empty: bool,
    ) -> Result<Option<PageRef>, ItemsError> {
        let bad = |path: &str, expected, value: &Value| ItemsError::BadNext {
            path: path.to_owned(),
            expected,
            found: kind_of(value),
        };
        let at = |path: &str| {
            let path = Path::parse(path).unwrap_or_default();
            path.get(document).unwrap_or(&Value::Null)
        };
        let next = match &self.paginate {
            None => None,
            Some(Paginate::Link {}) => link
                .and_then(next_link)
                .and_then(|next| absolute(url, next))
                .map(PageRef::Url),
            Some(Paginate::Url { path }) => match at(path) {
                Value::Null | Value::Bool(false) => None,
                Value::String(next) if next.is_empty() => None,
                Value::String(next) => Some(
                    absolute(url, next)
                        .map(PageRef::Url)
                        .ok_or_else(|| bad(path, "an http or https address", at(path)))?,
                ),
                other => return Err(bad(path, "the next page's address", other)),
            },
            Some(Paginate::Token { path, .. }) => match at(path) {
                Value::Null | Value::Bool(false) => None,
                Value::String(token) if token.is_empty() => None,
                Value::String(token) if token.len() <= NEXT_BYTES_MAX => {
                    Some(PageRef::Token(token.clone()))
                }
                Value::Number(token) => Some(PageRef::Token(token.to_string())),
                other => return Err(bad(path, "a token of at most 4096 bytes", other)),
            },
            Some(Paginate::Page { .. }) if empty => None,
            Some(Paginate::Page { start, .. }) => {
                let this = match page {
                    Some(PageRef::Number(number)) => *number,
                    _ => *start,
                };
                this.checked_add(1).map(PageRef::Number)
            }
        };
        // A page that names itself is the last, or the list would never end.
        let itself = matches!(&next, Some(PageRef::Url(next)) if next == url);
        Ok(next.filter(|next| !itself && Some(next) != page))
    }
}

fn item(value: &Value, id_field: &Path, id_name: &str) -> Result<JsonItem, String> {
    if !fits(value, ITEM_DEPTH_MAX) {
        return Err(format!(
            "expected at most {ITEM_DEPTH_MAX} levels of nesting"
        ));
    }
    let bytes = value.to_string().len();
    if bytes > ITEM_BYTES_MAX {
        return Err(format!(
            "expected an item of at most {ITEM_BYTES_MAX} bytes, found {bytes}"
        ));
    }
    let found = id_field.get(value).unwrap_or(&Value::Null);
    let id = match found {
        Value::String(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX => id.clone(),
        Value::Number(id) => id.to_string(),
        other => {
            return Err(format!(
                "expected an id at {id_name:?}: text or a number, found {}",
                kind_of(other)
            ));
        }
    };
    Ok(JsonItem {
        id,
        value: value.clone(),
    })
}

fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels > 0 && list.iter().all(|value| fits(value, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|value| fits(value, levels - 1)),
        _ => true,
    }
}

/// Gives the greater cursor: numbers by value, texts by their characters; a number is less than a text.
pub(crate) fn greater(one: Option<Value>, other: Option<Value>) -> Option<Value> {
    let usable = |value: &Value| match value {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= NEXT_BYTES_MAX,
        _ => false,
    };
    match (one.filter(usable), other.filter(usable)) {
        (Some(one), Some(other)) => Some(if order(&one, &other).is_lt() {
            other
        } else {
            one
        }),
        (one, other) => one.or(other),
    }
}

fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one
                .as_f64()
                .partial_cmp(&other.as_f64())
                .unwrap_or(Ordering::Equal),
        },
        (Value::Number(_), _) => Ordering::Less,
        _ => Ordering::Greater,
    }
}

fn absolute(base: &str, next: &str) -> Option<String> {
    if next.len() > NEXT_BYTES_MAX {
        return None;
    }
    let url = Url::parse(base).ok()?.join(next).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

/// Finds the target of `rel="next"` in a `Link` header (RFC 8288).
fn next_link(header: &str) -> Option<&str> {
    outside_quotes(header, ',').find_map(|link| {
        let link = link.trim().strip_prefix('<')?;
        let (target, parameters) = link.split_once('>')?;
        outside_quotes(parameters, ';')
            .any(is_next)
            .then_some(target)
    })
}

fn is_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel")
            && value
                .trim()
                .trim_matches('"')
                .split_ascii_whitespace()
                .any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

/// Cuts a header at a separator, but neither within quotes nor within an address.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_address) = (false, false);
    text.split(move |c: char| {
        match c {
            '"' if !is_address => is_quoted = !is_quoted,
            '<' if !is_quoted => is_address = true,
            '>' if !is_quoted => is_address = false,
            _ => {}
        }
        c == separator && !is_quoted && !is_address
    })
}
