//! What a handler or hook can reach: the instance it works for, and the event being handled.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    KvScope, ReportedState, StatusParams, ToolRegisterParams, ToolUnregisterParams, method,
};

use crate::batch::Batch;
use crate::connect::{Conn, FromSocket};
use crate::event::Event;
use crate::http::Http;
use crate::hub::{Hub, Stop};
use crate::incoming::{DeliveryInfo, Incoming};
use crate::instance::InstanceCore;
use crate::kv::Kv;
use crate::link::Link;
use crate::listener::Listener;
use crate::lock::Acquire;
use crate::log::Log;
use crate::outcome::{Reject, Reply, Result, Retry};
use crate::payload::{Bytes, Json};
use crate::progress::Progress;
use crate::publish::{Committed, Publish, Published, Said, Scope, channel, commit};
use crate::receipt::PartOf;
use crate::sending::SendMessage;
use crate::settle::{Mode, nak_item, nak_params, reject_item, reject_params, reply_to};
use crate::timer::Timers;
use crate::tool::{Serving, Tool, ToolCall};

/// Reaches the broker on behalf of one instance; lives as long as the instance.
///
/// Hooks get it, and every [`Context`] is one. Cloning is cheap.
#[derive(Clone)]
pub struct InstanceContext {
    core: Arc<InstanceCore>,
}

impl InstanceContext {
    pub(crate) fn new(core: Arc<InstanceCore>) -> Self {
        Self { core }
    }

    pub(crate) fn instance_core(&self) -> &Arc<InstanceCore> {
        &self.core
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        self.core.hub()
    }

    pub(crate) fn only_kind(&self) -> Result<&str, Error> {
        self.core.only_kind()
    }

    /// Publishes an event: set options on what this gives, then await it.
    pub fn publish(&self, topic: impl Into<String>, payload: impl Serialize) -> Publish {
        Publish::new(Scope::Instance(self.clone()), topic, payload)
    }

    /// Commits drafts now, all or none.
    ///
    /// Cancel safety: dropped while it waits, it may or may not have happened.
    pub async fn emit(&self, batch: impl Into<Batch>) -> Result<Committed, Error> {
        commit(&Scope::Instance(self.clone()), batch.into()).await
    }

    /// Sends a message outside, through a channel of this kind.
    pub fn send(&self, kind: impl Into<String>, message: impl Serialize) -> SendMessage {
        SendMessage::new(Scope::Instance(self.clone()), kind.into(), message)
    }

    /// Calls a tool: set options on what this gives, then await it for the result.
    pub fn call_tool<T: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        arguments: impl Serialize,
    ) -> ToolCall<T> {
        ToolCall::new(Scope::Instance(self.clone()), name.into(), arguments)
    }

    /// Offers tools from now on, each in place of the one of its name; all of them, or none.
    ///
    /// # Errors
    /// What is wrong with a tool; `declaration_conflict` when the manifest says otherwise.
    pub async fn register_tools(&self, tools: impl IntoIterator<Item = Tool>) -> Result<(), Error> {
        let dispatcher = self.core.dispatcher()?;
        let params = ToolRegisterParams {
            tools: dispatcher.offer_tools(tools.into_iter().collect())?,
        };
        let registered: Result<Json, Error> = self.hub().call(method::TOOL_REGISTER, &params).await;
        if registered.is_err() {
            let names: Vec<_> = params.tools.into_iter().map(|tool| tool.name).collect();
            dispatcher.withdraw_tools(&names);
        }
        registered.map(drop)
    }

    /// Offers tools no longer; calls of them that run go on.
    ///
    /// # Errors
    /// `declaration_conflict` for a tool of the manifest.
    pub async fn unregister_tools<N: Into<String>>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let dispatcher = self.core.dispatcher()?;
        let params = ToolUnregisterParams { names };
        let _: Json = self.hub().call(method::TOOL_UNREGISTER, &params).await?;
        dispatcher.withdraw_tools(&params.names);
        Ok(())
    }

    /// Gives this instance's state store (a client's: the client's).
    pub fn kv(&self) -> Kv {
        Kv::new(self.hub().clone(), self.hub().own_scope(), None)
    }

    /// Gives the broker's blobs: large content by reference.
    pub fn blob(&self) -> crate::blob::Blobs {
        crate::blob::Blobs::new(self.hub().clone())
    }

    /// Gives the client for HTTP servers outside.
    pub fn http(&self) -> Http {
        Http::new(self.core.clone(), None)
    }

    /// Gives the instance's timers: the broker keeps them, and tells by an event when one is due.
    pub fn timer(&self) -> Timers {
        Timers::new(self.hub().clone())
    }

    /// Takes a lock: a named right across processes and hosts.
    pub fn lock(&self, name: impl Into<String>) -> Acquire {
        Acquire::new(self.hub().clone(), name.into())
    }

    /// Reads the instance's config as a `C`; secrets stand in it as plain text.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        let config = self.core.config();
        C::deserialize(&*config).map_err(|error| Error::new(Code::ConfigInvalid, error.to_string()))
    }

    /// Reads what `on_start` returned as a `S`.
    pub fn state<S: DeserializeOwned>(&self) -> Result<S, Error> {
        let state = self.core.state();
        S::deserialize(&*state).map_err(|error| {
            Error::new(
                Code::InvalidPayload,
                format!("the state does not fit: {error}"),
            )
        })
    }

    /// Gives the account's label; a client's name for a client.
    pub fn instance(&self) -> &str {
        self.core.instance()
    }

    /// Writes a line to the instance's log.
    pub fn log(&self) -> Log {
        Log::new(self.hub().clone())
    }

    /// Tells how far a long start is; the start limit begins anew with each.
    pub fn progress(&self) -> Progress {
        Progress::new(self.hub().clone())
    }

    /// Reports that the instance serves, with restrictions.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.status(ReportedState::Degraded, Some(reason.into()), None, None);
    }

    /// Reports that a connection is away: which attempt it is, and in how many ms the next one is made.
    pub(crate) fn trying(&self, reason: String, attempt: u32, next_ms: Option<u64>) {
        let state = ReportedState::Degraded;
        self.status(state, Some(reason), Some(attempt), next_ms);
    }

    /// Reports that the instance serves without restrictions again.
    pub fn ready(&self) {
        self.status(ReportedState::Ready, None, None, None);
    }

    fn status(
        &self,
        state: ReportedState,
        reason: Option<String>,
        attempt: Option<u32>,
        retry_after_ms: Option<u64>,
    ) {
        if let Some(link) = self.hub().link() {
            let params = StatusParams {
                state,
                reason,
                retry_after_ms,
                attempt,
                url: None,
            };
            link.notify(method::INSTANCE_STATUS, &params);
        }
    }

    /// Gives the public address of a webhook of this instance; none where the daemon serves no HTTP.
    ///
    /// # Arguments
    /// * `name` - the webhook's name, empty for one without; `kind/name` where the plugin has several kinds.
    pub fn hook_url(&self, name: &str) -> Option<String> {
        self.core.hook_url(None, name)
    }

    /// Gives the socket for an HTTP server of the plugin's own, which the daemon made: who connects while
    /// the plugin restarts waits in it.
    ///
    /// # Errors
    /// `not_found` where plugin.toml does not ask for `http_server`, or the operator does not grant it.
    pub fn listener(&self) -> Result<Listener, Error> {
        crate::listener::inherited()
    }

    /// Gives the connection that the plugin keeps; where it keeps several, that of the only kind.
    pub fn conn(&self) -> Conn {
        Conn::new(self.core.connection(None), None)
    }

    /// Says whether the instance is to stop.
    pub fn is_stopped(&self) -> bool {
        self.hub().stop.is_set()
    }

    /// Waits until the instance is to stop. Tasks begun in `on_start` end by it.
    pub async fn stopped(&self) {
        self.hub().stop.wait().await;
    }

    /// Speaks any method of the contract: the way out where this API has no name for it.
    pub async fn request<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, Error> {
        self.hub().call(method, params).await
    }
}

impl std::fmt::Debug for InstanceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceContext")
            .field("instance", &self.instance())
            .finish_non_exhaustive()
    }
}

/// One event being handled.
pub(crate) struct Handling {
    pub(crate) instance: InstanceContext,
    pub(crate) link: Arc<Link>,
    pub(crate) incoming: Box<Incoming>,
    pub(crate) mode: Mode,
    pub(crate) is_manual: bool,
    pub(crate) deadline: Instant,
    pub(crate) said: Said,
    /// Shared with what is handled as a part of it.
    pub(crate) cancelled: Arc<Stop>,
    pub(crate) settled: Stop,
    /// What is handled is a call of a tool.
    pub(crate) call: Option<Box<Serving>>,
    /// The channel's kind, where the topic does not say it.
    pub(crate) kind: Option<Box<str>>,
    /// Which socket the frame came from, if it is one.
    pub(crate) from: Option<Arc<FromSocket>>,
    /// It is one of the messages that a longer one was cut into.
    pub(crate) split: Option<PartOf>,
    claimed: AtomicBool,
}

impl Handling {
    pub(crate) fn new(
        instance: InstanceContext,
        link: Arc<Link>,
        incoming: Box<Incoming>,
        mode: Mode,
        is_manual: bool,
        deadline: Instant,
    ) -> Self {
        Self {
            instance,
            link,
            incoming,
            mode,
            is_manual,
            deadline,
            said: Said::default(),
            cancelled: Arc::default(),
            settled: Stop::default(),
            call: None,
            kind: None,
            from: None,
            split: None,
            claimed: AtomicBool::new(false),
        }
    }

    /// Takes the right to settle the delivery; only one outcome has it.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn unclaim(&self) {
        self.claimed.store(false, Ordering::Release);
    }
}

/// Reaches the broker while one event is handled. It is an [`InstanceContext`] too.
///
/// ```
/// use trunkline::{Context, InboundMessage, Reply, Result};
///
/// async fn answer(message: InboundMessage, ctx: Context) -> Result<Reply> {
///     let turns = ctx.session().kv().update("turns", |n: Option<u64>| n.unwrap_or(0) + 1).await?;
///     Ok(Reply::new(format!("{turns}: {}", message.text.unwrap_or_default())))
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    handling: Arc<Handling>,
}

impl Deref for Context {
    type Target = InstanceContext;
    fn deref(&self) -> &InstanceContext {
        &self.handling.instance
    }
}

impl Context {
    pub(crate) fn new(handling: Handling) -> Self {
        Self {
            handling: Arc::new(handling),
        }
    }

    pub(crate) fn handling(&self) -> &Handling {
        &self.handling
    }

    fn scope(&self) -> Scope {
        Scope::Handling(self.clone())
    }

    /// Gives the envelope of the event being handled, its payload undecoded.
    pub fn event(&self) -> Result<Event, Error> {
        self.handling.incoming.event()
    }

    /// Gives the envelope's text as it came.
    pub fn raw(&self) -> &str {
        self.handling.incoming.raw()
    }

    /// Gives the payload's JSON text.
    pub fn payload_text(&self) -> &str {
        self.handling.incoming.payload()
    }

    #[cfg(feature = "host")]
    pub(crate) fn is_wide(&self) -> bool {
        self.handling.incoming.is_wide()
    }

    /// Gives the ordering key: the session within its kind and instance on the channels' topics.
    pub fn session_key(&self) -> Option<String> {
        self.handling.incoming.session_key()
    }

    /// Gives the event's id.
    pub fn event_id(&self) -> &str {
        self.handling.incoming.id()
    }

    /// Gives the topic the event came on.
    pub fn topic(&self) -> &str {
        self.handling.incoming.topic()
    }

    /// Gives the channel's kind, where the topic belongs to one.
    pub fn kind(&self) -> Option<&str> {
        let named = self.handling.kind.as_deref();
        named.or_else(|| channel(self.topic()).map(|(kind, _)| kind))
    }

    /// Gives the public address of a webhook; that of this event's kind, where the plugin has several.
    pub fn hook_url(&self, name: &str) -> Option<String> {
        let kind = self.kind();
        self.instance_core().hook_url(kind, name)
    }

    /// Gives this kind's connection; while a frame is handled, the socket it came from.
    pub fn conn(&self) -> Conn {
        let connection = self.instance_core().connection(self.kind());
        Conn::new(connection, self.handling.from.clone())
    }

    /// Says which attempt this is; none for an ephemeral event, which has only one.
    pub fn delivery(&self) -> Option<&DeliveryInfo> {
        self.handling.incoming.delivery()
    }

    /// Gives the conversation that the event belongs to.
    pub fn session(&self) -> Session {
        Session { ctx: self.clone() }
    }

    /// Writes a line to the instance's log that names the trace of this event, if it has one.
    pub fn log(&self) -> Log {
        let log = self.handling.instance.log();
        match self.handling.incoming.traceparent() {
            Some(trace) => log.field("traceparent", trace),
            None => log,
        }
    }

    /// Publishes an event that this one caused: its id derives from this one's.
    pub fn publish(&self, topic: impl Into<String>, payload: impl Serialize) -> Publish {
        Publish::new(self.scope(), topic, payload)
    }

    /// Commits drafts now, all or none; returned instead, they commit with the ack.
    pub async fn emit(&self, batch: impl Into<Batch>) -> Result<Committed, Error> {
        commit(&self.scope(), batch.into()).await
    }

    /// Answers now; a [`Reply`] that is returned instead commits with the ack.
    pub async fn reply(&self, payload: impl Serialize) -> Result<Published, Error> {
        let event = reply_to(self, Reply::new(payload))?;
        let topic = event.topic.clone();
        Publish::of(self.scope(), topic, event).await
    }

    /// Sends a message outside, through a channel of this kind.
    pub fn send(&self, kind: impl Into<String>, message: impl Serialize) -> SendMessage {
        SendMessage::new(self.scope(), kind.into(), message)
    }

    /// Gives the client for HTTP servers outside; calls end with the time that is left.
    pub fn http(&self) -> Http {
        Http::new(self.instance_core().clone(), Some(self.deadline()))
    }

    /// Calls a tool on behalf of what is being handled: in its session, and in the time that is left.
    pub fn call_tool<T: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        arguments: impl Serialize,
    ) -> ToolCall<T> {
        ToolCall::new(self.scope(), name.into(), arguments)
    }

    /// Says who calls the tool: `client:<name>`, or `<plugin>/<instance>`. None for an event.
    pub fn caller(&self) -> Option<&str> {
        self.handling.call.as_ref()?.caller.as_deref()
    }

    /// Sends a chunk of the result of a streaming tool; waits while the caller's window is full.
    ///
    /// # Errors
    /// `cancelled` when nobody waits for the result any more; `frame_too_large`;
    /// `invalid_arguments` where no streaming tool is called.
    ///
    /// Cancel safety: dropped while it waits, nothing was sent.
    pub async fn chunk(&self, data: impl Serialize) -> Result<(), Error> {
        let Some(call) = &self.handling.call else {
            let text = "a chunk is part of a tool's result: this is an event";
            return Err(Error::new(Code::InvalidArguments, text));
        };
        let data = Bytes::encode(&data)?;
        call.chunk(&self.handling.link, data, &self.handling.cancelled)
            .await
    }

    /// Tells how far the call of a tool is; for an event, how far a long start is.
    pub fn progress(&self) -> Progress {
        match &self.handling.call {
            Some(call) => Progress::of_call(self.handling.link.clone(), &call.call_id),
            None => self.handling.instance.progress(),
        }
    }

    /// Gives when the time for this is over.
    pub fn deadline(&self) -> Instant {
        self.handling.deadline
    }

    /// Gives the key to hand to a provider: the same at every attempt. Of a call it is the caller's.
    pub fn idempotency_key(&self) -> String {
        if let Some(call) = &self.handling.call
            && let Some(key) = &call.idempotency_key
        {
            return key.clone();
        }
        let (source, id) = (self.handling.incoming.source(), self.handling.incoming.id());
        match self.handling.split {
            Some(part) => format!("{source}|{id}#{}", part.n),
            None => format!("{source}|{id}"),
        }
    }

    /// Says which part of a text that was too long for the channel this is, and of how many; the
    /// only one where nothing was split.
    pub fn split(&self) -> PartOf {
        self.handling.split.unwrap_or(PartOf { n: 1, of: 1 })
    }

    /// Gives the time that is left for this event.
    pub fn remaining(&self) -> Duration {
        self.handling
            .deadline
            .saturating_duration_since(Instant::now())
    }

    /// Says whether the work is to end: its time is over, or the instance stops.
    pub fn is_cancelled(&self) -> bool {
        self.handling.cancelled.is_set()
    }

    /// Waits until the work is to end; a second later nobody waits for its result.
    pub async fn cancelled(&self) {
        self.handling.cancelled.wait().await;
    }

    /// Settles the event as handled. Only for handlers that settle manually.
    pub fn ack(&self) -> Result<(), Error> {
        self.settle_manually(|link, delivery| link.ack(&delivery))
    }

    /// Asks for the event again later. Only for handlers that settle manually.
    pub fn nak(&self, retry: &Retry) -> Result<(), Error> {
        let retry = retry.clone();
        retry.after.as_ref().map_err(|error| (**error).clone())?;
        self.settle_manually(|link, delivery| {
            link.notify_data(method::BROKER_NAK, &nak_params(nak_item(delivery, &retry)));
        })
    }

    /// Refuses the event for good. Only for handlers that settle manually.
    pub fn reject(&self, reject: &Reject) -> Result<(), Error> {
        self.settle_manually(|link, delivery| {
            let params = reject_params(reject_item(delivery, reject));
            link.notify_data(method::BROKER_REJECT, &params);
        })
    }

    fn settle_manually(&self, settle: impl FnOnce(&Link, String)) -> Result<(), Error> {
        if !self.handling.is_manual {
            let text = "this handler settles by what it returns; say `.settle_manually()` at `on`";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        if !self.handling.claim() {
            return Err(Error::new(Code::StaleLease, "the event is settled already"));
        }
        if let Some(delivery) = self.delivery() {
            settle(&self.handling.link, delivery.id.clone());
        }
        self.handling.settled.set();
        Ok(())
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("instance", &self.instance())
            .field("topic", &self.topic())
            .field("event", &self.event_id())
            .finish_non_exhaustive()
    }
}

/// Is the conversation that the event being handled belongs to.
#[derive(Clone, Debug)]
pub struct Session {
    ctx: Context,
}

impl Session {
    /// Gives the session's id as the event has it.
    pub fn id(&self) -> Option<&str> {
        self.ctx.handling.incoming.session_id()
    }

    /// Gives the state of this conversation, of which no other event is in flight here.
    pub fn kv(&self) -> Kv {
        let key = self.ctx.handling.incoming.session_key();
        match self.ctx.hub().role {
            crate::hub::Role::Plugin => Kv::new(self.ctx.hub().clone(), KvScope::Session, key),
            // A client has no sessions of its own in the contract: its keys are kept apart by name.
            crate::hub::Role::Client => {
                let prefix = format!("session/{}/", key.unwrap_or_default());
                Kv::prefixed(self.ctx.hub().clone(), KvScope::Client, prefix)
            }
        }
    }
}
