//! What the author says of a poller.

use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::duration;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::manifest::PollerOauth;
use trunkline_contract::rpc::{Misfire, TimerSetParams};
use trunkline_patterns::json_items::JsonOptions;
use trunkline_patterns::poller::{self, AlertTo as PollAlert, Options, Plan};

use super::oauth::Tokens;
use super::{item, tick};
use crate::credential::LOCK_WAIT;
use crate::duration::IntoDuration;
use crate::engine::{Engine, Registered};
use crate::handler::{AnyHandler, Handler, forget};
use crate::incoming::Incoming;
use crate::timer::{name_of, route};

/// How long a tick may take beyond its timeout, to say what it came to.
const KEPT: Duration = Duration::from_secs(5);

/// Asks somebody else, again and again, what is new.
///
/// With a feed or a list the engine fetches, and the function gets new items only. Without, it gets the
/// cursor, and returns a [`Batch`](crate::Batch) with the next one.
///
/// ```
/// use serde_json::json;
/// use trunkline::{Context, Event, FeedItem, Plugin, Poll, Result};
///
/// async fn item(item: FeedItem) -> Result<Option<Event>> {
///     let Some(title) = item.title else {
///         return Ok(None);
///     };
///     let message = json!({ "text": title, "conversation": { "id": "news" } });
///     Ok(Some(Event::inbound(message)))
/// }
///
/// let plugin = Plugin::new("rss").poll(Poll::feed("rss", "{config.url}", item).every("30m").jitter("5m"));
/// # drop(plugin);
/// ```
#[derive(Clone)]
pub struct Poll {
    options: Options,
    auth: Auth,
    fault: Option<Error>,
    handler: AnyHandler,
}

/// As whom a server is asked. Values may hold `{config.…}`.
#[derive(Clone, Default)]
pub(super) struct Auth {
    pub(super) bearer: Option<String>,
    pub(super) basic: Option<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) oauth: Option<PollerOauth>,
    /// The declared server, too, has to be in public.
    pub(super) is_guarded: bool,
}

/// Is a poller as its ticks see it.
pub(super) struct Declared {
    pub(super) plan: Plan,
    pub(super) credential: Option<String>,
    pub(super) alert: Option<PollAlert>,
    pub(super) auth: Auth,
    pub(super) handler: AnyHandler,
    pub(super) tokens: Tokens,
}

impl Declared {
    /// The name of the timer of its schedule.
    pub(super) fn timer(&self) -> String {
        format!("engine.poll.{}", self.plan.kind)
    }

    pub(super) fn again(&self) -> String {
        format!("engine.poll.{}.again", self.plan.kind)
    }

    /// What the names of timers begin with that are orders of operators.
    pub(super) fn orders(&self) -> String {
        format!("engine.poll.{}.order.", self.plan.kind)
    }

    pub(super) fn items(&self) -> String {
        format!("engine.poll.{}.item.", self.plan.kind)
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("engine/poll/{}/{name}", self.plan.kind)
    }
}

impl Poll {
    /// Calls the function with the cursor: null at first, then what its last batch said.
    pub fn new<Args: 'static>(kind: impl Into<String>, handler: impl Handler<Args>) -> Self {
        let options = Options {
            kind: kind.into(),
            ..Options::default()
        };
        Self {
            options,
            auth: Auth::default(),
            fault: None,
            handler: forget(handler),
        }
    }

    /// Calls the function with each new [`FeedItem`](crate::FeedItem) of an RSS, Atom or JSON Feed; the address may hold
    /// `{config.…}`.
    pub fn feed<Args: 'static>(
        kind: impl Into<String>,
        url: impl Into<String>,
        handler: impl Handler<Args>,
    ) -> Self {
        let mut poll = Self::new(kind, handler);
        poll.options.feed = Some(url.into());
        poll
    }

    /// Calls the function with each new item of a list of JSON.
    pub fn json<Args: 'static>(
        kind: impl Into<String>,
        list: JsonOptions,
        handler: impl Handler<Args>,
    ) -> Self {
        let mut poll = Self::new(kind, handler);
        poll.options.json = Some(list);
        poll
    }

    /// Puts together what was declared elsewhere.
    pub(super) fn from_parts<Args: 'static>(
        options: Options,
        auth: Auth,
        fault: Option<Error>,
        handler: impl Handler<Args>,
    ) -> Self {
        Self {
            options,
            auth,
            fault,
            handler: forget(handler),
        }
    }

    /// Takes a source as the host wrote it: one, or none; two are refused when the plugin is checked.
    #[cfg(feature = "host")]
    pub(crate) fn of_source<Args: 'static>(
        kind: String,
        feed: Option<String>,
        json: Option<JsonOptions>,
        handler: impl Handler<Args>,
    ) -> Self {
        let mut poll = Self::new(kind, handler);
        poll.options.feed = feed;
        poll.options.json = json;
        poll
    }

    fn text(&mut self, time: impl IntoDuration) -> Option<String> {
        match time.into_duration() {
            Ok(time) => Some(duration::format(time)),
            Err(error) => {
                self.fault.get_or_insert(error);
                None
            }
        }
    }

    /// Asks at this interval; `"0s"`: again as soon as the last batch is durable.
    pub fn every(mut self, interval: impl IntoDuration) -> Self {
        self.options.every = self.text(interval);
        self
    }

    /// Asks where the clocks match: 5 or 6 fields, or a nickname such as `@hourly`.
    pub fn cron(mut self, expression: impl Into<String>) -> Self {
        self.options.cron = Some(expression.into());
        self
    }

    /// Says whose clocks a cron expression is about: an IANA zone; else UTC.
    pub fn tz(mut self, zone: impl Into<String>) -> Self {
        self.options.tz = Some(zone.into());
        self
    }

    /// Asks once, at this instant: RFC 3339.
    pub fn at(mut self, instant: impl Into<String>) -> Self {
        self.options.at = Some(instant.into());
        self
    }

    /// Lets each tick come up to this much later.
    pub fn jitter(mut self, most: impl IntoDuration) -> Self {
        self.options.jitter = self.text(most);
        self
    }

    /// Says what becomes of ticks that passed while nobody could act; else one stands for all.
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.options.misfire = Some(match misfire {
            Misfire::Skip => poller::Misfire::Skip,
            Misfire::Once => poller::Misfire::Once,
            Misfire::All => poller::Misfire::All,
        });
        self
    }

    /// Says how long a tick may take, or of a feed or list the handling of one item.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.options.timeout = self.text(timeout);
        self
    }

    /// Sends `Authorization: Bearer …`, to the declared server only; may hold `{config.…}`.
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.auth.bearer = Some(token.into());
        self
    }

    /// Sends `Authorization: Basic …`, to the declared server only; may hold `{config.…}`.
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth.basic = Some((user.into(), password.into()));
        self
    }

    /// Sends a header, to the declared server only; the value may hold `{config.…}`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.auth.headers.push((name.into(), value.into()));
        self
    }

    /// Says what no two instances ask with at once, a text with `{config.key}`: a tick waits until nobody else's
    /// with the same runs. Without it, that is the manifest's `unique` keys; where there are none, nothing.
    pub fn credential(mut self, credential: impl Into<String>) -> Self {
        self.options.credential = Some(credential.into());
        self
    }

    /// Sends a message when the poller pauses itself, is left alone after many failures, or goes on again.
    pub fn alert(mut self, alert: PollAlert) -> Self {
        self.options.alert = Some(alert);
        self
    }

    pub(crate) fn registered(self) -> Registered {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let plan = self
            .options
            .check()
            .map_err(|error| Error::new(Code::InvalidArguments, error.to_string()))?;
        let options = self.options;
        let declared = Arc::new(Declared {
            plan,
            credential: options.credential,
            alert: options.alert,
            auth: self.auth,
            handler: self.handler,
            tokens: Tokens::default(),
        });
        let schedule = TimerSetParams {
            name: declared.timer(),
            after_ms: declared.plan.is_immediate().then_some(0),
            every_ms: declared.plan.every_ms.filter(|every| *every > 0),
            cron: options.cron,
            tz: options.tz,
            at: options.at,
            jitter_ms: declared.plan.jitter_ms,
            misfire: match options.misfire.unwrap_or_default() {
                poller::Misfire::Skip => Misfire::Skip,
                poller::Misfire::Once => Misfire::Once,
                poller::Misfire::All => Misfire::All,
            },
            keep: true,
            ..TimerSetParams::default()
        };
        let timeout = Duration::from_millis(declared.plan.timeout_ms) + LOCK_WAIT + KEPT;
        let names = [declared.timer(), declared.again()];
        let orders = declared.orders();
        let is_tick = move |incoming: &Incoming| {
            name_of(incoming).is_some_and(|name| names.contains(&name) || name.starts_with(&orders))
        };
        let prefix = declared.items();
        let is_item = move |incoming: &Incoming| {
            name_of(incoming).is_some_and(|name| name.starts_with(&prefix))
        };
        Ok(Engine {
            name: format!("poll {}", declared.plan.kind),
            kind: declared.plan.kind.clone(),
            routes: vec![
                route(tick::work(declared.clone()), timeout, Arc::new(is_tick))?,
                route(item::work(declared), timeout, Arc::new(is_item))?,
            ],
            webhook: None,
            connect: None,
            timers: vec![schedule],
        })
    }
}
