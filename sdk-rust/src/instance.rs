//! One plugin instance: its identity, config and state, and the lifecycle that the broker leads it
//! through.
//!
//! `initialize` → standby → `instance.activate` → `on_start` → ready → `instance.deactivate` →
//! standby; `shutdown`, the end of the link, and a stop from outside all end in one drain and one
//! `on_stop`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, json};
use tokio::sync::mpsc;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    self, ActivateParams, ConfigUpdateParams, ConnectParams, Credit, DeactivateParams,
    InitializeParams, InitializeResult, PauseParams, PluginIdentity, PluginSection, ProtocolRange,
    ReportedState, Secrets, ShutdownParams, ShutdownResult, StatusParams, SubscriptionDeclaration,
    TimerSetParams, TimerSetResult, method,
};
use trunkline_contract::webhook::Webhook;

use crate::connect::Connections;
use crate::context::InstanceContext;
use crate::dispatch::Dispatcher;
use crate::hub::{Hub, Role};
use crate::link::{Inbound, Link, Request, drive};
use crate::outcome::{Failure, Reject};
use crate::panic::Guarded;
use crate::payload::Json;
use crate::plugin::{Hook, Hooks, Plugin};
use crate::report::Report;
use crate::webhook::declared;

mod core;
pub(crate) use self::core::InstanceCore;

/// How long handlers may finish when nobody says otherwise.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);
/// How long `on_stop` may take when nobody says otherwise.
const STOP: Duration = Duration::from_secs(10);
/// How long connections may take to end when there is no link to the broker.
const LINKLESS: Duration = Duration::from_secs(2);
/// Requests that may wait while a hook runs; beyond, the broker is told to come again.
const REQUESTS_MAX: usize = 64;

/// A plugin that is being served, on one link after the other.
pub(crate) struct Instance {
    identity: PluginSection,
    accepts: Credit,
    subscriptions: Vec<SubscriptionDeclaration>,
    hooks: Hooks,
    core: Arc<InstanceCore>,
    dispatcher: Arc<Dispatcher>,
    webhooks: Vec<Webhook>,
    /// Names of what its patterns registered.
    engines: Vec<String>,
    timers: Vec<TimerSetParams>,
    connections: Connections,
    /// `on_start` was called and `on_stop` was not.
    is_started: Mutex<bool>,
}

/// How serving on one link ended.
enum End {
    /// The broker asked for it, and waits for an answer.
    Asked(Request, ShutdownParams),
    /// The link is gone.
    Lost(Error),
    /// Somebody outside wants it.
    Stopped,
}

/// What ended a link, for whoever could make another one.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The instance is to end.
    Wanted,
    /// The link was lost.
    Lost(Error),
}

/// Hears whether the broker took the beginning of a link.
pub(crate) type Opened<'a> = dyn Fn(Result<(), &Error>) + Send + Sync + 'a;

/// The instance on the link it has now.
struct Served<'a> {
    instance: &'a Instance,
    link: Arc<Link>,
}

impl std::ops::Deref for Served<'_> {
    type Target = Instance;
    fn deref(&self) -> &Instance {
        self.instance
    }
}

impl Instance {
    /// Prepares a plugin to be served.
    pub(crate) fn new(plugin: Plugin) -> Result<Self, Error> {
        crate::panic::install();
        plugin.check()?;
        let core = plugin.core.clone();
        core.serve_kinds(plugin.kinds());
        core.name_accounts_by(plugin.unique_keys());
        let (identity, accepts, subscriptions) = plugin.declared()?;
        let webhooks = plugin.webhooks();
        let timers = plugin.timers();
        let connections = plugin.connections();
        core.keep(&connections);
        let engines = plugin.engine_names();
        let (mut routes, tools, hooks) = plugin.into_parts();
        core.serve_routes(&routes);
        // It takes single webhooks, and so comes before whoever takes the rest of a kind.
        routes.insert(0, declared::route(&core));
        let dispatcher = Dispatcher::new(InstanceContext::new(core.clone()), routes);
        dispatcher.offer_tools(tools)?;
        core.serve_tools(&dispatcher);
        let is_started = Mutex::new(false);
        Ok(Self {
            identity,
            accepts,
            subscriptions,
            hooks,
            core,
            dispatcher,
            webhooks,
            engines,
            timers,
            connections,
            is_started,
        })
    }

    /// Says who it is, to a daemon that did not start it.
    pub(crate) fn introduction(
        &self,
        token: Option<String>,
        instance: Option<String>,
    ) -> ConnectParams {
        ConnectParams {
            role: rpc::Role::Plugin,
            token,
            name: None,
            manifest: Some(json!({ "plugin": self.identity })),
            instance,
            protocol: ProtocolRange::ours(),
        }
    }

    /// Serves on a link until it ends, or `stop` is done. An attached link begins with `opening`.
    pub(crate) async fn serve(
        &self,
        link: Arc<Link>,
        opening: Option<&ConnectParams>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, Error> {
        let opening = opening.map(|opening| (opening, None));
        self.serve_from(link, None, opening, stop).await
    }

    /// Serves on a link that was opened for it in a process that it shares; `opened` hears whether the
    /// broker takes it.
    pub(crate) async fn serve_opened(
        &self,
        link: &Arc<Link>,
        opening: &ConnectParams,
        opened: &Opened<'_>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, Error> {
        self.serve_from(link.clone(), None, Some((opening, Some(opened))), stop)
            .await
    }

    /// Serves on a link whose first request may be known.
    pub(crate) async fn serve_from(
        &self,
        link: Arc<Link>,
        first: Option<Request>,
        opening: Option<(&ConnectParams, Option<&Opened<'_>>)>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, Error> {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        if let Some(first) = first {
            queue(&link, &sender, first);
        }
        let driver = tokio::spawn({
            let (link, dispatcher) = (link.clone(), self.dispatcher.clone());
            let hub = self.core.hub().clone();
            async move {
                drive(&link, |inbound| match inbound {
                    Inbound::Event(incoming) => {
                        if let Some(incoming) = hub.offer(&link, incoming) {
                            dispatcher.dispatch(&link, incoming);
                        }
                    }
                    Inbound::Request(request) if &*request.method == method::TOOL_CALL => {
                        dispatcher.call_tool(&link, request);
                    }
                    Inbound::Request(request) => queue(&link, &sender, request),
                    Inbound::Notification { method, params }
                        if matches!(&*method, method::TOOL_CANCEL | method::TOOL_CREDIT) =>
                    {
                        if let Err(error) = dispatcher.tool_notified(&method, &params) {
                            tracing::warn!(%error, method, "A word about a call could not be read.");
                        }
                    }
                    Inbound::Notification { method, params } => {
                        notified(&link, &hub, &method, &params);
                    }
                    Inbound::Answer(_) => unreachable!("answers are given to who waits for them"),
                })
                .await;
                hub.disconnect();
            }
        });
        let served = Served {
            instance: self,
            link: link.clone(),
        };
        let result = served.run(requests, opening, stop).await;
        link.close(Error::new(Code::LinkLost, "the plugin ended"));
        if driver.await.is_err() {
            tracing::error!("The task of the link panicked.");
        }
        result
    }

    /// Ends its handlers and connections at once; for one whose link is gone already.
    pub(crate) async fn give_up(&self) {
        self.dispatcher.drain(Duration::ZERO).await;
        self.connections.stop(Duration::ZERO).await;
        self.core.hub().stop.set();
    }

    /// Says that there will be no other link.
    pub(crate) fn over(&self) {
        self.core
            .hub()
            .end(Error::new(Code::LinkLost, "the plugin ended"));
    }
}

pub(crate) fn queue(link: &Link, sender: &mpsc::Sender<Request>, request: Request) {
    if let Err(refused) = sender.try_send(request) {
        let error = Error::new(Code::Unavailable, "too many requests wait");
        let (mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) =
            refused;
        link.answer(&request, Err::<&(), _>(&error));
    }
}

/// Takes a notification that is about no handler.
pub(crate) fn notified(link: &Link, hub: &Hub, method: &str, params: &str) {
    if method == method::BROKER_GAP {
        match serde_json::from_str::<rpc::GapParams>(params) {
            Ok(gap) => {
                let (subscription, count) = (gap.subscription, gap.count);
                let (from, to) = (gap.from, gap.to);
                tracing::warn!(subscription, count, from, to, "Events were skipped: a gap.");
                link.ack(&gap.delivery.id);
            }
            Err(error) => tracing::warn!(%error, "A gap could not be read."),
        }
    } else {
        hub.notified(method, params);
    }
}

impl Served<'_> {
    async fn run(
        &self,
        requests: mpsc::Receiver<Request>,
        opening: Option<(&ConnectParams, Option<&Opened<'_>>)>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, Error> {
        if let Some((params, told)) = opening {
            let opened = self.link.call(method::CONNECT, params).await;
            let opened = opened.and_then(|answer| answer.parse::<rpc::ConnectResult>());
            if let Some(tell) = told {
                tell(opened.as_ref().map(drop));
            }
            opened?;
        }
        let end = self.live(requests, stop).await;
        self.end(end).await
    }

    /// Goes through the lifecycle until something ends it.
    async fn live(
        &self,
        mut requests: mpsc::Receiver<Request>,
        stop: impl Future<Output = ()>,
    ) -> End {
        tokio::pin!(stop);
        // A start may take long, and must not keep a shutdown waiting.
        let mut starting: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
        loop {
            let request = tokio::select! {
                biased;
                () = &mut stop => return End::Stopped,
                request = requests.recv() => request,
                () = async { starting.as_mut().expect("guarded").await }, if starting.is_some() => {
                    starting = None;
                    continue;
                }
            };
            let Some(request) = request else {
                let lost = Error::new(Code::LinkLost, "the link to the broker is gone");
                return End::Lost(self.link.closed().unwrap_or(lost));
            };
            match &*request.method {
                method::INITIALIZE => match self.initialize(&request) {
                    Ok(result) => self.link.answer(&request, Ok(&result)),
                    Err(error) => {
                        tracing::error!(%error, "The broker's config was refused.");
                        self.link.answer(&request, Err::<&(), _>(&error));
                    }
                },
                method::INSTANCE_ACTIVATE => match params::<ActivateParams>(&request) {
                    Ok(_) => {
                        self.ok(&request);
                        starting = Some(Box::pin(self.start()));
                    }
                    Err(error) => self.link.answer(&request, Err::<&(), _>(&error)),
                },
                method::INSTANCE_DEACTIVATE => match params::<DeactivateParams>(&request) {
                    Ok(params) => {
                        starting = None;
                        let patience = Duration::from_millis(params.timeout_ms);
                        self.dispatcher.drain(patience).await;
                        let stopped = self.stop(&params.reason, patience).await;
                        // After what the handlers have settled: the broker takes nothing after it.
                        let nothing = stopped.as_ref().map(|()| &crate::kv::NOTHING);
                        self.link.answer_data(&request, nothing);
                    }
                    Err(error) => self.link.answer(&request, Err::<&(), _>(&error)),
                },
                method::INSTANCE_PAUSE => {
                    self.connections.stop(DRAIN).await;
                    self.hook(&request, self.hooks.on_pause.as_ref()).await;
                }
                method::INSTANCE_RESUME => {
                    self.hook(&request, self.hooks.on_resume.as_ref()).await;
                    self.connections.start(&self.ctx(), &self.link);
                }
                method::CONFIG_UPDATE => {
                    let verdict = self.update(&request).await;
                    match &verdict {
                        Ok(()) => self.ok(&request),
                        Err(error) => self.link.answer(&request, Err::<&(), _>(error)),
                    }
                }
                method::SHUTDOWN => match params(&request) {
                    Ok(params) => return End::Asked(request, params),
                    Err(error) => self.link.answer(&request, Err::<&(), _>(&error)),
                },
                other => {
                    let text = format!("this plugin does not know the method {other:?}");
                    let error = Error::new(Code::NotImplemented, text);
                    self.link.answer(&request, Err::<&(), _>(&error));
                }
            }
        }
    }

    fn ok(&self, request: &Request) {
        self.link.answer(request, Ok(&crate::kv::NOTHING));
    }

    fn initialize(&self, request: &Request) -> Result<InitializeResult, Error> {
        let params: InitializeParams = params(request)?;
        let protocol = ProtocolRange::ours().agree(&params.protocol)?;
        if params.plugin != self.identity.id {
            let text = format!(
                "expected plugin {:?}, this is {:?}",
                params.plugin, self.identity.id
            );
            return Err(Error::new(Code::ConfigInvalid, text));
        }
        let config = with_secrets(params.config, &params.secrets);
        (self.hooks.check_config)(&config)?;
        declared::check(&params.webhooks, &self.engines)?;
        self.core.name(&params.instance);
        let owner = format!("instance.{}.{}", params.plugin, params.instance);
        self.core.hub().set_owner(&owner);
        self.core.set_config(config);
        self.core.set_hooks_url(params.hooks_url);
        self.core.set_features(params.features);
        self.core.set_sources(params.webhooks);
        self.link
            .set_frame_bytes_max(params.limits.frame_bytes_max as usize);
        Ok(InitializeResult {
            manifest: PluginIdentity {
                plugin: self.identity.clone(),
            },
            server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            protocol: Some(protocol),
            accepts: Some(self.accepts),
            declares: self.declares(),
            subscriptions: self.subscriptions.clone(),
        })
    }

    /// What is said beside the manifest: the tools and the webhooks.
    fn declares(&self) -> Option<Json> {
        let mut declares = Map::new();
        let tools = self.dispatcher.tools();
        if !tools.is_empty() {
            declares.insert("tools".to_owned(), json!(tools));
        }
        if !self.webhooks.is_empty() {
            declares.insert("webhooks".to_owned(), json!(self.webhooks));
        }
        (!declares.is_empty()).then_some(Json::Object(declares))
    }

    /// Runs `on_start`; its end is the instance's state.
    async fn start(&self) {
        self.core.hub().stop.clear();
        self.core.hub().connect(self.link.clone());
        self.dispatcher.open();
        *self
            .is_started
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.core.forget_recall();
        let result = match &self.hooks.on_start {
            Some(hook) => run(hook(self.ctx(), Json::Null)).await,
            None => Ok(Json::Null),
        };
        self.core.hub().started();
        let result = match (result, self.set_timers().await) {
            (Ok(_), Err(error)) => Err(error.into()),
            (result, _) => result,
        };
        let status = match result {
            Ok(state) => {
                self.core.set_state(state);
                StatusParams {
                    state: ReportedState::Ready,
                    reason: None,
                    retry_after_ms: None,
                    attempt: None,
                    url: None,
                }
            }
            Err(failure) => {
                tracing::error!(?failure, "The start failed.");
                Report::of_start(&failure).map_or_else(
                    || StatusParams {
                        state: ReportedState::RetryLater,
                        reason: Some(format!("{failure:?}")),
                        retry_after_ms: None,
                        attempt: None,
                        url: None,
                    },
                    |report| report.0,
                )
            }
        };
        let is_ready = status.state == ReportedState::Ready;
        self.link.notify(method::INSTANCE_STATUS, &status);
        if is_ready {
            self.connections.start(&self.ctx(), &self.link);
        }
    }

    /// Sets the timers of the plugin itself; one that is as it was keeps its beat.
    async fn set_timers(&self) -> Result<(), Error> {
        for params in &self.timers {
            let _: TimerSetResult = self.core.hub().call(method::TIMER_SET, params).await?;
        }
        Ok(())
    }

    /// Runs `on_stop`, if `on_start` ran and it was not run since.
    async fn stop(&self, reason: &str, patience: Duration) -> Result<(), Error> {
        // Nothing can be committed any more once the link is gone.
        let is_linked = self.link.closed().is_none();
        let goodbye = if is_linked { patience } else { LINKLESS };
        self.connections.stop(goodbye).await;
        self.core.hub().stop.set();
        let was_started = std::mem::replace(
            &mut *self
                .is_started
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            false,
        );
        let Some(hook) = self.hooks.on_stop.as_ref().filter(|_| was_started) else {
            return Ok(());
        };
        let stopping = run(hook(self.ctx(), Json::String(reason.to_owned())));
        match tokio::time::timeout(patience, stopping).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => {
                tracing::error!(?failure, "The stop failed.");
                Err(Error::new(
                    Code::Internal,
                    format!("on_stop failed: {failure:?}"),
                ))
            }
            Err(_) => {
                let text = format!("on_stop did not end within {patience:?}");
                tracing::error!("{text}.");
                Err(Error::new(Code::TimedOut, text))
            }
        }
    }

    /// Ends it all, once: drain, `on_stop`, the answer.
    async fn end(&self, end: End) -> Result<Ended, Error> {
        let (reason, patience) = match &end {
            End::Asked(_, params) => (
                params.reason.clone(),
                Duration::from_millis(params.timeout_ms),
            ),
            End::Lost(_) => ("the link to the broker is gone".to_owned(), DRAIN),
            End::Stopped => ("the process was asked to stop".to_owned(), DRAIN),
        };
        self.dispatcher.drain(patience).await;
        // What the handlers said must be answered before the link goes away.
        self.link.quiesce(patience).await;
        let stopped = self
            .stop(&reason, patience.min(STOP).max(Duration::from_secs(1)))
            .await;
        match end {
            End::Asked(request, _) => {
                match &stopped {
                    Ok(()) => self.link.answer(&request, Ok(&ShutdownResult { ok: true })),
                    Err(error) => self.link.answer(&request, Err::<&(), _>(error)),
                }
                self.link.quiesce(Duration::from_secs(1)).await;
                stopped.map(|()| Ended::Wanted)
            }
            End::Lost(error) if error.code != Code::LinkLost => Err(error),
            End::Lost(error) => stopped.map(|()| Ended::Lost(error)),
            End::Stopped => stopped.map(|()| Ended::Wanted),
        }
    }

    async fn update(&self, request: &Request) -> Result<(), Error> {
        let params: ConfigUpdateParams = params(request)?;
        let config = with_secrets(params.config, &params.secrets);
        (self.hooks.check_config)(&config)?;
        let Some(hook) = &self.hooks.on_config else {
            let text = "this plugin takes a new config by a restart";
            return Err(Error::new(Code::NotImplemented, text));
        };
        match run(hook(self.ctx(), config.clone())).await {
            Ok(_) => {
                self.core.set_config(config);
                Ok(())
            }
            Err(failure) => {
                let message = failure
                    .is::<Reject>()
                    .map_or_else(|| format!("{failure:?}"), |reject| reject.reason.clone());
                Err(Error::new(Code::ConfigInvalid, message))
            }
        }
    }

    async fn hook(&self, request: &Request, hook: Option<&Hook>) {
        let reason = params::<PauseParams>(request)
            .map(|params| params.reason)
            .unwrap_or_default();
        let result = match hook {
            Some(hook) => run(hook(self.ctx(), Json::String(reason))).await.map(drop),
            None => Ok(()),
        };
        match result {
            Ok(()) => self.ok(request),
            Err(failure) => {
                tracing::error!(?failure, "A hook failed.");
                let error = Error::new(Code::Internal, format!("{failure:?}"));
                self.link.answer(request, Err::<&(), _>(&error));
            }
        }
    }

    fn ctx(&self) -> InstanceContext {
        InstanceContext::new(self.core.clone())
    }
}

/// Runs a hook; its panics are failures.
async fn run(hook: crate::plugin::HookFuture) -> Result<Json, Failure> {
    Guarded(hook).await.and_then(|result| result)
}

pub(crate) fn params<'a, T: serde::Deserialize<'a>>(request: &'a Request) -> Result<T, Error> {
    serde_json::from_str(&request.params)
        .map_err(|error| Error::new(Code::InvalidArguments, error.to_string()))
}

/// Puts the values of secrets where the config names them.
fn with_secrets(config: Map<String, Json>, secrets: &Secrets) -> Json {
    fn fill(value: &mut Json, secrets: &Secrets) {
        match value {
            Json::Object(members) => {
                let named = match members.get("$secret") {
                    Some(Json::String(name)) if members.len() == 1 => secrets.0.get(name),
                    _ => None,
                };
                if let Some(secret) = named {
                    *value = Json::String(secret.clone());
                } else {
                    members
                        .values_mut()
                        .for_each(|member| fill(member, secrets));
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| fill(item, secrets)),
            _ => {}
        }
    }
    let mut config = Json::Object(config);
    fill(&mut config, secrets);
    config
}

/// Keeps hooks generic over what they return.
pub(crate) fn state_of(value: impl Serialize) -> Result<Json, Failure> {
    Ok(serde_json::to_value(value)?)
}

/// The role that instances of plugins have.
pub(crate) fn plugin_hub() -> Arc<Hub> {
    Hub::new(Role::Plugin)
}
