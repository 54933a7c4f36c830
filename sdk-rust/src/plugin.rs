//! What a plugin is made of: handlers with their options, and hooks.
//!
//! A [`Plugin`] is a plain value; nothing happens until it is run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{CREDIT_BYTES, CREDIT_EVENTS, HANDLER_TIMEOUT_MS, TOOLS_MAX};
use trunkline_contract::manifest::Manifest;
use trunkline_contract::rpc::{
    Credit, PluginSection, RetryPolicy, Start, SubscribeParams, SubscriptionDeclaration,
};
use trunkline_contract::topic::Filter;

use crate::assemble::Assemble;
use crate::connect::{Connect, Connections};
use crate::context::InstanceContext;
use crate::dispatch::Route;
use crate::duration::IntoDuration;
use crate::engine::{Engine, Registered};
use crate::handler::{Handler, Work, forget, name_of};
use crate::instance::{InstanceCore, plugin_hub, state_of};
use crate::outbound::Outbound;
use crate::outcome::{Failure, Result};
use crate::payload::Json;
use crate::poll::Poll;
use crate::settle::Mode;
use crate::timer::Timer;
use crate::tool::Tool;
use crate::webhook::Webhook;

pub(crate) type HookFuture = Pin<Box<dyn Future<Output = Result<Json>> + Send>>;
pub(crate) type Hook = Arc<dyn Fn(InstanceContext, Json) -> HookFuture + Send + Sync>;
type CheckConfig = Arc<dyn Fn(&Json) -> Result<(), Error> + Send + Sync>;

/// What the author wants to be told about the life of an instance.
#[derive(Clone)]
pub(crate) struct Hooks {
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
    pub(crate) on_config: Option<Hook>,
    pub(crate) on_pause: Option<Hook>,
    pub(crate) on_resume: Option<Hook>,
    pub(crate) check_config: CheckConfig,
}

/// Handles the events of topics: a durable subscription, and the function that gets them.
#[derive(Clone)]
pub struct On {
    pub(crate) name: Option<String>,
    filters: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) start: Start,
    retry: RetryPolicy,
    credit: Credit,
    timeout: Result<Duration, Error>,
    is_manual: bool,
    work: Work,
}

impl On {
    /// Handles what matches a topic filter: `*` is one segment, a final `>` is all that follow.
    pub fn new<Args: 'static, H: Handler<Args>>(filter: impl Into<String>, handler: H) -> Self {
        Self {
            name: name_of::<H>(),
            filters: vec![filter.into()],
            group: None,
            start: Start::New,
            retry: RetryPolicy::default(),
            credit: Credit::default(),
            timeout: Ok(Duration::from_millis(HANDLER_TIMEOUT_MS)),
            is_manual: false,
            work: Work::Call(forget(handler)),
        }
    }

    /// Handles by somebody else; the name that was taken from the function's type is forgotten.
    #[cfg(feature = "host")]
    pub(crate) fn work(mut self, work: Work) -> Self {
        (self.name, self.work) = (None, work);
        self
    }

    /// Adds a topic filter.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// Names the subscription; otherwise the function's name is its name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Shares the subscription with the other processes of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Says where a new subscription begins.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Says how many events, and how many bytes of them, may be in flight.
    pub fn credit(mut self, events: u32, bytes: u64) -> Self {
        self.credit = Credit { events, bytes };
        self
    }

    /// Says how failures are handled, where the defaults do not fit.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Says how long one event may take.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }

    /// Lets the handler settle by `ctx.ack()`, `ctx.nak()`, `ctx.reject()`, until its timeout.
    pub fn settle_manually(mut self) -> Self {
        self.is_manual = true;
        self
    }

    /// The subscription's name: as said, else the function's, else made of the filter.
    pub(crate) fn name_or_filter(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let plain: String = self.filters[0]
            .chars()
            .map(|c| {
                if c == '*' {
                    "any".to_owned()
                } else {
                    c.to_ascii_lowercase().to_string()
                }
            })
            .collect();
        plain.replace('>', "all").chars().take(64).collect()
    }

    fn parsed(&self) -> Result<Vec<Filter>, Error> {
        self.filters
            .iter()
            .map(|filter| Filter::parse(filter))
            .collect()
    }

    fn check(&self) -> Result<(), Error> {
        self.parsed()?;
        self.timeout.clone()?;
        let name = self.name_or_filter();
        if !trunkline_contract::id::is_client_name(&name) {
            let text = format!("expected a subscription name like `orders`, found {name:?}");
            return Err(Error::new(Code::InvalidArguments, text));
        }
        Ok(())
    }

    fn retry_or_default(&self) -> Option<RetryPolicy> {
        (self.retry != RetryPolicy::default()).then(|| self.retry.clone())
    }

    pub(crate) fn subscribe_params(&self) -> Result<SubscribeParams, Error> {
        Ok(SubscribeParams {
            name: self.name_or_filter(),
            filters: self.parsed()?,
            group: self.group.clone(),
            start: self.start.clone(),
            credit: self.credit,
            retry: self.retry_or_default(),
            hold: None,
            expire_ms: None,
        })
    }

    fn declaration(&self) -> Result<SubscriptionDeclaration, Error> {
        Ok(SubscriptionDeclaration {
            name: self.name_or_filter(),
            filters: self.parsed()?,
            group: self.group.clone(),
            start: self.start.clone(),
            retry: self.retry_or_default(),
        })
    }

    pub(crate) fn into_route(self) -> Result<Route, Error> {
        self.check()?;
        Ok(Route {
            name: Some(self.name_or_filter()),
            filters: self.parsed()?,
            mode: Mode::On,
            timeout: self.timeout?,
            is_manual: self.is_manual,
            work: self.work,
            takes: None,
        })
    }
}

/// Is a plugin: handlers and hooks. [`run`](crate::run) serves it.
///
/// ```
/// use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};
///
/// async fn echo(payload: Json, _ctx: Context) -> Result<Reply> {
///     Ok(Reply::new(payload))
/// }
///
/// fn plugin() -> Plugin {
///     Plugin::new("echo").outbound(Outbound::new("echo", echo))
/// }
/// # plugin();
/// ```
pub struct Plugin {
    identity: PluginSection,
    accepts: Credit,
    on: Vec<On>,
    outbound: Vec<Outbound>,
    tools: Vec<Tool>,
    engines: Vec<Registered>,
    extra: Vec<Route>,
    hooks: Hooks,
    manifest_kinds: Vec<String>,
    /// The tools of the manifest.
    manifest_tools: Vec<String>,
    /// Keys of the config of which no two instances have the same value.
    unique_keys: Vec<String>,
    fault: Option<Error>,
    pub(crate) core: Arc<InstanceCore>,
}

impl Plugin {
    /// Begins a plugin; the id is that of its manifest.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            identity: PluginSection {
                id: id.into(),
                version: String::new(),
            },
            accepts: Credit {
                events: CREDIT_EVENTS,
                bytes: CREDIT_BYTES,
            },
            on: Vec::new(),
            outbound: Vec::new(),
            tools: Vec::new(),
            engines: Vec::new(),
            extra: Vec::new(),
            hooks: Hooks {
                on_start: None,
                on_stop: None,
                on_config: None,
                on_pause: None,
                on_resume: None,
                check_config: Arc::new(|_| Ok(())),
            },
            manifest_kinds: Vec::new(),
            manifest_tools: Vec::new(),
            unique_keys: Vec::new(),
            fault: None,
            core: InstanceCore::new(plugin_hub()),
        }
    }

    /// Begins a plugin from the text of its manifest, `plugin.toml` or `nexo-plugin.toml`.
    ///
    /// Its `[[pollers]]` need no code and are there already. A bad manifest is an error when the plugin is run.
    pub fn from_manifest(text: &str) -> Self {
        // A foreign manifest names what ours does not have; the first that fits is taken.
        let parsed = Manifest::parse(text)
            .or_else(|native| Manifest::parse_foreign(text).map_err(|_| native));
        match parsed {
            Ok(parsed) => {
                let manifest = parsed.value;
                let mut plugin = Self::new(manifest.id.clone());
                plugin.manifest_kinds = manifest.kinds().map(str::to_owned).collect();
                let tools = manifest.tools.iter();
                plugin.manifest_tools = tools.map(|tool| tool.declaration.name.clone()).collect();
                let unique = manifest.config.keys.iter().filter(|(_, key)| key.unique);
                plugin.unique_keys = unique.map(|(name, _)| name.clone()).collect();
                let pollers = manifest.pollers.into_iter().map(crate::poll::declared);
                let plugin = pollers.fold(plugin, Self::poll);
                plugin.version(manifest.version)
            }
            Err(diagnostics) => {
                let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
                let mut plugin = Self::new("");
                plugin.fault = Some(Error::new(Code::ConfigInvalid, lines.join("\n")));
                plugin
            }
        }
    }

    /// Says which version this is.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.identity.version = version.into();
        self
    }

    /// Says how many events, and how many bytes of them, it takes at a time.
    pub fn credit(mut self, events: u32, bytes: u64) -> Self {
        self.accepts = Credit { events, bytes };
        self
    }

    /// Adds a handler for topics.
    pub fn on(mut self, on: On) -> Self {
        self.on.push(on);
        self
    }

    /// Adds a handler that sends outside.
    pub fn outbound(mut self, outbound: Outbound) -> Self {
        self.outbound.push(outbound);
        self
    }

    /// Adds a tool that others may call.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Adds a handler for what a provider sends.
    pub fn webhook(self, webhook: Webhook) -> Self {
        self.engine(webhook.registered())
    }

    /// Adds a handler for a timer, and sets the timer if it has a schedule.
    pub fn timer(self, timer: Timer) -> Self {
        self.engine(timer.registered())
    }

    /// Adds a handler for what somebody else is asked for, again and again.
    pub fn poll(self, poll: Poll) -> Self {
        self.engine(poll.registered())
    }

    /// The timers to set at each start.
    pub(crate) fn timers(&self) -> Vec<trunkline_contract::rpc::TimerSetParams> {
        let timers = self.made().flat_map(|engine| engine.timers.iter().cloned());
        timers.collect()
    }

    /// Keeps a connection, and handles what comes on it.
    pub fn connect(self, connect: Connect) -> Self {
        self.engine(connect.registered())
    }

    /// The connections to keep.
    pub(crate) fn connections(&self) -> Connections {
        let declared = self.made().filter_map(|engine| engine.connect.clone());
        Connections::new(declared.collect())
    }

    /// The manifest's keys that name an account.
    pub(crate) fn unique_keys(&self) -> Vec<String> {
        self.unique_keys.clone()
    }

    /// Adds a function that puts parts together.
    pub fn assemble(self, assemble: Assemble) -> Self {
        self.engine(assemble.registered())
    }

    /// Adds what a pattern made of the author's options.
    pub(crate) fn engine(mut self, engine: Registered) -> Self {
        self.engines.push(engine);
        self
    }

    /// What a pattern made, as far as it could.
    fn made(&self) -> impl Iterator<Item = &Engine> {
        self.engines
            .iter()
            .filter_map(|engine| engine.as_ref().ok())
    }

    /// What its patterns registered, such as `webhook github` and `assembler sms`.
    pub(crate) fn engine_names(&self) -> Vec<String> {
        self.made().map(|engine| engine.name.clone()).collect()
    }

    /// The webhooks to declare.
    pub(crate) fn webhooks(&self) -> Vec<trunkline_contract::webhook::Webhook> {
        let declared = self.made().filter_map(|engine| engine.webhook.clone());
        declared.collect()
    }

    /// The kinds of its channels that have webhooks.
    #[cfg(feature = "testing")]
    pub(crate) fn hook_kinds(&self) -> impl Iterator<Item = &str> {
        let hooks = self
            .made()
            .filter(|engine| engine.name.starts_with("webhook "));
        hooks.map(|engine| &*engine.kind)
    }

    /// Checks the config's shape when the instance is initialized: it is a `C`.
    pub fn config<C: DeserializeOwned>(mut self) -> Self {
        self.hooks.check_config = Arc::new(|config| {
            C::deserialize(config).map(drop).map_err(|error| {
                Error::new(
                    Code::ConfigInvalid,
                    format!("the config does not fit: {error}"),
                )
            })
        });
        self
    }

    /// Runs at each activation; what it returns is `ctx.state()`. Nothing outside is opened before.
    pub fn on_start<F, R, S>(mut self, hook: F) -> Self
    where
        F: Fn(InstanceContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<S>> + Send + 'static,
        S: Serialize,
    {
        self.hooks.on_start = Some(Arc::new(move |ctx, _| {
            let started = hook(ctx);
            Box::pin(async move { state_of(started.await?) })
        }));
        self
    }

    /// Runs once for each start: on deactivation, shutdown, the end of the link, and SIGTERM.
    pub fn on_stop<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(InstanceContext, String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.on_stop = Some(text_hook(hook));
        self
    }

    /// Runs with a new config, and accepts it by returning; [`Reject`](crate::Reject) keeps the old.
    pub fn on_config<C, F, R>(mut self, hook: F) -> Self
    where
        C: DeserializeOwned + Send + 'static,
        F: Fn(InstanceContext, C) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.on_config = Some(Arc::new(move |ctx, config| match C::deserialize(config) {
            Ok(config) => {
                let accepted = hook(ctx, config);
                Box::pin(async move { accepted.await.map(|()| Json::Null) })
            }
            Err(error) => Box::pin(async move { Err(Failure::from(error)) }),
        }));
        self
    }

    /// Runs when the operator pauses the instance: no new events come.
    pub fn on_pause<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(InstanceContext, String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.on_pause = Some(text_hook(hook));
        self
    }

    /// Runs when a pause ends.
    pub fn on_resume<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(InstanceContext, String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.on_resume = Some(text_hook(hook));
        self
    }

    /// Gives the id.
    pub fn id(&self) -> &str {
        &self.identity.id
    }

    /// The same plugin for another instance, or another life.
    pub(crate) fn again(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            accepts: self.accepts,
            on: self.on.clone(),
            outbound: self.outbound.clone(),
            tools: self.tools.clone(),
            engines: self.engines.clone(),
            extra: self.extra.clone(),
            hooks: self.hooks.clone(),
            manifest_kinds: self.manifest_kinds.clone(),
            manifest_tools: self.manifest_tools.clone(),
            unique_keys: self.unique_keys.clone(),
            fault: self.fault.clone(),
            core: InstanceCore::new(plugin_hub()),
        }
    }

    /// The filters of its own subscriptions.
    #[cfg(feature = "testing")]
    pub(crate) fn filters(&self) -> impl Iterator<Item = &str> {
        self.on
            .iter()
            .flat_map(|on| on.filters.iter().map(String::as_str))
    }

    /// Adds a handler for everything that no other one is for.
    pub(crate) fn rest(mut self, work: Work) -> Self {
        self.extra.push(Route {
            name: None,
            filters: vec![Filter::parse(">").expect("a valid filter")],
            mode: Mode::On,
            timeout: Duration::from_millis(HANDLER_TIMEOUT_MS),
            is_manual: false,
            work,
            takes: None,
        });
        self
    }

    /// Finds what is wrong with it; also done before anything starts.
    ///
    /// # Errors
    /// The first option that does not hold: what was expected, and what was found.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if !trunkline_contract::id::is_plugin_id(&self.identity.id) {
            let text = format!(
                "expected a plugin id like `telegram`, found {:?}",
                self.identity.id
            );
            return Err(Error::new(Code::InvalidArguments, text));
        }
        self.outbound.iter().try_for_each(Outbound::check)?;
        self.on.iter().try_for_each(On::check)?;
        for tool in &self.tools {
            tool.clone().declared()?;
        }
        if let Some(error) = self.engines.iter().find_map(|engine| engine.as_ref().err()) {
            return Err(error.clone());
        }
        self.check_adapted()?;
        if self.tools.len() > TOOLS_MAX {
            let text = format!(
                "expected at most {TOOLS_MAX} tools, found {}",
                self.tools.len()
            );
            return Err(Error::new(Code::QuotaExceeded, text));
        }
        let mut names: Vec<_> = self.on.iter().map(On::name_or_filter).collect();
        names.extend(
            self.outbound
                .iter()
                .map(|outbound| format!("outbound {}", outbound.kind)),
        );
        names.extend(
            self.tools
                .iter()
                .map(|tool| format!("tool {}", tool.name())),
        );
        names.extend(self.made().map(|engine| engine.name.clone()));
        names.sort();
        if let Some(twice) = names
            .windows(2)
            .find_map(|pair| (pair[0] == pair[1]).then(|| &pair[0]))
        {
            let text = format!("two handlers are named {twice:?}; say `.name(…)` at one");
            return Err(Error::new(Code::InvalidArguments, text));
        }
        Ok(())
    }

    /// A call of a declared tool is no event: one function for all events would never see it.
    fn check_adapted(&self) -> Result<(), Error> {
        let mut declared = self.manifest_tools.iter();
        let unserved = declared.find(|name| !self.tool_names().any(|tool| tool == *name));
        match unserved {
            Some(name) if !self.extra.is_empty() => {
                let topic = format!("plugin.tool.{}.{name}", self.identity.id);
                let text = format!(
                    "expected a manifest without tools for an adapter, found the tool {name:?}, \
                     whose calls are no events\n\
                     hint: serve it with `Plugin`, or take it out of [[tools]], subscribe to {topic}, \
                     and publish answers on {topic}.reply"
                );
                Err(Error::new(Code::ConfigInvalid, text))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn declared(
        &self,
    ) -> Result<(PluginSection, Credit, Vec<SubscriptionDeclaration>), Error> {
        let subscriptions = self
            .on
            .iter()
            .map(On::declaration)
            .collect::<Result<_, _>>()?;
        Ok((self.identity.clone(), self.accepts, subscriptions))
    }

    /// The kinds of its channels: those of the manifest, else those it has handlers for.
    pub(crate) fn kinds(&self) -> Vec<String> {
        if self.manifest_kinds.is_empty() {
            let outbound = self.outbound.iter().map(|outbound| outbound.kind.clone());
            let engines = self.made().map(|engine| engine.kind.clone());
            let engines = engines.filter(|kind| !kind.is_empty());
            let mut kinds: Vec<_> = outbound.chain(engines).collect();
            let mut known = std::collections::BTreeSet::new();
            kinds.retain(|kind| known.insert(kind.clone()));
            kinds
        } else {
            self.manifest_kinds.clone()
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<Route>, Vec<Tool>, Hooks) {
        let engines = self.engines.into_iter().flatten();
        let mut made: Vec<Route> = engines.flat_map(|engine| engine.routes).collect();
        // The one that takes only some comes before the one that takes what is left.
        made.sort_by_key(|route| route.takes.is_none());
        let routes = self
            .on
            .into_iter()
            .map(On::into_route)
            .chain(self.outbound.into_iter().map(Outbound::into_route))
            .chain(made.into_iter().map(Ok))
            .chain(self.extra.into_iter().map(Ok))
            .collect::<Result<Vec<_>, Error>>()
            .expect("the options were checked before");
        (routes, self.tools, self.hooks)
    }

    /// The names of its tools.
    pub(crate) fn tool_names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(Tool::name)
    }
}

fn text_hook<F, R>(hook: F) -> Hook
where
    F: Fn(InstanceContext, String) -> R + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |ctx, reason| {
        let done = hook(ctx, reason.as_str().unwrap_or_default().to_owned());
        Box::pin(async move { done.await.map(|()| Json::Null) })
    })
}
