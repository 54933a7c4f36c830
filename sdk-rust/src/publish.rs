//! From a draft to the event that is sent: topic, id, and what is filled in while handling.
//!
//! What is published while an event is handled takes its id from that event, its own content, and
//! its count among equal ones, so a handler that runs again and says the same says it once.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use rustc_hash::FxHashMap;
use serde::Serialize;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{CommitResult, PublishResult, method};
use trunkline_contract::topic::{Class, classify};
use trunkline_contract::trace::Traceparent;

use crate::batch::Batch;
use crate::context::{Context, InstanceContext};
use crate::duration::IntoDuration;
use crate::event::{Event, Target};
use crate::incoming::Incoming;
use crate::link::{CommitOut, EventOut, PublishOut};
use crate::payload::Json;
use crate::receipt::PartOf;
use crate::timer::TimerSet;

/// Says what became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's number in the store; none for an ephemeral event.
    pub seq: Option<u64>,
    /// It had been published before; that one counts.
    pub duplicate: bool,
    /// How many subscriptions it matches.
    pub matched: u32,
}

impl From<PublishResult> for Published {
    fn from(result: PublishResult) -> Self {
        Self {
            seq: result.seq,
            duplicate: result.duplicate,
            matched: result.matched,
        }
    }
}

/// Is a publish on its way: set options, then await it. When it returns, the event is durable.
#[must_use = "nothing is published until it is awaited"]
pub struct Publish {
    scope: Scope,
    event: Event,
}

/// Who publishes, and while handling what.
#[derive(Clone)]
pub(crate) enum Scope {
    Instance(InstanceContext),
    Handling(Context),
}

impl Scope {
    pub(crate) fn instance(&self) -> &InstanceContext {
        match self {
            Self::Instance(instance) => instance,
            Self::Handling(ctx) => ctx,
        }
    }

    fn handling(&self) -> Option<&Context> {
        match self {
            Self::Instance(_) => None,
            Self::Handling(ctx) => Some(ctx),
        }
    }
}

impl Publish {
    pub(crate) fn new(scope: Scope, topic: impl Into<String>, payload: impl Serialize) -> Self {
        Self {
            scope,
            event: Event::to(topic, payload),
        }
    }

    pub(crate) fn of(scope: Scope, topic: impl Into<String>, mut event: Event) -> Self {
        event.topic = topic.into();
        event.draft.target = Target::Topic;
        Self { scope, event }
    }

    /// Says which conversation the event belongs to.
    pub fn session(mut self, session_id: impl Into<String>) -> Self {
        self.event = self.event.session(session_id);
        self
    }

    /// Names the event; publishing the same id again is answered as a duplicate.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.event = self.event.id(id);
        self
    }

    /// Says which event it answers.
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.event = self.event.correlation(id);
        self
    }

    /// Says after how long the event is of no use any more.
    pub fn expires(mut self, after: impl IntoDuration) -> Self {
        self.event = self.event.expires(after);
        self
    }

    /// Makes it ephemeral: never stored, only who listens now gets it.
    pub fn ephemeral(mut self) -> Self {
        self.event = self.event.ephemeral();
        self
    }

    /// Names a blob, so that it is kept with the event; see [`Event::blob`].
    pub fn blob(mut self, blob: &crate::blob::BlobRef) -> Self {
        self.event = self.event.blob(blob);
        self
    }

    /// Adds a member to the metadata.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Json>) -> Self {
        self.event = self.event.metadata(key, value);
        self
    }
}

impl IntoFuture for Publish {
    type Output = Result<Published, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let event = prepare(self.event, &self.scope)?;
            let hub = self.scope.instance().hub();
            let is_repeatable = !event.draft.is_ephemeral;
            let answer = hub
                .call_data(method::BROKER_PUBLISH, &out(&event), is_repeatable)
                .await?;
            Ok(answer.parse::<PublishResult>()?.into())
        })
    }
}

/// Commits a batch now.
pub(crate) async fn commit(scope: &Scope, batch: Batch) -> Result<Committed, Error> {
    let (events, kv) = prepare_batch(&batch, scope)?;
    let params = CommitOut {
        events: events.iter().map(out).collect(),
        kv: &kv,
        timers: &batch.timers,
        if_lock: batch.if_lock.clone(),
        ..CommitOut::default()
    };
    // State changes have no id that would make a second commit harmless.
    let is_repeatable = kv.is_empty() && batch.timers.is_empty();
    let hub = scope.instance().hub();
    let answer = hub
        .call_data(method::BROKER_COMMIT, &params, is_repeatable)
        .await?;
    let result: CommitResult = answer.parse()?;
    Ok(Committed {
        events: result.events.into_iter().map(Published::from).collect(),
        revisions: result.kv.into_iter().map(|kv| kv.revision).collect(),
        timers: result.timers.into_iter().map(TimerSet::from).collect(),
    })
}

/// Says what became of a commit, in the order of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// One per event.
    pub events: Vec<Published>,
    /// The new revision of each changed key.
    pub revisions: Vec<u64>,
    /// One per change of a timer; of a cancelled one it says nothing.
    pub timers: Vec<TimerSet>,
}

pub(crate) fn prepare_batch(
    batch: &Batch,
    scope: &Scope,
) -> Result<(Vec<Event>, Vec<trunkline_contract::rpc::KvOp>), Error> {
    if let Some(fault) = &batch.fault {
        return Err((**fault).clone());
    }
    let events = batch
        .events
        .iter()
        .enumerate()
        .map(|(index, event)| prepare(event.clone(), scope).map_err(|error| error.at(index)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut events = events;
    let kind = match scope.handling().and_then(Context::kind) {
        Some(kind) => Some(kind),
        None => scope.instance().only_kind().ok(),
    };
    for part in &batch.parts {
        let owner = scope.instance().hub().owner();
        events.push(prepare(part.event(owner, kind)?, scope)?);
    }
    Ok((events, batch.kv_in(scope.instance().hub().own_scope())))
}

/// Completes a draft: topic, id, correlation, causation, trace.
pub(crate) fn prepare(mut event: Event, scope: &Scope) -> Result<Event, Error> {
    if let Some(fault) = event.draft.fault.take() {
        return Err(*fault);
    }
    match &event.draft.target {
        Target::Topic => {}
        Target::Inbound { kind } => {
            event.topic = own_topic("inbound", kind.as_deref(), scope)?;
        }
        Target::Delivery { kind } => {
            event.topic = own_topic("delivery", kind.as_deref(), scope)?;
        }
    }
    name_parts(&mut event);
    let Some(ctx) = scope.handling() else {
        if event.id.is_empty() && !event.draft.is_ephemeral {
            event.id = crate::clock::new_id();
        }
        return Ok(event);
    };
    let parent = &ctx.handling().incoming;
    if event.correlation_id.is_none() && answers_something(&event.topic) {
        event.correlation_id = Some(parent.id().to_owned());
    }
    if event.causation_id.is_none() {
        event.causation_id = Some(format!("{}|{}", parent.source(), parent.id()));
    }
    if event.id.is_empty() && !event.draft.is_ephemeral {
        event.id = ctx
            .handling()
            .said
            .derive(parent, ctx.handling().split, &event);
    }
    if event.traceparent.is_none() {
        event.traceparent = parent
            .traceparent()
            .and_then(|text| follow(text, &event.id));
    }
    Ok(event)
}

/// The trace of what is being handled goes on: another span, the same at every attempt.
fn follow(parent: &str, id: &str) -> Option<String> {
    let parent = Traceparent::parse(parent)?;
    let child = if id.is_empty() {
        parent.child(&crate::clock::random::<16>())
    } else {
        parent.child(id.as_bytes())
    };
    Some(child.to_string())
}

/// The parts of a standard message, as far as they name blobs.
#[derive(serde::Deserialize)]
struct PartsIn<'a> {
    #[serde(borrow, default)]
    parts: Vec<PartIn<'a>>,
}

#[derive(serde::Deserialize)]
struct PartIn<'a> {
    #[serde(borrow, default)]
    blob: Option<std::borrow::Cow<'a, str>>,
}

/// A message that shows a blob keeps it, and lets its readers read it.
fn name_parts(event: &mut Event) {
    let text = event.payload.as_str();
    if event.draft.is_ephemeral || !text.contains("sha256:") || channel(&event.topic).is_none() {
        return;
    }
    let Ok(message) = serde_json::from_str::<PartsIn<'_>>(text) else {
        return;
    };
    let is_name = |id: &str| {
        let digits = id.strip_prefix("sha256:").unwrap_or_default();
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == 64 && digits.bytes().all(is_hex)
    };
    let named = message.parts.into_iter().filter_map(|part| part.blob);
    for id in named.filter(|id| is_name(id)) {
        if !event.blobs.iter().any(|known| *known == id) {
            event.blobs.push(id.into_owned());
        }
    }
}

fn answers_something(topic: &str) -> bool {
    topic.rsplit('.').next() == Some("reply") || topic.starts_with("plugin.delivery.")
}

fn own_topic(what: &str, kind: Option<&str>, scope: &Scope) -> Result<String, Error> {
    if let Some(ctx) = scope.handling()
        && let Some(own) = ctx.kind()
    {
        let instance = channel(ctx.topic()).and_then(|(_, instance)| instance);
        let kind = kind.unwrap_or(own);
        return Ok(topic(
            what,
            kind,
            instance.unwrap_or(scope.instance().instance()),
        ));
    }
    let kind = match kind {
        Some(kind) => kind,
        None => scope.instance().only_kind()?,
    };
    Ok(topic(what, kind, scope.instance().instance()))
}

fn topic(what: &str, kind: &str, instance: &str) -> String {
    format!("plugin.{what}.{kind}.{instance}")
}

/// The channel that a topic belongs to.
pub(crate) fn channel(topic: &str) -> Option<(&str, Option<&str>)> {
    match classify(topic) {
        Class::Inbound { kind, instance }
        | Class::Outbound { kind, instance }
        | Class::Delivery { kind, instance }
        | Class::Hook { kind, instance } => Some((kind, instance)),
        _ => None,
    }
}

/// The wire form of a completed event.
pub(crate) fn out(event: &Event) -> PublishOut<'_> {
    PublishOut {
        topic: &event.topic,
        event: EventOut {
            id: &event.id,
            timestamp: &event.timestamp,
            source: &event.source,
            session_id: event.session_id.as_deref(),
            payload: event.payload.raw(),
            correlation_id: event.correlation_id.as_deref(),
            causation_id: event.causation_id.as_deref(),
            traceparent: event.traceparent.as_deref(),
            expires_at: event.expires_at.as_deref(),
            blobs: &event.blobs,
            metadata: &event.metadata,
        },
        ephemeral: event.draft.is_ephemeral,
    }
}

/// What was said while handling one event, to count what is equal.
#[derive(Default)]
pub(crate) struct Said(std::sync::Mutex<FxHashMap<String, u32>>);

impl Said {
    /// Makes the id of something that is said now.
    fn derive(&self, parent: &Incoming, part: Option<PartOf>, event: &Event) -> String {
        let session = event.session_id.as_deref().unwrap_or_default();
        // Lengths go in front, so that no two different contents read alike.
        let mut content = format!(
            "{}:{}{}:{session}{}",
            event.topic.len(),
            event.topic,
            session.len(),
            event.payload.as_str()
        );
        // Each part of a message says what it says by itself.
        if let Some(part) = part {
            content.push_str(&format!("#{}", part.n));
        }
        let first = trunkline_contract::id::derived(parent.id(), content.as_bytes(), 0);
        let mut said = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = said.entry(first.clone()).or_insert(0);
        let id = match *count {
            0 => first,
            n => trunkline_contract::id::derived(parent.id(), content.as_bytes(), n),
        };
        *count += 1;
        id
    }
}

/// Is refused where something only makes sense while handling an event of a channel.
pub(crate) fn no_channel(what: &str) -> Error {
    Error::new(
        Code::InvalidArguments,
        format!("{what} needs an event of a channel to answer"),
    )
}
