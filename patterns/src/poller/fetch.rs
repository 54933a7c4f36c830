//! Which request is next: the page, what it is asked with, and where redirects lead.

use url::Url;

use super::answer::Answer;
use super::options::{Plan, Source};
use super::state::{State, Validators};
use super::trouble::{Class, Trouble};
use crate::feed::FEED_BYTES_MAX;
use crate::json_items::PageRef;

/// Most redirects that are followed for one page.
const HOPS_MAX: u32 = 5;
const ACCEPT_FEED: &str = "application/atom+xml, application/rss+xml, application/feed+json, \
    application/xml;q=0.9, text/xml;q=0.9, application/json;q=0.8, */*;q=0.1";
const ACCEPT_JSON: &str = "application/json, */*;q=0.1";

/// Is a request (GET) that the shell makes. It follows no redirects: those are answers too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The address.
    pub url: String,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// Whether the operator's credentials may go there: only to the origin they were given for.
    pub credentials: bool,
    /// How much of a body is taken; more is an error.
    pub body_bytes_max: usize,
}

/// Is the page that is being asked for.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    /// Which page; nothing is the first.
    pub(super) page: Option<PageRef>,
    /// The address asked for first.
    pub(super) start: String,
    /// The address asked for now.
    pub(super) url: String,
    hops: u32,
    /// Whether every redirect so far was for good.
    is_moved: bool,
}

impl Asking {
    /// Begins with a page.
    pub(super) fn new(plan: &Plan, state: &State, page: Option<PageRef>) -> Result<Self, Trouble> {
        let suspect = |text: String| Trouble::new(Class::Suspect, text);
        let base = state
            .moved
            .as_deref()
            .or(plan.address())
            .unwrap_or_default();
        let start = match &plan.source {
            Source::Json(options) => options
                .request(base, state.cursor.as_ref(), page.as_ref())
                .map_err(|error| suspect(error.to_string()))?,
            Source::Feed(_) | Source::Handler => parse(base).map(Into::into).ok_or_else(|| {
                suspect(format!("expected an http or https address, found {base:?}"))
            })?,
        };
        Ok(Self {
            page,
            url: start.clone(),
            start,
            hops: 0,
            is_moved: true,
        })
    }

    /// Gives the request.
    pub(super) fn fetch(&self, plan: &Plan, state: &State) -> Fetch {
        let accept = match plan.source {
            Source::Json(_) => ACCEPT_JSON,
            Source::Feed(_) | Source::Handler => ACCEPT_FEED,
        };
        let mut headers = vec![
            ("accept", accept.to_owned()),
            ("user-agent", plan.user_agent.clone()),
        ];
        if let Some(validators) = self.validators(state) {
            headers.extend(validators.etag.clone().map(|etag| ("if-none-match", etag)));
            let since = validators.last_modified.clone();
            headers.extend(since.map(|since| ("if-modified-since", since)));
        }
        Fetch {
            url: self.url.clone(),
            headers,
            credentials: same_origin(plan.address().unwrap_or_default(), &self.url),
            body_bytes_max: FEED_BYTES_MAX,
        }
    }

    /// Gives what the server is asked with: what it gave for this very address.
    pub(super) fn validators<'s>(&self, state: &'s State) -> Option<&'s Validators> {
        let validators = state.validators.as_ref();
        validators.filter(|validators| self.page.is_none() && validators.url == self.start)
    }

    /// Follows a redirect.
    pub(super) fn follow(&mut self, answer: &Answer) -> Result<(), Trouble> {
        let suspect = |text: String| Trouble::new(Class::Suspect, text);
        self.hops += 1;
        if self.hops > HOPS_MAX {
            return Err(suspect(format!(
                "expected at most {HOPS_MAX} redirects, found more"
            )));
        }
        let here = parse(&self.url);
        let location = answer.header("location").unwrap_or_default();
        let there = here
            .as_ref()
            .and_then(|here| here.join(location).ok())
            .filter(|there| matches!(there.scheme(), "http" | "https") && !location.is_empty())
            .ok_or_else(|| {
                suspect(format!(
                    "expected a redirect to an address, found {location:?}"
                ))
            })?;
        if here.is_some_and(|here| here.scheme() == "https") && there.scheme() == "http" {
            return Err(suspect(format!(
                "expected a redirect to https, found {there}"
            )));
        }
        self.is_moved &= matches!(answer.status, 301 | 308);
        self.url = there.into();
        Ok(())
    }

    /// Gives where the first page moved for good.
    pub(super) fn moved(&self) -> Option<&str> {
        (self.page.is_none() && self.hops > 0 && self.is_moved).then_some(self.url.as_str())
    }
}

fn parse(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn same_origin(one: &str, other: &str) -> bool {
    if one == other {
        return parse(one).is_some();
    }
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => one.origin() == other.origin(),
        _ => false,
    }
}
