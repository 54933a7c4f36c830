//! What is declared of a list, and what must hold of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::error::ItemsError;
use super::page::PageRef;
use super::path::Path;

/// Most pages of one tick that can be asked for.
const PAGES_MAX: u32 = 100;
const PAGES_DEFAULT: u32 = 10;
const NAME_BYTES_MAX: usize = 128;

/// Declares a list of JSON items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonOptions {
    /// Where it is.
    pub url: String,
    /// Where in the answer the items are: a JSON pointer or names with dots; empty: the answer is the
    /// list.
    #[serde(default)]
    pub items_path: String,
    /// Where in an item its id is: text or a number.
    pub id_field: String,
    /// Where in an item the cursor is: text or a number that grows; the greatest is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_field: Option<String>,
    /// The query parameter that says from which cursor on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_param: Option<String>,
    /// How pages follow each other; one page if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paginate: Option<Paginate>,
    /// Most pages of one tick (default 10, at most 100); the next tick goes on from there.
    #[serde(default = "pages_default")]
    pub pages_max: u32,
}

fn pages_default() -> u32 {
    PAGES_DEFAULT
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            items_path: String::new(),
            id_field: String::new(),
            cursor_field: None,
            since_param: None,
            paginate: None,
            pages_max: PAGES_DEFAULT,
        }
    }
}

/// Says how pages follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Paginate {
    /// The header `Link: <…>; rel="next"` names the next page (RFC 8288).
    Link {},
    /// The answer names the next page's address.
    Url {
        /// Where in the answer.
        path: String,
    },
    /// The answer gives a token, which the next request sends.
    Token {
        /// Where in the answer.
        path: String,
        /// The query parameter that takes it.
        param: String,
    },
    /// Pages have numbers; an empty page is the last.
    Page {
        /// The query parameter that takes the number.
        param: String,
        /// The first page's number.
        #[serde(default = "first_page")]
        start: u64,
    },
}

fn first_page() -> u64 {
    1
}

impl JsonOptions {
    /// Says whether the declaration can be followed. The address may hold `{config.…}`.
    pub fn check(&self) -> Result<(), ItemsError> {
        path("items_path", &self.items_path)?;
        not_empty("id_field", &self.id_field)?;
        path("id_field", &self.id_field)?;
        if let Some(field) = &self.cursor_field {
            not_empty("cursor_field", field)?;
            path("cursor_field", field)?;
        }
        if let Some(param) = &self.since_param {
            name("since_param", param)?;
            if self.cursor_field.is_none() {
                return Err(ItemsError::Option {
                    option: "cursor_field",
                    expected: "a field whose value since_param sends",
                    found: String::new(),
                });
            }
        }
        match &self.paginate {
            None | Some(Paginate::Link {}) => {}
            Some(Paginate::Url { path: at }) => {
                not_empty("paginate.path", at)?;
                path("paginate.path", at)?;
            }
            Some(Paginate::Token { path: at, param }) => {
                not_empty("paginate.path", at)?;
                path("paginate.path", at)?;
                name("paginate.param", param)?;
            }
            Some(Paginate::Page { param, .. }) => name("paginate.param", param)?,
        }
        if (1..=PAGES_MAX).contains(&self.pages_max) {
            Ok(())
        } else {
            Err(ItemsError::Option {
                option: "pages_max",
                expected: "1 to 100",
                found: self.pages_max.to_string(),
            })
        }
    }

    /// Gives the address of a page: the first one, from a cursor on, or one that was named.
    pub fn request(
        &self,
        base: &str,
        cursor: Option<&Value>,
        page: Option<&PageRef>,
    ) -> Result<String, ItemsError> {
        let mut url = match page {
            Some(PageRef::Url(url)) => return address(url).map(Into::into),
            _ => address(base)?,
        };
        if let (Some(param), Some(cursor)) = (&self.since_param, cursor) {
            set(&mut url, param, &plain(cursor));
        }
        match (page, &self.paginate) {
            (Some(PageRef::Number(number)), Some(Paginate::Page { param, .. })) => {
                set(&mut url, param, &number.to_string());
            }
            (None, Some(Paginate::Page { param, start })) => {
                set(&mut url, param, &start.to_string());
            }
            (Some(PageRef::Token(token)), Some(Paginate::Token { param, .. })) => {
                set(&mut url, param, token);
            }
            _ => {}
        }
        Ok(url.into())
    }
}

fn address(text: &str) -> Result<Url, ItemsError> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| ItemsError::Option {
            option: "url",
            expected: "an http or https address",
            found: text.chars().take(200).collect(),
        })
}

/// Sets a query parameter, in place of one that is already there.
fn set(url: &mut Url, param: &str, value: &str) {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != param)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair(param, value);
}

/// Writes a cursor as a query takes it: text without quotes.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn path(option: &'static str, text: &str) -> Result<(), ItemsError> {
    match Path::parse(text) {
        Some(_) => Ok(()),
        None => Err(ItemsError::Option {
            option,
            expected: "a JSON pointer (/data/items) or names with dots (data.items)",
            found: text.to_owned(),
        }),
    }
}

fn not_empty(option: &'static str, text: &str) -> Result<(), ItemsError> {
    if text.is_empty() {
        return Err(ItemsError::Option {
            option,
            expected: "the name of a field",
            found: String::new(),
        });
    }
    Ok(())
}

fn name(option: &'static str, text: &str) -> Result<(), ItemsError> {
    if (1..=NAME_BYTES_MAX).contains(&text.len()) {
        return Ok(());
    }
    Err(ItemsError::Option {
        option,
        expected: "the name of a query parameter",
        found: text.chars().take(NAME_BYTES_MAX).collect(),
    })
}
